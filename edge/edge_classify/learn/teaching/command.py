"""The command edge-teach: a new head in a model file, from photos, without TensorFlow."""

from __future__ import annotations

import os

# Matrix products are small here: several threads gain little, and only wait for each other when other programs run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import shlex
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from ...errors import DataError, ModelFileError, SelfTestError
from ...model.labels import name_classes
from ...options import Parser, number, output_file, path_behind_equals
from ...system.command import run
from ...system.counted import counted
from ...system.memory import keep_freed_memory
from ..open_set import KEEP, KEEP_STILL_CAMERA
from .class_changes import Changed, ClassChanges
from .teach import Taught, change_classes, teach


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    keep_freed_memory()
    return run(_work(parser, options), quiet=True, traceback=options.traceback)


def make_parser() -> Parser:
    parser = Parser(
        "edge-teach",
        "Teach a model file your own classes, in seconds and without TensorFlow: its backbone stays, its head is new. "
        "PHOTOS has a folder of photos for each class (20 different ones are a good start, 5 the least), and maybe "
        "unknown/: pictures of none of them. Or change the classes that BASE has. BASE stays as it is.",
        usage="edge-teach BASE PHOTOS -o FILE [options]\n       edge-teach BASE --add CLASS=FOLDER -o FILE [options]",
        examples=[
            ("edge-teach imagenet.tflite photos -o things.tflite", "on the Pi, after edge-classify collect"),
            (
                "edge-teach things.tflite --add key=photos/key -o more.tflite",
                "one more class, without the old photos",
            ),
        ],
        errors=[ModelFileError, SelfTestError, DataError],
    )
    parser.add_argument("base", metavar="BASE", type=Path, help="a model file of edge-convert or edge-teach")
    parser.add_argument("photos", metavar="PHOTOS", type=Path, nargs="?", help="folder of the classes' folders")
    changes = parser.add_argument_group("changing the classes of BASE", "instead of PHOTOS; each any number of times")
    changes.add_argument(
        "--add",
        type=_pair,
        action="append",
        default=[],
        metavar="CLASS=FOLDER",
        help="add a class from its photos, or more photos of one that there is, or of unknown",
    )
    changes.add_argument("--remove", action="append", default=[], metavar="CLASS", help="remove a class")
    changes.add_argument(
        "--rename", type=_pair, action="append", default=[], metavar="OLD=NEW", help="give a class another name"
    )
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
    parser.add_argument("--json", action="store_true", help="print what was made as one line of JSON")
    made.add_argument(
        "--no-memory",
        action="store_true",
        help="leave out the features of some photos, without which the file's classes cannot be changed later",
    )
    parser.add_common_options()
    return parser


def _pair(text: str) -> tuple[str, str]:
    """(name, value) of `name=value`."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise argparse.ArgumentTypeError(f"{text!r}: expected two names with = between them, as in cup=photos/cup")
    return unicodedata.normalize("NFC", name.strip()), value.strip()


def _work(parser: Parser, options: argparse.Namespace) -> Callable[[], int]:
    """What the command line asks for; what it alone shows to be impossible is refused here."""
    changing = bool(options.add or options.remove or options.rename)
    if options.photos is not None and changing:
        parser.error("PHOTOS teaches all classes anew, --add, --remove and --rename change those of BASE: give either")
    if options.photos is not None:
        if options.base.is_dir() and options.photos.is_file():
            parser.error(f"the model file comes before the photos: edge-teach {options.photos} {options.base} -o FILE")
        return lambda: _teach(options)
    if not changing and not options.no_memory:
        parser.error("expected PHOTOS, or --add, --remove or --rename")
    if options.keep is not None:
        parser.error("--keep is for PHOTOS: a file whose classes are changed keeps its own")
    for option, pairs in (("--add", options.add), ("--rename", options.rename)):
        names = [name for name, _ in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            parser.error(f"{option} {twice}=… is given twice: put all photos into one folder, or take one name")
    return lambda: _change(options)


def _change(options: argparse.Namespace) -> int:
    changes = ClassChanges(
        rename=dict(options.rename),
        remove=tuple(unicodedata.normalize("NFC", label) for label in options.remove),
        add={label: path_behind_equals(folder) for label, folder in options.add},
    )
    changed = change_classes(
        options.base,
        options.output,
        changes,
        memory=not options.no_memory,
        replace=options.replace,
        progress=_show_progress if sys.stderr.isatty() else None,
    )
    lines = [*changed.notes, f"{changed.path}: {name_classes(changed.labels)}"]
    _print(changed, [*lines, _next(changed.path)], as_json=options.json)
    return 0


def _teach(options: argparse.Namespace) -> int:
    taught = teach(
        options.base,
        options.photos,
        options.output,
        keep=options.keep,
        memory=not options.no_memory,
        replace=options.replace,
        progress=_show_progress if sys.stderr.isatty() else None,
    )
    _print(taught, [*_report(taught), _next(taught.path)], as_json=options.json)
    return 0


def _print(made: Taught | Changed, lines: Sequence[str], *, as_json: bool) -> None:
    print(json.dumps(asdict(made), ensure_ascii=False, default=str) if as_json else "\n".join(lines))


def _next(path: Path) -> str:
    return f"next: {shlex.join(['edge-classify', '--model', str(path), '--camera', '0'])}"


def _show_progress(done: int, total: int) -> None:
    print(
        f"\r{done} of {counted(total, 'picture')}\x1b[K", end="\n" if done == total else "", file=sys.stderr, flush=True
    )


def _report(taught: Taught) -> list[str]:
    measured = taught.evaluation
    photos = f"cross-validated on {measured['photos']} photos, each by a head that had not seen it"
    lines = [
        *taught.notes,
        f"{taught.path}: {name_classes(taught.labels)}; {measured['accuracy_with_unknown']:.1%} correct "
        f"({measured['accuracy']:.1%} among the classes), {photos}",
    ]
    lines += [
        f"{scores['accepted']:.1%} of {counted(scores['pictures'], 'picture')} in {name} are given a class's label"
        for name, scores in measured["strangers"].items()
    ]
    made = measured["made_negatives"]
    lines.append(
        f"{made['accepted']:.1%} of {made['pictures']} negatives made to test unknown are given a class's label"
    )
    return lines
