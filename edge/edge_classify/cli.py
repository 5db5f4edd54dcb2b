"""The command `edge-classify`."""

from __future__ import annotations

import os

# numpy's BLAS is not used on the device; its threads would cost 16 ms and memory at start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import signal
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from . import __version__
from .command import run
from .errors import UsageError


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
    _add_budget_options(parser.add_argument_group("the best model file for this device (see docs/benchmarking.md)"))
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


def _add_budget_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--models", metavar="MODELS", help="choose among these: a folder of .tflite files, or a manifest.json"
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


def _model(options: argparse.Namespace) -> str | Path | None:
    """The model file that is meant, measured and chosen where only a budget is given."""
    model: str | None = options.model
    if options.models is None and options.budget_ms is None:
        return model
    if options.models is None or options.budget_ms is None or model is not None:
        raise UsageError(
            "--models and --budget-ms go together, and without --model: a folder to choose from, and a time"
        )
    from .benchmark.figures import Metric
    from .benchmark.remembered import chosen_model

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    return chosen_model([options.models], Metric.parse(options.metric), options.budget_ms, options.num_threads, tell)


def _classify(options: argparse.Namespace) -> int:
    if options.count is not None and options.count < 1:
        raise UsageError(f"--count is {options.count}: it must be at least 1; leave it out to go on until Ctrl-C")
    # A service manager's stop ends the loop as Ctrl-C does, with the summary.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    from .classifier import Classifier
    from .latency import Latency
    from .outputs.console import Console
    from .outputs.json_lines import JsonLines
    from .outputs.service import Service
    from .pipeline import classify_frames
    from .sources import open_camera

    classifier = Classifier(
        _model(options),
        labels=options.labels,
        top_k=options.top_k,
        threshold=options.threshold,
        num_threads=options.num_threads,
    )
    latency = Latency()
    with open_camera(options.source or options.camera or "0") as source:
        output = (
            JsonLines(sys.stdout, classifier.model_file.name)
            if options.json
            else Console(sys.stdout, steady=source.stream)
        )
        try:
            with output, Service.from_environment() as service:
                for result in islice(classify_frames(source, classifier), options.count):
                    latency.append(result.timing_ms, result.finished_at)
                    output.append(result)
                    service.append(result)
        except KeyboardInterrupt:
            pass
        finally:
            print(latency.table(), file=sys.stderr if options.json else sys.stdout)
    return 0
