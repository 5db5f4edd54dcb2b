"""What the metrics count of each result: plain numbers, so that a frame pays little for them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import add
from typing import TYPE_CHECKING

from ..model.labels import UNKNOWN
from ..pipeline.latency import StageTimes

if TYPE_CHECKING:
    from ..pipeline.loop import Result

# The histogram's upper bounds in milliseconds, the last of them open. A neighbour is at most 1.7 times as far, so that
# a percentile read from them is off by no more.
BOUNDS_MS = (
    0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0, 15.0, 25.0, 40.0, 60.0, 100.0, 150.0, 250.0, 400.0, 600.0, 1000.0
)  # fmt: skip
# With more labels than this (without `unknown`), only states that were seen have series of their own.
MAX_STATES = 50


class ModelCounts:
    """The counts of one model's results. One thread appends, any other may read.

    labels: the model's, in output order; they may repeat.

    buckets: for each stage of `StageTimes`, how many classified frames are in each bucket of BOUNDS_MS, the last one
        for all that took longer. sums_ms: for each stage, the milliseconds of all these frames together.
    classified, still: frames. Those that were skipped as still are in nothing else.
    unknown: classified frames whose own answer was `unknown`.
    state: the present one; None before the first result. changes: how often each state was changed to.
    other: the name under which states are counted that have no series of their own; None if all have.
    last: when the newest result was ready, in seconds of `time.perf_counter`; None before the first.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        names = [name for name in dict.fromkeys(labels) if name != UNKNOWN]
        all_fit = len(names) <= MAX_STATES
        # A class may be called so itself.
        self.other = None if all_fit else _free_name("other", names)
        self.changes = dict.fromkeys([UNKNOWN, *names] if all_fit else [UNKNOWN, *filter(None, [self.other])], 0)
        self.buckets = [[0] * (len(BOUNDS_MS) + 1) for _ in StageTimes._fields]
        self.sums_ms = [0.0] * len(StageTimes._fields)
        self.still = self.unknown = 0
        self.state: str | None = None
        self.last: float | None = None
        self._label: str | None = None

    @property
    def classified(self) -> int:
        return sum(self.buckets[0])

    def append(self, result: Result) -> None:
        self.last = result.finished_at
        if result.still:
            self.still += 1
        else:
            timing = result.timing_ms
            # Not a loop, which would cost a frame a third more.
            age, preprocess, inference, postprocess, total = timing
            ages, preprocesses, inferences, postprocesses, totals = self.buckets
            ages[bisect_left(BOUNDS_MS, age)] += 1
            preprocesses[bisect_left(BOUNDS_MS, preprocess)] += 1
            inferences[bisect_left(BOUNDS_MS, inference)] += 1
            postprocesses[bisect_left(BOUNDS_MS, postprocess)] += 1
            totals[bisect_left(BOUNDS_MS, total)] += 1
            self.sums_ms = [*map(add, self.sums_ms, timing)]
            if result.classification.label == UNKNOWN:
                self.unknown += 1
        state = result.state
        if state != self._label:
            self._label = state
            self.state = self._series_of(state)
        if result.change is not None and self.state is not None:
            self.changes[self.state] += 1

    def _series_of(self, state: str) -> str:
        """The state, or `other`. Who has come first stays: a series that gave way would be a counter that falls."""
        if state in self.changes:
            return state
        if self.other is not None and len(self.changes) >= MAX_STATES + 2:  # unknown and other besides
            return self.other
        self.changes = {**self.changes, state: 0}  # a new one: another thread may be reading the old
        return state


def _free_name(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name
