"""From each frame's probabilities to a steady state.

A single frame's answer flickers: noise, a blurred frame, a passing shadow. The state follows several frames.
docs/states.md explains each setting, and has the measurements behind the defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from ..model.labels import UNKNOWN

# The defaults, measured with benchmarks/decisions.py.
SMOOTHING = 1.0
DWELL = 5
THRESHOLD_HIGH = 0.4
# threshold_low as a fraction of threshold_high.
LOW_FRACTION = 0.5

# Settings count frames, because each frame is one more look; but if frames are rare, what was seen longer ago than this
# says nothing about now.
_MEMORY_S = 1.0


class Change(NamedTuple):
    """A change of state.

    score: the new state's smoothed probability, 0 to 1 (that of the best label if the state is `unknown` and the model
        has no output for it).
    previous: the state before; None for the first.
    lasted: for how many seconds it was the state; None for the first.
    """

    state: str
    score: float
    previous: str | None
    lasted: float | None


class Decision:
    """Turns probabilities into a state: one of the labels, or `unknown`. Owns what is remembered between frames.

    labels: in output order.
    smoothing: how many frames the probabilities are averaged over (exponentially: the newest weighs 2 / (n + 1)).
        1 does not average; 0 takes each frame's own answer, without hysteresis or dwell.
    threshold_high: the score, 0 to 1, at or above which a label becomes the state. None: 0.4 if the model has an output
        for `unknown`, else 0.
    threshold_low: the score below which a label stops being the state, which is then `unknown` unless another label
        reaches threshold_high. None: half of threshold_high.
    dwell: how many more frames in a row must disagree with the state, after the first that does, before it changes
        (or just one more, once that takes a second).
    dwell_seconds: for how long they must disagree, instead of a number of frames.

    state: the present one; "" before the first frame.

    Raises UsageError for impossible settings.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        smoothing: float = SMOOTHING,
        threshold_high: float | None = None,
        threshold_low: float | None = None,
        dwell: int = DWELL,
        dwell_seconds: float | None = None,
    ) -> None:
        if threshold_high is None:
            threshold_high = THRESHOLD_HIGH if UNKNOWN in labels else 0.0
        if threshold_low is None:
            threshold_low = threshold_high * LOW_FRACTION
        _check(smoothing, threshold_high, threshold_low, dwell, dwell_seconds)
        if smoothing == 0:
            smoothing, dwell, dwell_seconds, threshold_low = 1, 0, None, threshold_high
        self.state = ""
        # If the model has no output for it, `unknown` is the label after the last.
        self._labels = (*labels, UNKNOWN)
        self._unknown = self._labels.index(UNKNOWN)
        self._high, self._low = threshold_high, threshold_low
        self._weight = 2 / (smoothing + 1)
        self._dwell, self._dwell_seconds = dwell, dwell_seconds
        self._current = -1
        self._since = 0.0  # when the state began
        self._average = np.empty(0, np.float32)
        self._seen_at = 0.0
        self._against = 0  # frames in a row that disagreed with the state
        self._against_since = 0.0

    def update(self, scores: np.ndarray, captured_at: float) -> Change | None:
        """Take in one more frame; returns the change of state, if there is one.

        scores: the frame's probabilities, float32, shape (K,). The array is kept, and must not change afterwards.
        captured_at: in seconds, from the same clock for all frames.
        """
        self._smooth(scores, captured_at)
        average, current = self._average, self._current
        best = int(average.argmax())
        answer = current
        if average[best] >= self._high:
            answer = best
        elif current < 0 or current == self._unknown or average[current] < self._low:
            answer = self._unknown
        if answer == current:
            self._against = 0
            return None
        if not self._against:
            self._against_since = captured_at
        self._against += 1
        if current >= 0 and not self._held(captured_at - self._against_since):
            return None
        self._against = 0
        self._current, self.state = answer, self._labels[answer]
        score = float(average[answer if answer < average.size else best])
        previous = None if current < 0 else self._labels[current]
        change = Change(self.state, score, previous, None if current < 0 else captured_at - self._since)
        self._since = captured_at
        return change

    def _held(self, seconds: float) -> bool:
        if self._dwell_seconds is not None:
            return seconds >= self._dwell_seconds
        return self._against > self._dwell or (self._against > 1 and seconds >= _MEMORY_S)

    def _smooth(self, scores: np.ndarray, captured_at: float) -> None:
        weight = max(self._weight, (captured_at - self._seen_at) / _MEMORY_S)
        self._seen_at = captured_at
        if weight >= 1 or not self._average.size:
            self._average = scores
        else:
            self._average = self._average + np.float32(weight) * (scores - self._average)


def _check(
    smoothing: float, threshold_high: float, threshold_low: float, dwell: int, dwell_seconds: float | None
) -> None:
    # Written so that NaN is refused, too.
    for name, threshold in (("threshold_high", threshold_high), ("threshold_low", threshold_low)):
        if not 0 <= threshold <= 1:
            raise UsageError(f"{name} is {threshold:g}: it must be from 0 to 1")
    if threshold_low > threshold_high:
        raise UsageError(f"threshold_low ({threshold_low:g}) must not be above threshold_high ({threshold_high:g})")
    if smoothing != 0 and not smoothing >= 1:
        raise UsageError(f"smoothing is {smoothing:g}: it must be a number of frames, at least 1, or 0 for none")
    if dwell < 0:
        raise UsageError(f"dwell is {dwell}: it must not be negative")
    if dwell_seconds is not None and not dwell_seconds >= 0:
        raise UsageError(f"dwell_seconds is {dwell_seconds:g}: it must not be negative")
