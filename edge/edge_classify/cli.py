"""The command `edge-classify`: its options, and what is refused before anything is opened."""

from __future__ import annotations

import os

# numpy's BLAS is not used on the device; its threads would cost 16 ms and memory at start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import gc
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from .errors import BudgetError, CameraError, DataError, EdgeClassifyError, ModelFileError, SelfTestError
from .options import (
    CAMERAS,
    VARIABLES,
    Parser,
    add_picture_options,
    add_third_party_options,
    as_json,
    crop,
    integer,
    number,
    only_on_command_line,
    suggest,
    threads,
)
from .outputs import registry
from .system.command import run
from .system.counted import counted
from .system.memory import use_one_heap

if TYPE_CHECKING:
    from .config.toml_file import Given

# A number from here on is meant as a port: no camera has it.
_LOWEST_PORT = 1024
# What --help leaves to --help-all, besides what the outputs leave to it.
_DETAILS = (
    *("--fps", "--flip", "--give-up", "--fast", "--max-fps", "--skip-still", "--count"),
    *("--models", "--budget-ms", "--metric", "--input-range", "--input-size", "--num-threads"),
    *("--threshold-high", "--threshold-low", "--top-k"),
    *("--check-config", "--show-config"),
    *("sources", "--labels"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["collect"]:
        from .collect import command  # taking photos needs no model

        return command.main(words[1:])
    parser = make_parser()
    options = parser.parse_args(words)
    code = run(lambda: _run(parser, options), traceback=options.traceback)

    from .sources.live import stuck_readers

    if stuck_readers():
        # A reader that returns from its driver while the interpreter shuts down would abort the process.
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _run(parser: Parser, options: argparse.Namespace) -> int:
    given = _layer(parser, options)
    options.source = _only_source(parser, options)
    if options.list_cameras:
        return _list_cameras()
    if options.show_config:
        return _show_config(parser, given)
    try:
        parser.check_belonging(options)
        if options.mqtt_forget:
            return _forget(options)
        return _check_config(options) if options.check_config else _classify(options)
    except EdgeClassifyError as error:
        if given:
            from .config.layers import with_origins
            from .config.settings import settings

            error.args = (with_origins(str(error), given, settings(parser)),)
        raise


def _layer(parser: Parser, options: argparse.Namespace) -> dict[str, Given]:
    """Fill in what the environment and a file say; returns where each option's value comes from, if that is needed."""
    asked = options.config is not None or options.show_config or options.check_config
    if not asked and not any(name.startswith(VARIABLES) for name in os.environ):
        return {}
    from .config.layers import layer  # which costs 10 ms of a start

    return layer(parser, options, os.environ, instead={"sources": "camera", "list_cameras": "camera"})


def make_parser() -> Parser:
    parser = Parser(
        "edge-classify",
        "Classify what a camera sees, live, or pictures and videos, and report latency. Ctrl-C stops it. "
        "Without --model it reads handwritten digits.",
        usage="edge-classify [SOURCE] [options]",
        examples=[
            ("edge-classify --model mobilenet_v2_0.5_160_int8.tflite", "classify what the first camera sees"),
            ("edge-classify collect cup", "take photos to train on; collect --help says more"),
        ],
        errors=[CameraError, ModelFileError, SelfTestError, DataError, BudgetError],
        details=_DETAILS,
        meant=dict.fromkeys(("--port", "--web-port", "--http-port", "--listen"), "--web-address"),
        stopped="stopped before the first result",  # later it ends with 0 and its summary
    )
    _add_camera_options(parser.add_argument_group("camera"))
    _add_model_options(parser.add_argument_group("model"))
    _add_decision_options(parser.add_argument_group("decision"))
    _add_output_options(parser)
    about = parser.add_argument_group("about this program")
    _add_configuration_options(about)
    parser.add_common_options(about)
    return parser


def _add_camera_options(group: argparse._ArgumentGroup) -> None:
    # Any number of them is parsed, so that several can be refused with what was probably meant.
    group.add_argument("sources", nargs="*", metavar="SOURCE", help="same as --camera")
    source = group.add_mutually_exclusive_group()
    camera = source.add_argument(
        "--camera",
        action="append",
        metavar="SOURCE",
        help="number, /dev/videoN, csi:N (Pi cameras), rtsp://..., http://..., file, folder, or demo "
        "(default: 0 or csi:0)",
    )
    suggest(camera, *CAMERAS)
    only_on_command_line(
        source.add_argument("--list-cameras", action="store_true", help="list connected cameras and exit")
    )
    add_picture_options(group)
    group.add_argument(
        "--crop",
        type=crop,
        metavar="X,Y,W,H",
        help="classify only this part; the middle half: 0.25,0,0.5,1",
    )
    group.add_argument(
        "--give-up",
        type=number(above=0),
        metavar="S",
        help="exit with code 3 if a lost camera stays away for S seconds (default: keep waiting)",
    )
    group.add_argument("--fast", action="store_true", help="read a video as fast as possible, not at its own speed")
    group.add_argument("--max-fps", type=number(above=0), metavar="N", help="classify at most N frames per second")
    group.add_argument("--skip-still", action="store_true", help="skip inference while the picture does not change")
    group.add_argument("--count", type=integer(1), metavar="N", help="stop after N frames")


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model",
        action="append",
        metavar="FILE",
        help="a .tflite classifier, or NAME=FILE; repeat it for several (default: built-in digit reader)",
    )
    group.add_argument(
        "--models",
        metavar="MODELS",
        help="folder of model files, or manifest.json, to choose from",
    )
    group.add_argument(
        "--budget-ms",
        type=number(above=0),
        metavar="MS",
        help="use the fastest within MS ms that is as accurate as the best; measured once",
    )
    group.add_argument("--metric", default="total.p90", metavar="METRIC", help="what the budget limits")
    add_third_party_options(group)
    suggest(
        group.add_argument("--num-threads", type=threads, default="auto", metavar="N", help="threads per inference"),
        "auto",
    )


def _add_decision_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--threshold",
        type=number(minimum=0, maximum=1),
        default=0.0,
        metavar="P",
        help="label a frame unknown if its best score is below P",
    )
    group.add_argument(
        "--smoothing",
        type=number(minimum=0),
        default=1,
        metavar="N",
        help="average scores over N frames; 0: use each frame's own label",
    )
    group.add_argument(
        "--threshold-high",
        type=number(minimum=0, maximum=1),
        metavar="P",
        help="switch to a label at or above this score (default: --threshold, or 0.4 for models with unknown)",
    )
    group.add_argument(
        "--threshold-low",
        type=number(minimum=0, maximum=1),
        metavar="P",
        help="drop the current label below this score (default: half of --threshold-high)",
    )
    group.add_argument(
        "--dwell",
        type=_dwell,
        default="5",
        metavar="N|Ts",
        help="change state after N more consecutive frames disagree, or for T seconds (1.5s)",
    )


