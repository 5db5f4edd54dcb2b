"""The command edge-teach: a new head in a model file, from photos, without TensorFlow."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import DataError, ModelFileError, SelfTestError
from ...options import Parser, number, output_file
from ...system.command import run
from ..open_set import KEEP, KEEP_STILL_CAMERA
from .teach import Taught, teach


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = make_parser().parse_args(arguments)
    return run(lambda: _teach(options), quiet=True, traceback=options.traceback)


def make_parser() -> Parser:
    parser = Parser(
        "edge-teach",
        "Teach a model file your own classes, in seconds and without TensorFlow: its backbone stays, its head is new. "
        "PHOTOS has a folder of photos for each class (20 different ones are a good start, 5 the least), and maybe "
        "unknown/: pictures of none of them. BASE stays as it is.",
        usage="edge-teach BASE PHOTOS -o FILE [options]",
        examples=[
            ("edge-teach imagenet.tflite photos -o things.tflite", "on the Pi, after edge-classify collect"),
        ],
        errors=[ModelFileError, SelfTestError, DataError],
    )
    parser.add_argument("base", metavar="BASE", type=Path, help="a model file of edge-convert or edge-teach")
    parser.add_argument("photos", metavar="PHOTOS", type=Path, help="folder of the classes' folders")
    made = parser.add_argument_group("the new file")
    made.add_argument("-o", "--output", type=output_file, required=True, metavar="FILE", help="the model file to write")
    made.add_argument("--replace", action="store_true", help="write it even if there is such a file already")
    made.add_argument(
        "--keep",
        type=number(minimum=0.5, below=1),
        metavar="X",
        help="share of your own photos that should not be called unknown "
        f"(default: {KEEP:g}, or {KEEP_STILL_CAMERA:g} if the camera does not move)",
    )
    parser.add_common_options()
    return parser


def _teach(options: argparse.Namespace) -> int:
    taught = teach(
        options.base,
        options.photos,
        options.output,
        keep=options.keep,
        replace=options.replace,
        progress=_show_progress if sys.stderr.isatty() else None,
    )
    print("\n".join(_report(taught)))
    return 0


def _show_progress(done: int, total: int) -> None:
    print(f"\r{done} of {total} pictures\x1b[K", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _report(taught: Taught) -> list[str]:
    measured = taught.evaluation
    photos = f"cross-validated on {measured['photos']} photos, each judged without having been learnt"
    lines = [
        *taught.notes,
        f"{taught.path}: {len(taught.labels)} classes; {measured['accuracy_with_unknown']:.1%} correct "
        f"({measured['accuracy']:.1%} among the classes), {photos}",
    ]
    lines += [
        f"{scores['accepted']:.1%} of {scores['pictures']} pictures in {name} get a class's label"
        for name, scores in measured["strangers"].items()
    ]
    made = measured["made_negatives"]
    lines.append(f"{made['accepted']:.1%} of {made['pictures']} negatives drawn to try unknown get a class's label")
    return lines
