"""The command `edge-classify`."""

from __future__ import annotations

import os

# numpy's BLAS is not used on the device; its threads would cost 16 ms and memory at start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .classify_options import check, make_parser, numbers
from .command import native_output_dropped, run
from .errors import UsageError
from .system.memory import use_one_heap

if TYPE_CHECKING:
    from .outputs import Output
    from .outputs.writer import Writer
    from .pipeline.decision import Decision
    from .sources.source import Source

# What standard output may take to be written, and then standard error, when the program ends, in seconds.
_PATIENCE = 0.25


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = make_parser().parse_args(arguments)
    code = run(lambda: _list_cameras() if options.list_cameras else _classify(options))
    live = sys.modules.get(f"{__package__}.sources.live")
    if live is not None and live.stuck_readers():
        # A reader that returns from its driver while the interpreter shuts down would abort the process.
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _list_cameras() -> int:
    from .sources.opening import list_cameras

    cameras = list_cameras()
    for address, name in cameras:
        print(f"--camera {address:<14} {name}")
    if not cameras:
        print("no camera found", file=sys.stderr)
    return 0


def _classify(options: argparse.Namespace) -> int:
    check(options)
    # A service manager's stop ends the loop as Ctrl-C does, with the summary.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    use_one_heap()

    from .model.classifier import Classifier
    from .outputs.writer import Writer
    from .pipeline.latency import Latency
    from .pipeline.loop import classify_frames
    from .pipeline.pacing import Pace
    from .pipeline.stillness import Stillness
    from .system.machine import is_throttled

    model = _model(options)
    with native_output_dropped():  # LiteRT greets at every start
        classifier = Classifier(
            model,
            labels=options.labels,
            top_k=options.top_k,
            threshold=options.threshold,
            num_threads=options.num_threads,
        )
    decision = _decision(options, classifier.labels)
    latency = Latency()
    with ExitStack() as stack:
        source = stack.enter_context(_open_source(options))
        errors = stack.enter_context(Writer(_descriptor(sys.stderr), "standard error", live=True))
        if source.live:
            stack.enter_context(_warnings_to(errors))
        writers, outputs = _open_outputs(stack, options, source, classifier.model_file.name)
        if source.description:
            errors.write(f"{source.description}\n")
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
                            latency.append_still(result.finished_at)
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
                "frames dropped for newer ones": source.dropped,
                "lines not written": sum(writer.dropped for writer in writers),
            }
            lines = [latency.table(), *(f"{what}: {count}" for what, count in counts.items() if count)]
            for_people = not options.json and options.events != "-"
            _say("\n".join(lines) + "\n", writers[0] if for_people else None, errors)
    return 0


def _model(options: argparse.Namespace) -> str | Path | None:
    """The model file that is meant, measured and chosen where only a budget is given."""
    model: str | None = options.model
    if options.models is None and options.budget_ms is None:
        return model
    if options.models is None or options.budget_ms is None or model is not None:
        raise UsageError(
            "--models and --budget-ms go together, and without --model: a folder to choose from, and a time"
        )
    from .benchmark.choice_cache import chosen_model
    from .benchmark.metric import Metric

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    return chosen_model([options.models], Metric.parse(options.metric), options.budget_ms, options.num_threads, tell)


def _open_source(options: argparse.Namespace) -> Source:
    from .sources.frame import Transform
    from .sources.opening import open_source

    size = numbers("--size", options.size, "x", 2)
    crop = numbers("--crop", options.crop, ",", 4)
    return open_source(
        options.source or options.camera or "0",
        size=(int(size[0]), int(size[1])) if size else None,
        fps=options.fps,
        transform=Transform(options.rotate, options.flip, (crop[0], crop[1], crop[2], crop[3]) if crop else None),
        give_up=options.give_up,
        fast=options.fast,
    )


def _open_outputs(
    stack: ExitStack, options: argparse.Namespace, source: Source, model: str
) -> tuple[list[Writer], list[Output]]:
    """The writers, that of standard output first, and the outputs that write to them."""
    from .outputs.console import Console
    from .outputs.events import Events
    from .outputs.json_lines import JsonLines
    from .outputs.systemd import Service
    from .outputs.writer import Writer

    if options.events and not source.stream:
        raise UsageError("--events is about what changes before a camera or in a video: pictures have no state")
    if options.skip_still and not source.stream:
        raise UsageError("--skip-still is for cameras and videos: pictures are each classified")
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
    from .pipeline.decision import Decision

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