def _add_output_options(parser: Parser) -> None:
    groups = {"output": parser.add_argument_group("output")}
    groups["output"].add_argument(
        "--top-k", type=integer(1), default=1, metavar="N", help="number of categories to show"
    )
    for module in registry.modules():
        if module.TABLE not in groups:
            groups[module.TABLE] = parser.add_argument_group(module.TABLE)
        module.add_options(groups[module.TABLE])


def _add_configuration_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--config",
        metavar="FILE",
        help="read options from a TOML file (docs/configuration.md)",
    )
    group.add_argument(
        "--check-config", action="store_true", help="check the options, from wherever they come, and exit"
    )
    group.add_argument(
        "--show-config",
        action="store_true",
        help="print each option's value, where it comes from, and exit; > FILE makes a file for --config of it",
    )


def _only_source(parser: Parser, options: argparse.Namespace) -> str:
    """The source, from SOURCE or --camera; several are refused with what was probably meant."""
    sources: list[str] = options.sources
    if options.web and (ports := [source for source in sources if source.isdecimal() and int(source) >= _LOWEST_PORT]):
        parser.error(f"--web takes no value: did you mean --web-address 127.0.0.1:{ports[0]}?")
    if sources and (options.camera is not None or options.list_cameras):
        from .sources.network import without_password

        other = "--camera" if options.camera is not None else "--list-cameras"
        parser.error(f"SOURCE {without_password(sources[0])}: not allowed with argument {other}")
    cameras: list[str] = options.camera or []
    if len(cameras) > 1:
        parser.error(f"--camera: expected one, found {len(cameras)}: start one edge-classify for each")
    if why := _why_not(sources, options):
        parser.error(why)
    return (sources or cameras or ["0"])[0]


