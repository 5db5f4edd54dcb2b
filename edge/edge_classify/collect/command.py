"""The command `edge-classify collect CLASS`: photos of one class, taken as the camera will see the things."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CameraError, DataError, ModelFileError, SelfTestError, UsageError
from ..options import CAMERAS, Parser, add_picture_options, crop, duration, integer, suggest
from ..system.command import native_output_dropped, run
from ..system.counted import counted
from .keyboard import Keyboard

if TYPE_CHECKING:
    from ..sources.source import Source
    from .likeness import Describe
    from .taking import Taking

# A key that is held repeats 30 times a second; so many photos a second are enough.
_HELD_INTERVAL_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = make_parser().parse_args(arguments)
    return run(lambda: _collect(options), traceback=options.traceback)


def make_parser() -> Parser:
    parser = Parser(
        "edge-classify collect",
        "Take photos of one class with the camera that will look for it, into DIR/CLASS: hold the space bar, or give "
        "--every. DIR is then for edge-train. Photos that are like another are kept too, but counted apart: more of "
        "the same teaches nothing.",
        usage="edge-classify collect CLASS [options]",
        examples=[
            ("edge-classify collect cup", "a photo while the space bar is held; q ends it"),
            ("edge-classify collect unknown --every 10s --count 60", "ten minutes of whatever is in front of it"),
        ],
        errors=[CameraError, ModelFileError, SelfTestError, DataError],
        stopped="stopped before the camera was open",
    )
    parser.add_argument("label", metavar="CLASS", help="what the photos show; unknown: none of the classes")
    photos = parser.add_argument_group("photos")
    photos.add_argument(
        "-o", "--output", type=Path, default=Path("photos"), metavar="DIR", help="folder of the classes' folders"
    )
    photos.add_argument(
        "--every", type=duration, metavar="T", help="take one every 0.5s, 10s or 5m, without a keyboard"
    )
    photos.add_argument("--count", type=integer(1), metavar="N", help="stop after N photos")
    photos.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="judge by this model file which photos are alike (default: by small grey pictures)",
    )
    camera = parser.add_argument_group("camera")
    suggest(
        camera.add_argument(
            "--camera", default="0", metavar="SOURCE", help="as for edge-classify: index, device, csi, address or demo"
        ),
        *CAMERAS,
    )
    add_picture_options(camera)
    camera.add_argument("--crop", type=crop, metavar="X,Y,W,H", help="keep only this part, in fractions")
    parser.add_common_options()
    return parser


def _collect(options: argparse.Namespace) -> int:
    from ..sources.frame import Transform
    from ..sources.opening import check_source, is_stream, open_source
    from .class_folder import class_folder
    from .taking import Taking

    folder = class_folder(options.output, options.label)
    with Keyboard() as keyboard:
        if options.every is None and not keyboard.is_there:
            raise UsageError("there is no keyboard to press a key on: give --every 1s")
        settings = {"size": options.size, "fps": options.fps}
        check_source(options.camera, **settings)
        if not is_stream(options.camera):
            raise UsageError(f"--camera {options.camera}: expected a camera or a video; pictures can be copied")
        taking = Taking(folder, _comparison(options.model))
        transform = Transform(options.rotate, options.flip, options.crop)
        with open_source(options.camera, transform=transform, **settings) as source:
            print(source.description or f"video {options.camera}", file=sys.stderr)
            if options.every is None:
                print("hold the space bar to take photos; q ends", file=sys.stderr)
            before = taking.photos
            with suppress(KeyboardInterrupt):
                _take(source, taking, _Wanted(keyboard, options.every), options.count)
    taken = counted(taking.photos - before, "photo")
    print(f"{folder}: {taken} taken, {taking.photos} in all, {taking.different} different")
    return 0


def _comparison(model: Path | None) -> Describe:
    """What photos are compared by."""
    from .likeness import BY_THUMBNAIL, describe_by

    if model is None:
        return BY_THUMBNAIL
    from ..model.classifier import Classifier

    with native_output_dropped():
        return describe_by(Classifier(model))


def _take(source: Source, taking: Taking, wanted: _Wanted, count: int | None) -> None:
    """Take a photo of each frame that is wanted, and say how it went."""
    terminal = sys.stdout.isatty()
    taken = 0
    for frame in source:
        if wanted.ends():
            break
        if not wanted.now(frame.captured_at):
            continue
        photo = taking.add(frame.image)
        taken += 1
        photos = counted(taking.photos, "photo")
        line = f"{taking.folder.name}: {photos}, {taking.different} different  {photo.hint}".rstrip()
        print(f"\r{line}\x1b[K" if terminal else line, end="" if terminal else "\n", flush=True)
        if taken == count:
            break
    if terminal and taken:
        print()


class _Wanted:
    """Whether a photo is wanted now: by the clock if there is one, else while the space bar is held."""

    def __init__(self, keyboard: Keyboard, every: float | None) -> None:
        self._keyboard = keyboard
        self._every = every
        self._keys: set[str] = set()
        self._taken_at = float("-inf")

    def ends(self) -> bool:
        """Whether q was pressed."""
        self._keys = self._keyboard.pressed()
        return "q" in self._keys

    def now(self, captured_at: float) -> bool:
        """Whether a frame captured then is wanted, in seconds."""
        due = captured_at - self._taken_at >= (_HELD_INTERVAL_S if self._every is None else self._every)
        if not due or (self._every is None and " " not in self._keys):
            return False
        self._taken_at = captured_at
        return True
