"""Finding the most accurate model file that fits a time budget on this device, without measuring all of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..errors import BudgetError, EdgeClassifyError, ModelFileError
from ..model.threads import Threads
from .candidates import Candidate, warn_of_different_photos
from .metric import Metric
from .statistics import stage_statistics, threads_needed
from .turns import Turn

log = logging.getLogger(__name__)

# A file needs no more turns once budget and time differ by this factor: after one turn, after two, and so on. The
# last 1.0 ends it after five turns in any case.
_CLEAR_FACTORS = (1.25, 1.15, 1.08, 1.04, 1.0)
# One turn is not enough to rule a file out: another program may have disturbed it.
_MIN_TURNS_TOO_SLOW = 2
# The chosen file's time is reported, so it is measured more often.
_MIN_TURNS_CHOSEN = 3

# Of two files of one precision the one with more multiply-adds is the slower, or at least not faster by more than this
# fraction.
_ORDER_TOLERANCE = 0.15
# How the time grows with multiply-adds within one precision: time ∝ multiply_adds ** _GROWTH_EXPONENT.
_GROWTH_EXPONENT = 0.85


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
    """The most accurate file that fits, and what was measured to find it."""

    candidate: Candidate
    measured: dict[Candidate, Measured]
    turns: dict[Candidate, list[Turn]]
    skipped: list[Candidate]


def choose(
    candidates: Sequence[Candidate],
    metric: Metric,
    budget_ms: float,
    measure: Callable[[Candidate], Turn],
) -> Choice:
    """The most accurate candidate whose metric is at most the budget; of equally accurate ones the first found.

    A file that is measured with several numbers of threads counts with the fewest that are nearly as fast as the best.

    measure: takes one turn of a candidate; one for which it raises EdgeClassifyError is left out, unless it is the
        only one. Raises BudgetError if none fits.
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
        elif best is None:
            fastest, measured = min(search.measured.items(), key=lambda item: item[1].value_ms)
            raise BudgetError(
                f"no model file has a {metric} of at most {budget_ms:g} ms on this device: the fastest one measured, "
                f"{fastest.path}, takes {measured.value_ms:.2f} ms; allow more, or convert a smaller one"
            )
        elif search.measured[best].turns < _MIN_TURNS_CHOSEN:
            take_turns(best, at_least=_MIN_TURNS_CHOSEN)
        else:
            skipped = [candidate for candidate in candidates if candidate not in search.measured]
            return Choice(best, search.measured, search.turns, skipped)


def comparable(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those with an accuracy. Raises ModelFileError if there is none, or if they have different labels."""
    known = []
    for candidate in candidates:
        if candidate.accuracy is None:
            log.warning("%s: ignored, because it does not say how accurate it is", candidate.path)
        else:
            known.append(candidate)
    if not known:
        raise ModelFileError(
            "none of these model files says how accurate it is: expected files that edge-convert wrote"
        )
    for candidate in known:
        if candidate.labels != known[0].labels:
            raise ModelFileError(
                f"{candidate.path}: its labels differ from those of {known[0].path}: "
                "expected files that were trained for the same classes"
            )
    warn_of_different_photos(known)
    return known


class _Search:
    """What was measured so far, and what to measure next."""

    def __init__(self, metric: Metric, budget_ms: float, measure: Callable[[Candidate], Turn]) -> None:
        self.turns: dict[Candidate, list[Turn]] = {}
        self.measured: dict[Candidate, Measured] = {}
        self._metric = metric
        self._budget_ms = budget_ms
        self._measure = measure

    def best(self) -> Candidate | None:
        """The most accurate one of those that were found to fit."""
        fitting = [candidate for candidate, measured in self.measured.items() if measured.fits]
        return max(fitting, key=_accuracy, default=None)

    def is_contender(self, candidate: Candidate, best: Candidate | None) -> bool:
        """Whether it is still to be measured: it would be better than the best, and may fit."""
        if candidate in self.measured:
            return False
        return (best is None or _accuracy(candidate) > _accuracy(best)) and not self._is_too_slow_by_size(candidate)

    def most_promising(self, contenders: Sequence[Candidate]) -> Candidate:
        """The most accurate one that is expected to fit; if none is, the one expected to be the fastest."""
        if not self.measured:
            by_size = sorted(contenders, key=lambda candidate: candidate.multiply_adds or 0)
            return by_size[len(by_size) // 2]
        expected_ms = {candidate: self._expected_ms(candidate) for candidate in contenders}
        limit = self._budget_ms * (1 + _ORDER_TOLERANCE)
        fitting = [candidate for candidate in contenders if expected_ms[candidate] <= limit]
        return max(fitting, key=_accuracy) if fitting else min(contenders, key=lambda c: expected_ms[c])

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
        if candidate.multiply_adds is None or self._metric.stage not in ("inference", "total"):
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


def _accuracy(candidate: Candidate) -> float:
    return candidate.accuracy or 0.0
