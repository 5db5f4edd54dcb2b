"""The command `edge-benchmark`."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from .. import __version__
from ..command import run
from ..errors import UsageError
from ..system.atomic_write import write_atomic

_THREADS = (1, 2, 4)
# Of litert-benchmark; this command measures what edge-classify does, and that runs on the processor.
_ACCELERATORS = {"use_gpu", "use_npu", "no_cpu", "require_full_delegation"}
_LIBRARIES = {"dispatch_library_path", "compiler_plugin_path", "runtime_path", "signature"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: _benchmark(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-benchmark",
        description="Say what each model file costs on this machine, from frame to label, or which is the best "
        "that fits a time budget. Times are in milliseconds.",
        epilog="Exit code: 0, or 2 usage, 4 model file, 5 self-test, 6 data, 7 not comparable, 8 no file fits.",
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="a .tflite file, a folder of them, or a manifest.json"
    )
    parser.add_argument("--model", action="append", default=[], metavar="MODEL", help="the same")
    parser.add_argument(
        "--num_threads",
        "--num-threads",
        type=_numbers,
        metavar="N[,N…]",
        help="threads for one inference (default: 1, 2 and 4, as far as there are cores)",
    )
    parser.add_argument(
        "--num_runs",
        "--num-runs",
        type=int,
        metavar="N",
        help="frames that count, of each file and number of threads, all rounds together (default: as many as take "
        "0.15 s, at least 10, in each round)",
    )
    parser.add_argument(
        "--warmup_runs",
        "--warmup-runs",
        type=int,
        metavar="N",
        help="frames that do not count, in each round (default: until they no longer get faster)",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each file (default: 5)")
    parser.add_argument(
        "--sustained", type=_seconds, metavar="TIME", help="then run each file without a pause, for heat: 30s, 10m, 2h"
    )
    parser.add_argument("--result_json", "--result-json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all figures as a table")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the terminal's table in Markdown")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw accuracy against latency (needs edge-classify[plot])"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for each turn")
    budget = parser.add_argument_group("the best that fits")
    budget.add_argument(
        "--budget-ms", type=float, metavar="MS", help="choose the most accurate file that takes no longer"
    )
    budget.add_argument(
        "--metric",
        metavar="STAGE.STATISTIC",
        help="start, preprocess, inference, postprocess or total; mean, p50, p90 or p99 (default: total.p90 for a "
        "budget, total.p50 for --compare)",
    )
    comparison = parser.add_argument_group("two results")
    comparison.add_argument("--compare", nargs=2, metavar=("OLD.json", "NEW.json"), help="ratios of two --result_json")
    comparison.add_argument("--anyway", action="store_true", help="also where the ratios would tell of the machine")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--use_cpu", action="store_true", help=argparse.SUPPRESS)
    for name in sorted(_ACCELERATORS):
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    for name in sorted(_LIBRARIES):
        parser.add_argument(f"--{name}", default="", help=argparse.SUPPRESS)
    return parser


def _numbers(text: str) -> list[int]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise argparse.ArgumentTypeError(f"{text}: a number (2) or several (1,2,4) are needed")
    return list(dict.fromkeys(int(number) for number in text.split(",")))


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text}: a time like 30s, 10m or 2h is needed")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def _benchmark(options: argparse.Namespace) -> int:
    _check(options)
    if options.compare:
        return _compare(options)
    if options.budget_ms is not None:
        return _choose(options)
    return _measure(options)


def _check(options: argparse.Namespace) -> None:
    for name in sorted(_ACCELERATORS | _LIBRARIES):
        if getattr(options, name):
            raise UsageError(
                f"--{name}: models run on the processor here, by their first signature: ask litert-benchmark"
            )
    options.models += options.model
    if not options.models and not options.compare:
        raise UsageError("no model file: edge-benchmark MODEL…, files, folders or a manifest.json")
    for name, least in (("num_runs", 1), ("warmup_runs", 0), ("rounds", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value}: it must be at least {least}")
    if options.metric and options.budget_ms is None and not options.compare:
        raise UsageError("--metric is for --budget-ms and --compare")
    if options.budget_ms is not None and options.num_threads and len(options.num_threads) > 1:
        raise UsageError("--budget-ms is for one number of threads: give one to --num_threads")
    for name in ("sustained", "csv", "markdown", "plot"):
        if getattr(options, name) and (options.budget_ms is not None or options.compare):
            raise UsageError(f"--{name} is for measuring all files: leave --budget-ms and --compare out")
    if options.plot:
        from .plot import check_matplotlib

        check_matplotlib()


def _measure(options: argparse.Namespace) -> int:
    from ..system.machine import System
    from . import tables
    from .candidates import read_candidates, warn_of_different_photos
    from .environment import Watch, describe
    from .statistics import entry
    from .sustained import run_sustained
    from .turns import Length, take_turns

    system = System()
    candidates = read_candidates(options.models)
    threads = options.num_threads or [number for number in _THREADS if number <= system.cores]
    environment = describe(system)
    machine = tables.machine(environment)
    print(machine, flush=True)
    warn_of_different_photos(candidates)
    watch = Watch(system)
    progress = _Progress(options.rounds, len(candidates), options.verbose)

    def after(number: int, place: int) -> None:
        progress.show(number, place)
        if place == len(candidates) - 1:
            watch.during()

    length = Length(frames=options.num_runs, warmup=options.warmup_runs)
    turns = take_turns([one.path for one in candidates], threads, options.rounds, length, after)
    progress.clear()
    entries = [entry(one, number, turns[one.path]) for one in candidates for number in threads]
    columns, rows = tables.overview(entries)
    print(tables.as_text(columns, rows))
    sustained = []
    if options.sustained:
        for one in candidates:
            for number in options.num_threads or [1]:
                print(f"{one.name}, {number} thread{'s'[: number > 1]}, without a pause:")
                sustained.append(
                    run_sustained(one, number, options.sustained, watch, lambda line: print(line, flush=True))
                )
    record = watch.finish()
    _show_warnings(record, environment["cores"])
    if options.result_json:
        write_atomic(options.result_json, _document(environment, record, entries, sustained=sustained))
    if options.csv:
        write_atomic(options.csv, tables.as_csv(entries))
    if options.markdown:
        write_atomic(
            options.markdown, f"{machine}, {datetime.now(UTC):%Y-%m-%d}\n\n{tables.as_markdown(columns, rows)}"
        )
    if options.plot:
        from .plot import latency_plot

        write_atomic(options.plot, latency_plot(entries, machine))
    return 0


def _choose(options: argparse.Namespace) -> int:
    from ..system.machine import System
    from .choice_cache import find_choice, in_words
    from .environment import Watch
    from .statistics import Metric, entry
    from .turns import Length

    metric = Metric.parse(options.metric or "total.p90")
    (threads,) = options.num_threads or [1]
    watch = Watch(System())
    length = Length(frames=options.num_runs, warmup=options.warmup_runs)
    record, choice = find_choice(
        *(options.models, metric, options.budget_ms, threads, length),
        lambda line: print(f"measuring {line}", file=sys.stderr, flush=True),
    )
    print(in_words(record))
    state = watch.finish()
    _show_warnings(state, record["environment"]["cores"])
    if options.result_json:
        entries = [entry(one, threads, turns) for one, turns in choice.turns.items()]
        write_atomic(options.result_json, _document(record["environment"], state, entries, choice=record))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from .comparison import compare, read_results
    from .statistics import Metric

    metric = Metric.parse(options.metric or "total.p50")
    old, new = (read_results(path) for path in options.compare)
    print(f"{metric}, 95 % intervals by bootstrap over rounds")
    print(compare(old, new, metric, anyway=options.anyway))
    return 0


def _document(
    environment: dict[str, Any],
    watch: dict[str, Any],
    entries: list[dict[str, Any]],
    **more: Any,
) -> str:
    from .comparison import FORMAT

    # With one result the file has litert-benchmark's keys where that has them.
    alone = entries[0] if len(entries) == 1 else {}
    document = {
        **alone,
        "format": FORMAT,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment,
        "watch": watch,
        "results": entries,
        **{name: value for name, value in more.items() if value},
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _show_warnings(watch: dict[str, Any], cores: int) -> None:
    taken = (watch["others"] or 0) + (watch["stolen"] or 0)
    if taken > 0.25 * cores:
        print(
            f"warning: other programs took {taken:.1f} of {cores} cores meanwhile: times are too long", file=sys.stderr
        )
    if watch["throttled"]:
        print("warning: the processor was throttled meanwhile: edge-doctor tells why", file=sys.stderr)


class _Progress:
    """One line on a terminal's standard error, or with `verbose` a line for each turn."""

    def __init__(self, rounds: int, files: int, verbose: bool) -> None:
        self._rounds, self._files, self._verbose = rounds, files, verbose
        self._line = sys.stderr.isatty() and not verbose
        self._began = monotonic()

    def show(self, number: int, place: int) -> None:
        done = number * self._files + place + 1
        left = (monotonic() - self._began) / done * (self._rounds * self._files - done)
        text = f"round {number + 1} of {self._rounds}, file {place + 1} of {self._files}, {left:.0f} s left"
        if self._verbose:
            print(text, file=sys.stderr, flush=True)
        elif self._line:
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._line:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
