"""The command `edge-classify`."""

from __future__ import annotations

import os

# numpy's BLAS is not used on the device; its threads would cost 16 ms and memory at start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from . import __version__
from .command import run
from .errors import UsageError

if TYPE_CHECKING:
    from .sources import Source


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    code = run(lambda: _classify(options))
    if any(thread.name.startswith("camera ") for thread in threading.enumerate()):
        # It is stuck in its driver and cannot be stopped. Coming back while the interpreter is taken down, it would
        # abort the process.
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-classify",
        description="Say what a camera shows, live, with the latency. Without --model it reads handwritten digits.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("source", nargs="?", metavar="SOURCE", help="as --camera")
    source.add_argument(
        "--camera",
        metavar="SOURCE",
        help="an index (0: the USB camera, else the Pi's camera module), a device (/dev/video2), csi or csi:1 (Pi "
        "camera modules), an rtsp:// or http:// address, a video, a picture, a folder of pictures, or demo "
        "(default: 0)",
    )
    _add_camera_options(parser.add_argument_group("camera"))
    parser.add_argument("--model", metavar="FILE", help="a .tflite classifier (default: the built-in digit reader)")
    parser.add_argument("--labels", metavar="FILE", help="labels, one a line (default: those in the model file)")
    parser.add_argument("--top-k", type=int, default=1, metavar="N", help="how many categories to show (default: 1)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        metavar="P",
        help="call it unknown below this score, 0 to 1 (default: 0)",
    )
    parser.add_argument(
        "--count", type=int, metavar="N", help="stop after N frames (default: when the source ends, or on Ctrl-C)"
    )
    parser.add_argument(
        "--num-threads", type=int, default=1, metavar="N", help="threads for one inference (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _add_camera_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--list-cameras", action="store_true", help="show the cameras of this machine and end")
    group.add_argument("--size", metavar="WxH", help="pixels to ask the camera for (default: 640x480)")
    group.add_argument("--fps", type=float, metavar="N", help="frames a second to ask the camera for (default: 30)")
    group.add_argument("--rotate", type=int, choices=(90, 180, 270), default=0, help="turn pictures clockwise")
    group.add_argument("--flip", choices=("h", "v"), help="mirror left and right (h), or upside down (v)")
    group.add_argument(
        "--crop",
        metavar="X,Y,W,H",
        help="classify this part of the picture, after --rotate and --flip, in fractions of it: 0.25,0,0.5,1",
    )
    group.add_argument(
        "--give-up",
        type=float,
        metavar="S",
        help="end with code 3 when a lost camera gives no frame for S seconds (default: wait for it)",
    )
    group.add_argument("--fast", action="store_true", help="read a video file as fast as it goes, not at its own speed")


def _numbers(option: str, text: str | None, separator: str, count: int) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(word) for word in text.split(separator))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        example = "640x480" if count == 2 else "0.25,0.25,0.5,0.5"
        raise UsageError(f"{option} {text}: {count} numbers are needed, such as {example}")
    return numbers


def _open_camera(options: argparse.Namespace) -> Source:
    from .sources import open_camera

    size = _numbers("--size", options.size, "x", 2)
    crop = _numbers("--crop", options.crop, ",", 4)
    source = open_camera(
        options.source or options.camera or "0",
        size=(int(size[0]), int(size[1])) if size else None,
        fps=options.fps,
        rotate=options.rotate,
        flip=options.flip,
        crop=(crop[0], crop[1], crop[2], crop[3]) if crop else None,
        give_up=options.give_up,
        fast=options.fast,
    )
    if source.description:
        print(source.description, file=sys.stderr, flush=True)
    return source


def _list_cameras() -> int:
    from .sources import list_cameras

    cameras = list_cameras()
    for address, name in cameras:
        print(f"--camera {address:<14} {name}")
    if not cameras:
        print("no camera found", file=sys.stderr)
    return 0


def _classify(options: argparse.Namespace) -> int:
    if options.list_cameras:
        return _list_cameras()
    if options.count is not None and options.count < 1:
        raise UsageError(f"--count is {options.count}: it must be at least 1; leave it out to go on until Ctrl-C")
    # A service manager's stop ends the loop as Ctrl-C does, with the summary.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    from .classifier import Classifier
    from .latency import Latency
    from .outputs.console import Console
    from .outputs.json_lines import JsonLines
    from .pipeline import classify_frames

    classifier = Classifier(
        options.model,
        labels=options.labels,
        top_k=options.top_k,
        threshold=options.threshold,
        num_threads=options.num_threads,
    )
    latency = Latency()
    with _open_camera(options) as source:
        output = (
            JsonLines(sys.stdout, classifier.model_file.name)
            if options.json
            else Console(sys.stdout, steady=source.stream)
        )
        try:
            with output:
                for result in islice(classify_frames(source, classifier), options.count):
                    latency.append(result.timing_ms, result.finished_at)
                    output.append(result)
        except KeyboardInterrupt:
            pass
        finally:
            print(latency.table(), file=sys.stderr if options.json else sys.stdout)
            if source.dropped:
                print(
                    f"{source.dropped} frames of the camera were dropped",
                    file=sys.stderr if options.json else sys.stdout,
                )
    return 0
