"""The command `edge-benchmark`."""

from __future__ import annotations

import os

# numpy's BLAS is not used on the device; its threads would cost 16 ms and memory at start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal

from ..errors import BudgetError, DataError, EdgeClassifyError, ModelFileError, SelfTestError
from ..model.threads import AUTO, in_words, thread_counts
from ..options import Parser, add_third_party_options, duration, integer, number, output_file
from ..system.atomic_write import write_atomic
from ..system.command import run
from ..system.cores import usable_cores
from ..system.counted import counted
from .metric import Metric, metric

if TYPE_CHECKING:
    from .candidates import Candidate
    from .environment import Watch
    from .result import ModelResult, SustainedResult, WatchRecord
    from .turns import Length, ThirdParty, Turn

log = logging.getLogger(__name__)

_DEFAULT_ROUNDS = 5
_DEFAULT_METRIC = Metric("total", "p90")

# From this fraction of the processor on, what other programs use shows in the times.
_BUSY_FRACTION = 0.25


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    return run(
        lambda: _measure_all(options) if options.budget_ms is None else _choose(options),
        traceback=options.traceback,
    )


def _parser() -> Parser:
    parser = Parser(
        "edge-benchmark",
        "Measure how long each model file takes on this device, from camera frame to label,\n"
        "and say which to take: the fastest of those that are as accurate as the best, within a time budget if you\n"
        "give one. Times are in milliseconds.",
        usage="edge-benchmark MODEL [MODEL ...] [options]",
        examples=[
            ("edge-benchmark models", "measure every file in a folder"),
            ("edge-benchmark models --budget-ms 30", "find the file to take of those that take at most 30 ms"),
        ],
        errors=[ModelFileError, SelfTestError, DataError, BudgetError],
        details=("--num-runs", "--warmup-runs", "--csv", "--verbose"),
    )
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="a .tflite file, a folder of them, or a manifest.json"
    )
    _add_measuring_options(parser.add_argument_group("measuring"))
    add_third_party_options(parser.add_argument_group("files of others (not with --budget-ms)"))
    _add_budget_options(parser.add_argument_group("finding the file to take within a budget"))
    _add_all_files_options(parser.add_argument_group("measuring every file (not with --budget-ms)"))
    parser.add_common_options()
    return parser


def _add_measuring_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--num-threads",
        type=_thread_counts,
        default=AUTO,
        metavar="N[,N…]",
        help="threads per inference; auto: 1, 2 and 4, up to the cores that it may use, and of each file the fewest "
        "that are within 10%% of the fastest, as edge-classify takes them",
    )
    group.add_argument(
        "--num-runs",
        type=integer(1),
        metavar="N",
        help="frames to measure, over all rounds, for each file and number of threads (default: in each round as many "
        "as take 0.15 s, at least 10)",
    )
    group.add_argument(
        "--warmup-runs",
        type=integer(0),
        metavar="N",
        help="frames to classify before measuring, in each round (default: until they no longer get faster)",
    )
    group.add_argument(
        "--result-json", type=output_file, metavar="FILE", help="write everything that was measured to a JSON file"
    )


def _add_all_files_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--rounds",
        type=integer(1),
        metavar="N",
        help=f"how often to measure each file, each time in a new process (default: {_DEFAULT_ROUNDS})",
    )
    group.add_argument(
        "--sustained",
        type=duration,
        metavar="TIME",
        help="then run each file without a pause for this long, to see what heat does: 30s, 10m, 2h",
    )
    group.add_argument("--csv", type=output_file, metavar="FILE", help="write all statistics to a CSV file")
    group.add_argument("--markdown", type=output_file, metavar="FILE", help="write the table to a Markdown file")
    group.add_argument("--verbose", action="store_true", help="print one line per measurement")


def _add_budget_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--budget-ms",
        type=number(above=0),
        metavar="MS",
        help="find the fastest of the files that are as accurate as the best within this many milliseconds, measuring "
        "only as many files as necessary",
    )
    group.add_argument(
        "--metric",
        type=metric,
        metavar="STAGE.STATISTIC",
        help="the time that must fit: start, preprocess, inference, postprocess or total, and mean, p50, p90 or p99 "
        f"(default: {_DEFAULT_METRIC})",
    )


def _thread_counts(text: str) -> list[int] | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise argparse.ArgumentTypeError(f"expected a whole number, several such as 1,2,4, or auto, found {text!r}")
    return list(dict.fromkeys(int(word) for word in text.split(",")))


