"""The command `edge-classify`."""

from __future__ import annotations

import os

# numpy's BLAS is not used on the device; its threads would cost 16 ms and memory at start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import logging
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from . import __version__
from .command import run
from .errors import UsageError
from .memory import use_one_heap

if TYPE_CHECKING:
    from .decision import Decision
    from .outputs.console import Console
    from .outputs.events import Events
    from .outputs.json_lines import JsonLines
    from .outputs.service import Service
    from .outputs.writer import Writer
    from .sources import Source

# What standard output may take to be written, and then standard error, when the program ends, in seconds.
_PATIENCE = 0.25


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: _classify(options))


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
        help="an index (0), a device (/dev/video0), a video, a picture, a folder of pictures, or demo (default: 0)",
    )
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
    _add_decision_options(parser.add_argument_group("decisions (cameras and videos; see docs/decisions.md)"))
    _add_pacing_options(parser.add_argument_group("pacing"))
    parser.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    parser.add_argument(
        "--events",
        metavar="FILE",
        help="append one JSON object for each change of state to FILE; - is standard output, instead of results",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _add_decision_options(group: argparse._ArgumentGroup) -> None:
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


def _dwell(text: str) -> tuple[int, float | None]:
    seconds = re.fullmatch(r"(\d+(?:\.\d+)?)s", text)
    if seconds is None and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: a number of frames (5) or a time in seconds (1.5s) is needed")
    return (0, float(seconds[1])) if seconds else (int(text), None)


def _add_pacing_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--max-fps", type=float, metavar="N", help="classify at most N frames a second")
    group.add_argument(
        "--skip-still", action="store_true", help="leave inference out while nothing in the picture changes"
    )


def _check(options: argparse.Namespace) -> None:
    if options.count is not None and options.count < 1:
        raise UsageError(f"--count is {options.count}: it must be at least 1; leave it out to go on until Ctrl-C")
    if options.max_fps is not None and not options.max_fps > 0:
        raise UsageError(f"--max-fps is {options.max_fps:g}: it must be above 0; leave it out to take all frames")
    if options.events == "-" and options.json:
        raise UsageError("--events - and --json both want standard output: give --events a file")


def _classify(options: argparse.Namespace) -> int:
    _check(options)
    # A service manager's stop ends the loop as Ctrl-C does, with the summary.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    use_one_heap()

    from .classifier import Classifier
    from .latency import Latency
    from .outputs.writer import Writer
    from .pacing import Pace
    from .pipeline import classify_frames
    from .sources import open_camera
    from .stillness import Stillness
    from .system import is_throttled

    classifier = Classifier(
        options.model,
        labels=options.labels,
        top_k=options.top_k,
        threshold=options.threshold,
        num_threads=options.num_threads,
    )
    decision = _decision(options, classifier.labels)
    latency, still = Latency(), 0
    with ExitStack() as stack:
        source = stack.enter_context(open_camera(options.source or options.camera or "0"))
        errors = stack.enter_context(Writer(_descriptor(sys.stderr), "standard error", live=True))
        if source.live:
            stack.enter_context(_warnings_to(errors))
        writers, outputs = _open_outputs(stack, options, source, classifier.model_file.name)
        pace = Pace(options.max_fps, is_throttled if source.live else None)
        results = classify_frames(
            pace.frames(source),
            classifier,
            decision if source.stream else None,
            Stillness() if options.skip_still and source.stream else None,
        )
        try:
            with ExitStack() as shown:
                for output in outputs:
                    shown.enter_context(output)
                try:
                    for result in islice(results, options.count):
                        if result.still:
                            still += 1
                        else:
                            latency.append(result.timing_ms, result.finished_at)
                        for output in outputs:
                            output.append(result)
                        if all(writer.gone for writer in writers):
                            break  # nobody is left to tell (`| head`)
                except KeyboardInterrupt:
                    # Who asks for the end does not wait for a reader.
                    for writer in writers:
                        writer.live = True
        finally:
            _drain(writers)
            counts = {
                "frames showed nothing new and were not classified": still,
                "frames dropped for newer ones": getattr(source, "dropped", 0),
                "lines not written": sum(writer.dropped for writer in writers),
            }
            lines = [latency.table(), *(f"{count} {what}" for what, count in counts.items() if count)]
            for_people = not options.json and options.events != "-"
            _say("\n".join(lines) + "\n", writers[0] if for_people else None, errors)
    return 0


def _open_outputs(
    stack: ExitStack, options: argparse.Namespace, source: Source, model: str
) -> tuple[list[Writer], list[Console | Events | JsonLines | Service]]:
    """The writers, that of standard output first, and the outputs that write to them."""
    from .outputs.console import Console
    from .outputs.events import Events
    from .outputs.json_lines import JsonLines
    from .outputs.service import Service
    from .outputs.writer import Writer

    if options.events and not source.stream:
        raise UsageError("--events is about what changes before a camera or in a video: pictures have no state")
    service = Service.from_environment()
    screen = stack.enter_context(Writer(_descriptor(sys.stdout), "standard output", live=source.live))
    if options.events == "-":
        return [screen], [Events(screen, model), service]
    terminal = sys.stdout is not None and sys.stdout.isatty()
    results = JsonLines(screen, model) if options.json else Console(screen, steady=source.stream, terminal=terminal)
    if not options.events:
        return [screen], [results, service]
    file = os.open(options.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    stack.callback(os.close, file)
    events = stack.enter_context(Writer(file, options.events, live=source.live))
    return [screen, events], [results, Events(events, model), service]


def _decision(options: argparse.Namespace, labels: tuple[str, ...]) -> Decision:
    from .decision import Decision

    high = options.threshold_high
    if high is None and options.threshold:
        high = options.threshold
    frames, seconds = options.dwell
    return Decision(
        labels,
        smoothing=options.smoothing,
        threshold_high=high,
        threshold_low=options.threshold_low,
        dwell=frames,
        dwell_seconds=seconds,
    )


def _descriptor(stream: TextIO | None) -> int:
    return os.open(os.devnull, os.O_WRONLY) if stream is None else stream.fileno()


@contextmanager
def _warnings_to(writer: Writer) -> Iterator[None]:
    """A terminal that nobody reads must not hold up those who warn, either."""
    handlers = [handler for handler in logging.root.handlers if isinstance(handler, logging.StreamHandler)]
    before = [handler.setStream(writer) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)


def _drain(writers: Sequence[Writer]) -> None:
    """Have what waits written; who is blocked is given up soon, unless nothing may be lost."""
    until = time.perf_counter() + _PATIENCE
    for writer in writers:
        if not writer.drain(max(0.0, until - time.perf_counter()) if writer.live else None):
            writer.close()


def _say(text: str, screen: Writer | None, errors: Writer) -> None:
    """The summary: on standard output where that is for people, on standard error where it cannot be had there."""
    if screen is not None:
        screen.write(text)
        if screen.drain(_PATIENCE if screen.live else None):
            return
        screen.close()
    errors.write(text)
    _drain([errors])


if __name__ == "__main__":
    sys.exit(main())
