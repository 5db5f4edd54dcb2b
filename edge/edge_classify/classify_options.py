"""The command line of `edge-classify`."""

from __future__ import annotations

import argparse
import re

from . import __version__
from .errors import UsageError


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-classify",
        description="Say what a camera shows, live, with the latency. Without --model it reads handwritten digits.",
        epilog="Exit code: 0 well, 2 a wrong option, 3 camera, 4 model file, 5 its self-test, 6 photos or files, "
        "8 no model file fits the budget, 130 stopped while starting.",
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
    source.add_argument("--list-cameras", action="store_true", help="show the cameras of this machine, and end")
    parser.add_argument("--count", type=int, metavar="N", help="stop after N frames (default: at the source's end)")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _add_model_options(parser.add_argument_group("model"))
    _add_camera_options(parser.add_argument_group("camera (docs/cameras.md)"))
    _add_decision_options(parser.add_argument_group("decisions, for cameras and videos (docs/decisions.md)"))
    _add_output_options(parser.add_argument_group("output"))
    return parser


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", metavar="FILE", help="a .tflite classifier (default: the built-in digit reader)")
    group.add_argument(
        "--models",
        metavar="MODELS",
        help="choose among these: a folder of .tflite files, or a manifest.json (docs/benchmarking.md)",
    )
    group.add_argument(
        "--budget-ms",
        type=float,
        metavar="MS",
        help="the most accurate that takes no longer; measured at the first start, then remembered for this device",
    )
    group.add_argument(
        "--metric", default="total.p90", metavar="STAGE.STATISTIC", help="what the budget is for (default: total.p90)"
    )
    group.add_argument("--labels", metavar="FILE", help="labels, one a line (default: those in the model file)")
    group.add_argument("--num-threads", type=int, default=1, metavar="N", help="threads for one inference (default: 1)")


def _add_camera_options(group: argparse._ArgumentGroup) -> None:
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
    group.add_argument(
        "--max-fps", type=float, metavar="N", help="classify at most N frames a second; a video then runs slower"
    )
    group.add_argument(
        "--skip-still", action="store_true", help="leave inference out while nothing in the picture changes"
    )


def _add_decision_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        metavar="P",
        help="call a frame's answer unknown below this score, 0 to 1 (default: 0)",
    )
    group.add_argument(
        "--smoothing",
        type=float,
        default=1,
        metavar="N",
        help="average the probabilities over N frames; 1 does not average, 0 takes each frame's own answer "
        "without the options below (default: 1)",
    )
    group.add_argument(
        "--threshold-high",
        type=float,
        metavar="P",
        help="take a label up at this score (default: --threshold, or 0.4 if the file has an output for unknown)",
    )
    group.add_argument(
        "--threshold-low", type=float, metavar="P", help="give a label up below this score (default: half of the high)"
    )
    group.add_argument(
        "--dwell",
        type=_dwell,
        default=(5, None),
        metavar="N|Ts",
        help="change the state when N more frames in a row speak against it, or for T seconds (2s) (default: 5)",
    )


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--top-k", type=int, default=1, metavar="N", help="how many categories to show (default: 1)")
    group.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    group.add_argument(
        "--events",
        metavar="FILE",
        help="append one JSON object for each change of state to FILE; - is standard output, instead of results",
    )


def check(options: argparse.Namespace) -> None:
    """Raises UsageError for what cannot be; what other modules take, they check themselves."""
    if options.count is not None and options.count < 1:
        raise UsageError(f"--count is {options.count}: it must be at least 1; leave it out to go on until Ctrl-C")
    if options.max_fps is not None and not options.max_fps > 0:
        raise UsageError(f"--max-fps is {options.max_fps:g}: it must be above 0; leave it out to take all frames")
    if options.events == "-" and options.json:
        raise UsageError("--events - and --json both want standard output: give --events a file")


def numbers(option: str, text: str | None, separator: str, count: int) -> tuple[float, ...] | None:
    """The numbers of an option such as 640x480. Raises UsageError."""
    if text is None:
        return None
    try:
        found = tuple(float(word) for word in text.split(separator))
    except ValueError:
        found = ()
    if len(found) != count:
        example = "640x480" if count == 2 else "0.25,0.25,0.5,0.5"
        raise UsageError(f"{option} {text}: {count} numbers are needed, such as {example}")
    return found


def _dwell(text: str) -> tuple[int, float | None]:
    seconds = re.fullmatch(r"(\d+(?:\.\d+)?)s", text)
    if seconds is None and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: a number of frames (5) or a time in seconds (1.5s) is needed")
    return (0, float(seconds[1])) if seconds else (int(text), None)
