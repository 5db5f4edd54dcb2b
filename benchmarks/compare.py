"""Two result files of edge-benchmark side by side: how the times changed, with 95 % intervals.

    python benchmarks/compare.py OLD.json NEW.json [--metric inference.p90]

Refuses where the ratios would reflect the machine and not the files: another device, a throttled processor, other
programs, another clock. The intervals cover what varied within the two measurements, and nothing that changed between
them: to be sure, measure old, new, and old again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edge_classify.benchmark.metric import Metric, metric
from edge_classify.benchmark.result import FORMAT
from edge_classify.benchmark.tables import as_text
from edge_classify.errors import DataError, EdgeClassifyError
from edge_classify.options import Parser
from edge_classify.system.command import run

MIN_ROUNDS = 3
BOOTSTRAP_DRAWS = 10_000
# Other programs' fraction of all cores, and the change of the clock, from which on the times are about them.
MAX_BUSY_FRACTION = 0.25
MAX_CLOCK_CHANGE = 0.1

MACHINE = ("device", "processor", "features", "machine", "cores", "word_bits", "governor")
SOFTWARE = ("kernel", "interpreter", "interpreter_version", "python", "numpy", "opencv", "edge_classify")

Result = Mapping[str, Any]


class ComparisonError(EdgeClassifyError):
    """Two measurements that cannot be compared."""

    meaning = "the two results cannot be compared"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(
        "compare.py",
        "Compare two files that edge-benchmark --result-json wrote: new / old, with 95 % intervals.",
        errors=[ComparisonError, DataError],
    )
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    parser.add_argument(
        "--metric", type=metric, default="total.p50", metavar="STAGE.STATISTIC", help="the time to compare"
    )
    parser.add_argument("--force", action="store_true", help="compare even if the ratios would reflect the machine")
    parser.add_common_options()
    options = parser.parse_args(arguments)

    def work() -> int:
        old, new = read_results(options.old), read_results(options.new)
        text = compare(old, new, options.metric, force=options.force)
        print(f"{options.metric}, 95 % intervals from a bootstrap over rounds\n{text}")
        return 0

    return run(work, traceback=options.traceback)


def read_results(path: Path) -> dict[str, Any]:
    """Raises DataError."""
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if content["format"] > FORMAT:
            raise DataError(f"{path}: written by a newer edge-benchmark: update edge-classify")
        content["environment"], content["watch"], content["results"]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected a file that edge-benchmark --result-json wrote ({error!r})") from error
    return content


def compare(old: Mapping[str, Any], new: Mapping[str, Any], metric: Metric, *, force: bool = False) -> str:
    """The ratios of the metric, new to old, as lines of text.

    Raises ComparisonError if no file is in both, or, unless `force`, if the ratios would reflect something else than
    the files.
    """
    pairs = pair_results(old, new)
    if not pairs:
        raise ComparisonError("the two have no model file with the same number of threads in common")
    reasons = list(obstacles(old, new, pairs))
    if reasons and not force:
        raise ComparisonError(f"not comparable ({'; '.join(reasons)}): measure again, or use --force")
    lines = [f"warning: not comparable: {reason}" for reason in reasons]
    for key in SOFTWARE:
        if old["environment"][key] != new["environment"][key]:
            lines.append(f"note: {key} differs: {old['environment'][key]} → {new['environment'][key]}")
    lines.append(ratio_table(pairs, metric))
    names = {result["name"] for results in (old, new) for result in results["results"]}
    unpaired = names - {result["name"] for result, _ in pairs}
    if unpaired:
        lines.append(f"only in one of them: {', '.join(sorted(unpaired))}")
    return "\n".join(lines)


def pair_results(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[Result, Result]]:
    """The old and the new result of each file and number of threads that are in both."""
    known = {(result["name"], result["num_threads"]): result for result in old["results"]}
    keys = [(result["name"], result["num_threads"]) for result in new["results"]]
    return [(known[key], result) for key, result in zip(keys, new["results"], strict=True) if key in known]


def obstacles(old: Mapping[str, Any], new: Mapping[str, Any], pairs: list[tuple[Result, Result]]) -> Iterator[str]:
    """What makes the ratios reflect the machine, and not what runs on it."""
    for key in MACHINE:
        before, after = old["environment"][key], new["environment"][key]
        if before != after:
            yield f"{key} was {in_words(before)}, is {in_words(after)}"
    for which, results in (("old", old), ("new", new)):
        watch, cores = results["watch"], results["environment"]["cores"]
        if watch["throttled"]:
            yield f"the processor was throttled while {which} was measured"
        used = (watch["others"] or 0) + (watch["stolen"] or 0)
        if used > MAX_BUSY_FRACTION * cores:
            yield f"other programs used {used:.1f} of {cores} cores while {which} was measured"
    clocks = [median_clock(results["watch"]) for results in (old, new)]
    if clocks[0] and clocks[1] and abs(clocks[1] / clocks[0] - 1) > MAX_CLOCK_CHANGE:
        yield f"the clock was {clocks[0]:.0f} MHz, is {clocks[1]:.0f} MHz"
    for before, after in pairs:
        if before["sha256"] == after["sha256"] and before["xnnpack"] != after["xnnpack"]:
            yield f"{before['name']}: XNNPACK computes a different part of it"
            break


def ratio_table(pairs: list[tuple[Result, Result]], metric: Metric) -> str:
    rows, ratios, draws = [], [], []
    for before, after in pairs:
        threads = before["num_threads"]
        name = f"{before['name']}, {threads} {'thread' if threads == 1 else 'threads'}"
        if before["sha256"] != after["sha256"]:
            name += " (a different file)"
        old_rounds, new_rounds = (np.array([metric.of(r) for r in side["rounds"]]) for side in (before, after))
        old_median, new_median = np.median(old_rounds), np.median(new_rounds)
        ratios.append(new_median / old_median)
        draws.append(bootstrap_ratios(old_rounds, new_rounds))
        rows.append([name, f"{old_median:.3f}", f"{new_median:.3f}", *verdict(ratios[-1], draws[-1])])
    if len(pairs) > 1:
        rows.append(["median of all", "", "", *verdict(float(median(ratios)), np.median(draws, axis=0))])
    return as_text(["model file", "old ms", "new ms", "new / old", "95 % interval", ""], rows)


def bootstrap_ratios(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Ratios of the rounds' medians when rounds are drawn again, shape (draws,); NaN with too few rounds.

    The bootstrap's unit is the round: a process of its own, seconds or minutes apart from the next. For 5 to 10 rounds
    its percentiles hold the true ratio in 96 to 97 % of simulated cases, with normal noise and with spikes.
    """
    if min(len(before), len(after)) < MIN_ROUNDS:
        return np.full(BOOTSTRAP_DRAWS, np.nan)
    # The same rounds are drawn for every file: what slows a round down slows all files in it.
    rng = np.random.default_rng(0)
    drawn = [side[rng.integers(0, len(side), (BOOTSTRAP_DRAWS, len(side)))] for side in (before, after)]
    old, new = (np.median(rounds, axis=1) for rounds in drawn)
    return new / old


def verdict(ratio: float, draws: np.ndarray) -> tuple[str, str, str]:
    if np.isnan(draws).any():
        return f"{ratio:.3f}", f"fewer than {MIN_ROUNDS} rounds", ""
    low, high = np.percentile(draws, (2.5, 97.5))
    word = "faster" if high < 1 else "slower" if low > 1 else "no difference seen"
    return f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", word


def median_clock(watch: Mapping[str, Any]) -> float | None:
    clocks = [state["clock_mhz"] for state in watch["states"] if state["when"] == "during" and state["clock_mhz"]]
    return median(clocks) if clocks else None


def in_words(value: Any) -> str:
    return " ".join(value) or "none" if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(main())
