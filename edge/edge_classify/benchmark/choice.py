"""The most accurate model file that fits a time budget on this device, found without measuring them all."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import BudgetError, ModelFileError
from .candidates import Candidate, warn_of_different_photos
from .statistics import Metric, stage_figures
from .turns import Turn

log = logging.getLogger(__name__)

# How far from the budget a file must be, as a ratio, for its turns to be enough: by their number. What is too slow
# takes two at least, lest other work fell into the first; the chosen file takes three, so that its margin can be told.
_CLEARLY = (1.25, 1.15, 1.08, 1.04, 1.0)
_SLOW_TURNS, _CHOSEN_TURNS = 2, 3
# Of two files of one precision that with more multiply-adds is the slower, within so much.
_SLACK = 0.15
_GROWTH = 0.85


@dataclass(frozen=True)
class Measured:
    """What turns of a file came to, in milliseconds.

    value: the metric. quietest: the least of the turns' p50 of its stage; other work only ever makes it longer.
    """

    turns: int
    value: float
    quietest: float
    fits: bool


@dataclass(frozen=True)
class Choice:
    """The most accurate file that fits, and what was measured to know it."""

    candidate: Candidate
    measured: dict[Candidate, Measured]
    turns: dict[Candidate, list[Turn]]
    skipped: list[Candidate]


def choose(
    candidates: Sequence[Candidate], metric: Metric, budget: float, threads: int, measure: Callable[[Candidate], Turn]
) -> Choice:
    """The most accurate candidate whose metric is at most `budget` milliseconds; `measure` takes one turn of one.

    Of those with the same accuracy it is the first that is found. Raises BudgetError if none fits.
    """
    turns: dict[Candidate, list[Turn]] = {}
    measured: dict[Candidate, Measured] = {}

    def take(candidate: Candidate, least: int) -> None:
        taken = turns.setdefault(candidate, [])
        while True:
            if len(taken) >= least and candidate in measured and _is_clear(measured[candidate], budget):
                return
            taken.append(measure(candidate))
            value = metric.of(stage_figures(taken, threads))
            quietest = min(stage_figures([turn], threads)[metric.stage]["p50"] for turn in taken)
            measured[candidate] = Measured(len(taken), value, quietest, value <= budget)

    while True:
        fitting = [one for one in measured if measured[one].fits]
        best = max(fitting, key=_accuracy, default=None)
        floor = _accuracy(best) if best else -1.0
        left = [
            one
            for one in candidates
            if one not in measured and _accuracy(one) > floor and not _is_slower(one, measured, metric, budget)
        ]
        if left:
            take(_next(left, measured, budget), 1)
        elif best is None:
            fastest = min(measured, key=lambda one: measured[one].value)
            raise BudgetError(
                f"no model file fits {metric} of {budget:g} ms here: the fastest that was measured is "
                f"{fastest.path} with {measured[fastest].value:.2f} ms"
            )
        elif measured[best].turns < _CHOSEN_TURNS:
            take(best, _CHOSEN_TURNS)
        else:
            return Choice(best, measured, turns, [one for one in candidates if one not in measured])


def _is_clear(measured: Measured, budget: float) -> bool:
    clearly = _CLEARLY[min(measured.turns, len(_CLEARLY)) - 1]
    too_slow = measured.quietest > clearly * budget and measured.turns >= _SLOW_TURNS
    return too_slow or measured.value * clearly < budget or measured.turns >= len(_CLEARLY)


def _accuracy(candidate: Candidate) -> float:
    return candidate.accuracy or 0.0


def _is_slower(candidate: Candidate, measured: dict[Candidate, Measured], metric: Metric, budget: float) -> bool:
    """Whether one of its precision that takes no more multiply-adds is too slow."""
    if candidate.multiply_adds is None or metric.stage not in ("inference", "total"):
        return False
    return any(
        one.precision == candidate.precision
        and one.multiply_adds is not None
        and one.multiply_adds <= candidate.multiply_adds
        and times.quietest * (1 - _SLACK) > budget
        for one, times in measured.items()
    )


def _next(left: Sequence[Candidate], measured: dict[Candidate, Measured], budget: float) -> Candidate:
    """The most accurate that is expected to fit; if none is, the one expected to be the fastest."""
    if not measured:
        return sorted(left, key=lambda one: one.multiply_adds or 0)[len(left) // 2]
    expected = {one: _expected(one, measured) for one in left}
    fitting = [one for one in left if expected[one] <= budget * (1 + _SLACK)]
    return max(fitting, key=_accuracy) if fitting else min(left, key=lambda one: expected[one])


def _expected(candidate: Candidate, measured: dict[Candidate, Measured]) -> float:
    """Its p50 after that of the measured file with the nearest multiply-adds, of its precision if there is one."""
    known = [one for one in measured if one.multiply_adds]
    of_precision = [one for one in known if one.precision == candidate.precision]
    if not candidate.multiply_adds or not known:
        return 0.0
    adds = candidate.multiply_adds
    near = min(of_precision or known, key=lambda one: abs(math.log((one.multiply_adds or 1) / adds)))
    return measured[near].quietest * float((adds / (near.multiply_adds or 1)) ** _GROWTH)


def comparable(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that tell their accuracy. Raises ModelFileError if there is none, or if they tell of different things."""
    known = [one for one in candidates if one.accuracy is not None]
    if not known:
        raise ModelFileError("none of these files tells its accuracy: convert them with edge-convert")
    for one in candidates:
        if one.accuracy is None:
            log.warning("%s does not tell its accuracy: left out", one.path)
    for one in known:
        if one.labels != known[0].labels:
            raise ModelFileError(
                f"{one.path} has other labels than {known[0].path}: there is only a choice among files of one purpose"
            )
    warn_of_different_photos(known)
    return known