def _check(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is measured."""
    if options.budget_ms is None:
        if options.metric:
            parser.error("--metric needs --budget-ms: without a budget, all statistics are measured")
        return
    if options.num_threads != AUTO and len(options.num_threads) > 1:
        parser.error("--budget-ms needs a single number of threads, such as --num-threads 2, or auto")
    for name in ("labels", "input_range", "input_size"):
        if getattr(options, name):
            parser.error(
                f"--{name.replace('_', '-')} cannot be used with --budget-ms, which compares our own files only"
            )
    for name in ("rounds", "sustained", "csv", "markdown", "verbose"):
        if getattr(options, name):
            parser.error(f"--{name} cannot be used with --budget-ms, which does not measure every file")


def _measure_all(options: argparse.Namespace) -> int:
    from ..model.label_files import read_labels
    from ..system.machine import System
    from . import tables
    from .candidates import read_candidates
    from .environment import Watch, describe
    from .result import write_result
    from .statistics import model_result

    if options.labels is not None:
        read_labels(options.labels)  # what is wrong with them is wrong for all files
    system = System()
    unusable: list[EdgeClassifyError] = []
    candidates = read_candidates(options.models, unusable)
    threads = thread_counts(usable_cores()) if options.num_threads == AUTO else options.num_threads
    environment = describe(system)
    machine = tables.machine(environment)
    print(machine, flush=True)
    watch = Watch(system)
    turns = _take_turns(candidates, threads, options, watch, unusable)
    candidates = [candidate for candidate in candidates if candidate.path in turns]
    results = [model_result(candidate, count, turns[candidate.path]) for candidate in candidates for count in threads]
    headings, rows = tables.overview(results)
    print(tables.as_text(headings, rows))
    print(tables.legend(results))
    _print_choice(candidates, results)
    sustained = _run_sustained(candidates, _sustained_threads(options, turns), options, watch)
    record = watch.finish()
    _print_warnings(record, environment["cores"])
    if options.result_json:
        write_result(options.result_json, environment, record, results, sustained=sustained)
    if options.csv:
        write_atomic(options.csv, tables.as_csv(results))
    if options.markdown:
        today = datetime.now(UTC).date().isoformat()
        write_atomic(options.markdown, f"{machine}, {today}\n\n{tables.as_markdown(headings, rows)}")
    _say_what_was_written(options.result_json, options.csv, options.markdown)
    if unusable:
        print(
            f"warning: {len(unusable)} of {counted(len(unusable) + len(candidates), 'file')} left out, see above",
            file=sys.stderr,
        )
    return unusable[0].exit_code if unusable else 0


def _print_choice(candidates: Sequence[Candidate], results: Sequence[ModelResult]) -> None:
    """Say which file to take, if there are several that can be compared."""
    from .rule import as_accurate_as, best_of, cheapest, comparable, explain

    if sum(candidate.accuracy is not None for candidate in candidates) < 2:
        return
    # With as many threads as edge-classify takes for each; where that is not known, the first number, as in the table.
    judged = {
        result["model"]: result
        for result in reversed(results)
        if result["num_threads"] == (result["auto_threads"] or results[0]["num_threads"])
    }
    p50 = {model: result["stages"]["total"]["p50"] for model, result in judged.items()}
    try:
        known = comparable(candidates)
    except ModelFileError as error:
        print(f"none of these files is recommended: {error}")
        return
    best = best_of(known)
    rivals = as_accurate_as(best, known)
    chosen = cheapest(rivals, lambda file: p50[str(file.path)], lambda file: file.bytes)
    path = str(chosen.path)
    cost = f"total.p50 {p50[path]:.2f} ms with {in_words(judged[path]['num_threads'])}"
    print(f"take {explain(chosen, best, len(rivals), '', cost)}")


def _take_turns(
    candidates: Sequence[Candidate],
    threads: Sequence[int],
    options: argparse.Namespace,
    watch: Watch,
    unusable: list[EdgeClassifyError],
) -> dict[Path, list[Turn]]:
    """The turns of each file that can be used; the others' errors are added to `unusable`."""
    from .candidates import leave_out
    from .turns import plan_rounds, take_turn

    third_party = _third_party(options)
    paths = [candidate.path for candidate in candidates]
    rounds = plan_rounds(paths, threads, options.rounds or _DEFAULT_ROUNDS, _length(options))
    turns: dict[Path, list[Turn]] = {path: [] for path in paths}
    progress = _Progress(len(rounds), len(paths), options.verbose)
    for planned_turns in rounds:
        for planned in planned_turns:
            if planned.path in turns:
                try:
                    turn = take_turn(*planned, third_party)
                    if not turns[planned.path] and turn.assumptions:
                        progress.clear()
                        for assumption in turn.assumptions:
                            log.warning("%s: %s", planned.path, assumption)
                    turns[planned.path].append(turn)
                except EdgeClassifyError as error:
                    del turns[planned.path]
                    if not turns:
                        raise
                    progress.clear()
                    leave_out(error, unusable)
            progress.advance()
        watch.record()
    progress.clear()
    return turns


def _sustained_threads(options: argparse.Namespace, turns: Mapping[Path, Sequence[Turn]]) -> dict[Path, list[int]]:
    from .statistics import threads_needed

    if options.num_threads != AUTO:
        return dict.fromkeys(turns, options.num_threads)
    return {path: [threads_needed(its_turns).count] for path, its_turns in turns.items()}


def _run_sustained(
    candidates: Sequence[Candidate], threads_of: Mapping[Path, list[int]], options: argparse.Namespace, watch: Watch
) -> list[SustainedResult]:
    from .sustained import run_sustained

    results = []
    for candidate in candidates if options.sustained else []:
        for threads in threads_of[candidate.path]:
            print(f"{candidate.name}, {in_words(threads)}, without a pause:")
            results.append(
                run_sustained(candidate, threads, options.sustained, watch, _print_now, _third_party(options))
            )
    return results


def _choose(options: argparse.Namespace) -> int:
    from ..system.machine import System
    from .choice_cache import find_choice, summary
    from .environment import Watch
    from .result import write_result
    from .statistics import model_result

    num_threads: int | Literal["auto"] = "auto" if options.num_threads == AUTO else options.num_threads[0]
    watch = Watch(System())
    record, choice = find_choice(
        options.models,
        options.metric or _DEFAULT_METRIC,
        options.budget_ms,
        num_threads,
        _length(options),
        lambda line: print(f"measuring {line}", file=sys.stderr, flush=True),
    )
    print(summary(record))
    watch_record = watch.finish()
    _print_warnings(watch_record, record["environment"]["cores"])
    if options.result_json:
        results = [
            model_result(candidate, choice.measured[candidate].threads.count, turns)
            for candidate, turns in choice.turns.items()
        ]
        write_result(options.result_json, record["environment"], watch_record, results, choice=record)
    _say_what_was_written(options.result_json)
    return 0


def _third_party(options: argparse.Namespace) -> ThirdParty:
    from .turns import ThirdParty

    return ThirdParty(options.labels, options.input_range, options.input_size)


def _length(options: argparse.Namespace) -> Length:
    from .turns import Length

    return Length(frames=options.num_runs, warmup=options.warmup_runs)


def _print_warnings(record: WatchRecord, cores: int) -> None:
    used = (record["others"] or 0) + (record["stolen"] or 0)
    if used > _BUSY_FRACTION * cores:
        print(
            f"warning: other programs used {used:.1f} of {cores} cores during the measurement, so the times may be "
            "too long: stop them and measure again",
            file=sys.stderr,
        )
    if record["throttled"]:
        print(
            "warning: the processor was throttled during the measurement: run edge-doctor to find out why",
            file=sys.stderr,
        )


def _say_what_was_written(*paths: Path | None) -> None:
    for path in filter(None, paths):
        print(f"wrote {path}")


def _print_now(line: str) -> None:
    print(line, flush=True)


class _Progress:
    """One line on a terminal's standard error, rewritten in place, or with `verbose` one line per turn."""

    def __init__(self, rounds: int, files: int, verbose: bool) -> None:
        self._rounds = rounds
        self._files = files
        self._verbose = verbose
        self._rewritten = sys.stderr.isatty() and not verbose
        self._done = 0
        self._started = monotonic()

    def advance(self) -> None:
        number, place = divmod(self._done, self._files)
        self._done += 1
        seconds_left = (monotonic() - self._started) / self._done * (self._rounds * self._files - self._done)
        text = f"round {number + 1} of {self._rounds}, file {place + 1} of {self._files}, {seconds_left:.0f} s left"
        if self._verbose:
            print(text, file=sys.stderr, flush=True)
        elif self._rewritten:
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._rewritten:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