def _why_not(sources: Sequence[str], options: argparse.Namespace) -> str | None:
    """Why this is not one SOURCE, and what was probably meant."""
    if not sources or (len(sources) == 1 and options.model is None):
        return None
    from .recognize import recognize
    from .sources.network import without_password

    models = [source for source in sources if recognize(source) == "model file"]
    others = [source for source in sources if source not in models]
    if models and len(others) < 2:
        words = [*map(without_password, others), *(f"--model {model}" for model in (*(options.model or ()), *models))]
        what = f"{models[0]} is a model file" if len(models) == 1 else f"{len(models)} of them are model files"
        return f"{what}: did you mean edge-classify {' '.join(words)}?"
    if len(sources) == 1:
        return None
    found = ", ".join(map(without_password, sources[:3])) + (", ..." if len(sources) > 3 else "")
    return f"expected one SOURCE, found {len(sources)} ({found}): put pictures into one folder and give that"


@as_json("integer", "string")
def _dwell(text: str) -> tuple[int, float | None]:
    """(frames, None), or (0, seconds)."""
    seconds = re.fullmatch(r"(\d+(?:\.\d+)?)s", text)
    if seconds is None and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of frames (5) or a time in seconds (1.5s), found {text!r}")
    return (0, float(seconds[1])) if seconds else (int(text), None)


def _show_config(parser: Parser, given: Mapping[str, Given]) -> int:
    from .config.settings import settings
    from .config.show import as_toml

    text, masked = as_toml(settings(parser), given)
    print(text, end="")
    for setting in masked:
        print(
            f"warning: the secret in {setting.option} is masked: remove the line, and set {setting.variable} in the "
            "environment instead (docs/configuration.md)",
            file=sys.stderr,
        )
    return 0


def _check_config(options: argparse.Namespace) -> int:
    from .model.model_file import read_model_file
    from .model.naming import name_models
    from .session import check

    check(options)
    for model in name_models(options.model or ()):
        read_model_file(model.path)
    print(f"{options.config or 'options'}: no errors found")
    return 0


def _list_cameras() -> int:
    from .sources.discovery import list_cameras

    cameras = list_cameras()
    for address, name in cameras:
        print(f"--camera {address:<14} {name}")
    if not cameras:
        print("no camera found", file=sys.stderr)
    return 0


def _forget(options: argparse.Namespace) -> int:
    from .outputs.mqtt import check, forget

    check(options, stream=True)
    topics = forget(options)
    for topic in topics:
        print(topic)
    print(f"{counted(len(topics), 'topic')} removed from {options.mqtt}", file=sys.stderr)
    return 0


def _classify(options: argparse.Namespace) -> int:
    # A service manager's SIGTERM ends the loop as Ctrl-C does, with the summary.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    use_one_heap()
    # What is imported stays for good: looking for garbage in it would be 5 % of the start.
    gc.disable()
    from .session import check, open_session

    gc.enable()
    check(options)
    with open_session(options) as session:
        session.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
