"""Two result files side by side: ratios with their uncertainty, or why there is no sense in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ..errors import ComparisonError, DataError
from .statistics import Entry, Metric
from .tables import as_text

FORMAT = 1

_LEAST_ROUNDS = 3
_DRAWS = 10_000
# Other programs' share of all cores, and the change of the clock, from which on times are about them.
_BUSY = 0.25
_CLOCK = 0.1

_MACHINE = ("device", "processor", "features", "machine", "cores", "word_bits", "governor")
_SOFTWARE = ("kernel", "interpreter", "interpreter_version", "python", "numpy", "opencv", "edge_classify")


def read_results(path: str | Path) -> dict[str, Any]:
    """A file that `edge-benchmark --result_json` wrote. Raises DataError."""
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text("utf-8"))
        if content["format"] > FORMAT:
            raise DataError(f"{path}: made by a newer edge-benchmark: pip install --upgrade edge-classify")
        content["environment"], content["watch"], content["results"]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not what edge-benchmark --result_json writes ({error!r})") from error
    return content


def compare(old: Mapping[str, Any], new: Mapping[str, Any], metric: Metric, *, anyway: bool = False) -> str:
    """The ratios of the metric, new to old, as lines of text.

    Raises ComparisonError where no file is in both, or, unless `anyway`, where the ratios would tell of something else
    than the files.
    """
    pairs = _pairs(old, new)
    if not pairs:
        raise ComparisonError("the two have no model file with the same number of threads in common")
    reasons = list(_obstacles(old, new, pairs))
    if reasons and not anyway:
        raise ComparisonError(f"not comparable ({'; '.join(reasons)}): measure again, or say --anyway")
    lines = [f"warning: not comparable: {reason}" for reason in reasons]
    for key in _SOFTWARE:
        if old["environment"][key] != new["environment"][key]:
            lines.append(f"note: {key} differs: {old['environment'][key]} → {new['environment'][key]}")
    rows, all_drawn = [], []
    for one, other in pairs:
        threads = one["num_threads"]
        name = f"{one['name']}, {threads} thread{'s'[: threads > 1]}"
        if one["sha256"] != other["sha256"]:
            name += " (another file)"
        before, after = (np.array([metric.of(each) for each in side["rounds"]]) for side in (one, other))
        drawn = _ratios(before, after)
        all_drawn.append(drawn)
        middles = np.median(before), np.median(after)
        rows.append([name, *(f"{middle:.3f}" for middle in middles), *_told(middles[1] / middles[0], drawn)])
    if len(pairs) > 1:
        median_drawn = np.median(all_drawn, axis=0)
        rows.append(["median of all", "", "", *_told(median([float(row[3]) for row in rows]), median_drawn)])
    lines.append(as_text(["model file", "old ms", "new ms", "new / old", "95 % interval", ""], rows))
    left = {one["name"] for one in [*old["results"], *new["results"]]} - {one["name"] for one, _ in pairs}
    if left:
        lines.append(f"only in one of them: {', '.join(sorted(left))}")
    return "\n".join(lines)


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[Entry, Entry]]:
    known = {(one["name"], one["num_threads"]): one for one in old["results"]}
    return [
        (known[one["name"], one["num_threads"]], one)
        for one in new["results"]
        if (one["name"], one["num_threads"]) in known
    ]


def _obstacles(old: Mapping[str, Any], new: Mapping[str, Any], pairs: list[tuple[Entry, Entry]]) -> Iterator[str]:
    """What makes the ratios tell of the machine, and not of what runs on it."""
    for key in _MACHINE:
        before, after = old["environment"][key], new["environment"][key]
        if before != after:
            yield f"{key} was {_shown(before)}, is {_shown(after)}"
    for which, results in (("old", old), ("new", new)):
        watch, cores = results["watch"], results["environment"]["cores"]
        if watch["throttled"]:
            yield f"the processor was throttled while {which} was measured"
        taken = (watch["others"] or 0) + (watch["stolen"] or 0)
        if taken > _BUSY * cores:
            yield f"other programs took {taken:.1f} of {cores} cores while {which} was measured"
    clocks = [_clock(results["watch"]) for results in (old, new)]
    if clocks[0] and clocks[1] and abs(clocks[1] / clocks[0] - 1) > _CLOCK:
        yield f"the clock was {clocks[0]:.0f} MHz, is {clocks[1]:.0f} MHz"
    for one, other in pairs:
        if one["sha256"] == other["sha256"] and one["xnnpack"] != other["xnnpack"]:
            yield f"{one['name']}: XNNPACK computes another part of it"
            break


def _clock(watch: Mapping[str, Any]) -> float | None:
    clocks = [state["clock_mhz"] for state in watch["states"] if state["when"] == "during" and state["clock_mhz"]]
    return median(clocks) if clocks else None


def _ratios(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Ratios of the rounds' medians when rounds are drawn again, shape (draws,); NaN with too few rounds.

    The bootstrap's unit is the round: a process of its own, seconds or minutes apart from the next. For 5 to 10 rounds
    its percentiles hold the true ratio in 96 to 97 % of simulated cases, with normal noise and with spikes.
    """
    if min(len(before), len(after)) < _LEAST_ROUNDS:
        return np.full(_DRAWS, np.nan)
    # The same rounds are drawn for every file: what slows a round down slows all files in it.
    rng = np.random.default_rng(0)
    old, new = (np.median(side[rng.integers(0, len(side), (_DRAWS, len(side)))], axis=1) for side in (before, after))
    ratios: np.ndarray = new / old
    return ratios


def _told(ratio: float, drawn: np.ndarray) -> tuple[str, str, str]:
    if np.isnan(drawn).any():
        return f"{ratio:.3f}", f"fewer than {_LEAST_ROUNDS} rounds", ""
    low, high = np.percentile(drawn, (2.5, 97.5))
    verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference seen"
    return f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", verdict


def _shown(value: Any) -> str:
    return " ".join(value) or "none" if isinstance(value, list) else str(value)
