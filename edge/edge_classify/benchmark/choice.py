"""Finding the file that the rule takes within a time budget on this device, without measuring all of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import BudgetError, EdgeClassifyError
from ..model.threads import Threads
from .candidates import Candidate
from .metric import Metric
from .rule import SAME_COST, as_accurate_as, best_of, cheapest, figure
from .statistics import stage_statistics, threads_needed
from .turns import Turn

log = logging.getLogger(__name__)

# A file needs no more turns once budget and time differ by this factor: after one turn, after two, and so on. The
# last 1.0 ends it after five turns in any case.
_CLEAR_FACTORS = (1.25, 1.15, 1.08, 1.04, 1.0)
# One turn is not enough to rule a file out: another program may have disturbed it.
_MIN_TURNS_TOO_SLOW = 2
# The chosen file's time is reported, and compared with those of its rivals, so these are measured more often.
_MIN_TURNS_CHOSEN = 3

# Of two files of one precision the one with more multiply-adds is the slower, or at least not faster by more than this
# fraction.
_ORDER_TOLERANCE = 0.15
# How the time grows with multiply-adds within one precision: time ∝ multiply_adds ** _GROWTH_EXPONENT.
_GROWTH_EXPONENT = 0.85
_GROWING_STAGES = ("inference", "total")


@dataclass(frozen=True)
class Measured:
    """What the turns of a file gave, in milliseconds.

    threads: how many it takes, of the numbers that were measured. value_ms: the metric with that many.
    quietest_ms: the smallest p50 of the metric's stage in any turn; disturbances only add to it.
    """

    turns: int
    threads: Threads
    value_ms: float
    quietest_ms: float
    fits: bool


@dataclass(frozen=True)
class Choice:
    """The fastest of the files that fit and are as accurate as the best that fits, and what was measured to find it.

    rivals: all files that were found to fit and to be as accurate, itself among them.
    """

    candidate: Candidate
    best: Candidate
    rivals: list[Candidate]
    measured: dict[Candidate, Measured]
    turns: dict[Candidate, list[Turn]]
    skipped: list[Candidate]


def choose(
    candidates: Sequence[Candidate],
    metric: Metric,
    budget_ms: float,
    measure: Callable[[Candidate], Turn],
) -> Choice:
    """The file that the rule takes of those whose metric is at most the budget.

    A file that is measured with several numbers of threads counts with the fewest that are nearly as fast as the best.

    candidates: as `rule.comparable` returns them. measure: takes one turn of a candidate; one for which it raises
        EdgeClassifyError is left out, unless it is the only one. Raises BudgetError if none fits.
    """
    search = _Search(metric, budget_ms, measure)
    candidates = list(candidates)

    def take_turns(candidate: Candidate, at_least: int = 1) -> None:
        try:
            search.take_turns(candidate, at_least)
        except EdgeClassifyError as error:
            candidates.remove(candidate)
            if not candidates:
                raise
            search.forget(candidate)
            log.warning("left out: %s", error)

    while True:
        best = search.best()
        contenders = [candidate for candidate in candidates if search.is_contender(candidate, best)]
        if contenders:
            take_turns(search.most_promising(contenders))
            continue
        if best is None:
            fastest, measured = min(search.measured.items(), key=lambda item: item[1].value_ms)
            raise BudgetError(
                f"no model file has a {metric} of at most {budget_ms:g} ms on this device: the fastest one measured, "
                f"{fastest.path}, takes {measured.value_ms:.2f} ms; allow more, or convert a smaller one"
            )
        as_accurate = as_accurate_as(best, candidates)
        maybe_faster = [candidate for candidate in as_accurate if search.may_be_fastest(candidate, as_accurate)]
        if maybe_faster:
            take_turns(min(maybe_faster, key=lambda candidate: candidate.multiply_adds or 0))
            continue
        rivals = search.fitting(as_accurate)
        hurried = [
            candidate
            for candidate in search.nearly_fastest(rivals)
            if search.measured[candidate].turns < _MIN_TURNS_CHOSEN
        ]
        if hurried:
            take_turns(hurried[0], at_least=_MIN_TURNS_CHOSEN)
            continue
        chosen = cheapest(rivals, lambda candidate: search.measured[candidate].value_ms, lambda file: file.bytes)
        skipped = [candidate for candidate in candidates if candidate not in search.measured]
        return Choice(chosen, best, rivals, search.measured, search.turns, skipped)


class _Search:
    """What was measured so far, and what to measure next."""

    def __init__(self, metric: Metric, budget_ms: float, measure: Callable[[Candidate], Turn]) -> None:
        self.turns: dict[Candidate, list[Turn]] = {}
        self.measured: dict[Candidate, Measured] = {}
        self._metric = metric
        self._budget_ms = budget_ms
        self._measure = measure

    def best(self) -> Candidate | None:
        """The one with the highest figure of those that were found to fit."""
        fitting = self.fitting(list(self.measured))
        return best_of(fitting) if fitting else None

    def fitting(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that were measured and found to fit."""
        return [file for file in candidates if file in self.measured and self.measured[file].fits]

    def nearly_fastest(self, fitting: Sequence[Candidate]) -> list[Candidate]:
        """Those between which the time may not decide yet."""
        limit = min(self.measured[file].value_ms for file in fitting) * (1 + SAME_COST) * (1 + _ORDER_TOLERANCE)
        return [file for file in fitting if self.measured[file].value_ms <= limit]

    def is_contender(self, candidate: Candidate, best: Candidate | None) -> bool:
        """Whether it is still to be measured: it would be better than the best, and may fit."""
        if candidate in self.measured:
            return False
        return (best is None or figure(candidate) > figure(best)) and not self._is_too_slow_by_size(candidate)

    def may_be_fastest(self, candidate: Candidate, as_accurate: Sequence[Candidate]) -> bool:
        """Whether it is still to be measured, because it may be as fast as the fastest of those that fit."""
        if candidate in self.measured or self._is_too_slow_by_size(candidate):
            return False
        fastest_ms = min(self.measured[file].value_ms for file in self.fitting(as_accurate))
        smaller = [
            file
            for file in self.measured
            if file.precision == candidate.precision and (file.multiply_adds or 0) <= (candidate.multiply_adds or 0)
        ]
        if not smaller or not candidate.multiply_adds or self._metric.stage not in _GROWING_STAGES:
            return True
        return self._expected_ms(candidate) * (1 - _ORDER_TOLERANCE) <= fastest_ms * (1 + SAME_COST)

    def most_promising(self, contenders: Sequence[Candidate]) -> Candidate:
        """The one with the highest figure that is expected to fit; if none is, the one expected to be the fastest."""
        if not self.measured:
            by_size = sorted(contenders, key=lambda candidate: candidate.multiply_adds or 0)
            return by_size[len(by_size) // 2]
        expected_ms = {candidate: self._expected_ms(candidate) for candidate in contenders}
        limit = self._budget_ms * (1 + _ORDER_TOLERANCE)
        fitting = [candidate for candidate in contenders if expected_ms[candidate] <= limit]
        return best_of(fitting) if fitting else min(contenders, key=lambda c: expected_ms[c])

    def take_turns(self, candidate: Candidate, at_least: int = 1) -> None:
        """Measure it until it is clear whether it fits."""
        turns = self.turns.setdefault(candidate, [])
        while len(turns) < at_least or not self._is_clear(candidate):
            turns.append(self._measure(candidate))
            threads = threads_needed(turns)
            value_ms = self._metric.of(stage_statistics(turns, threads.count))
            stage_medians = [stage_statistics([turn], threads.count)[self._metric.stage]["p50"] for turn in turns]
            self.measured[candidate] = Measured(
                turns=len(turns),
                threads=threads,
                value_ms=value_ms,
                quietest_ms=min(stage_medians),
                fits=value_ms <= self._budget_ms,
            )

    def forget(self, candidate: Candidate) -> None:
        """As if it had never been measured."""
        self.turns.pop(candidate, None)
        self.measured.pop(candidate, None)

    def _is_clear(self, candidate: Candidate) -> bool:
        measured = self.measured[candidate]
        if measured.turns >= len(_CLEAR_FACTORS):
            return True
        factor = _CLEAR_FACTORS[measured.turns - 1]
        fits = measured.value_ms * factor < self._budget_ms
        too_slow = measured.quietest_ms > factor * self._budget_ms and measured.turns >= _MIN_TURNS_TOO_SLOW
        return fits or too_slow

    def _is_too_slow_by_size(self, candidate: Candidate) -> bool:
        """Whether one of its precision with no more multiply-adds is too slow already."""
        if candidate.multiply_adds is None or self._metric.stage not in _GROWING_STAGES:
            return False
        return any(
            other.precision == candidate.precision
            and other.multiply_adds is not None
            and other.multiply_adds <= candidate.multiply_adds
            and measured.quietest_ms * (1 - _ORDER_TOLERANCE) > self._budget_ms
            for other, measured in self.measured.items()
        )

    def _expected_ms(self, candidate: Candidate) -> float:
        """Scaled from the measured file with the nearest multiply-adds, of its own precision if there is one.

        0 if its multiply-adds are unknown, so that it is tried.
        """
        sizes = {other: other.multiply_adds for other in self.measured if other.multiply_adds}
        size = candidate.multiply_adds
        if not size or not sizes:
            return 0.0
        same_precision = [other for other in sizes if other.precision == candidate.precision]
        nearest = min(same_precision or sizes, key=lambda other: abs(math.log(sizes[other] / size)))
        return self.measured[nearest].quietest_ms * float((size / sizes[nearest]) ** _GROWTH_EXPONENT)
