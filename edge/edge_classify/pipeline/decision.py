"""From each frame's probabilities to a state that a person can use.

A single frame's answer flickers: noise, a blurred frame, a passing shadow. The state follows what several frames say.
docs/decisions.md has what each figure does, and the measurements that the defaults come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from ..labels import UNKNOWN

# Chosen by benchmarks/decisions.py.
SMOOTHING = 1.0
DWELL = 5
THRESHOLD_HIGH = 0.4
# A label is given up below this share of the score that it is taken up at.
LOW_SHARE = 0.5

# Seconds. Constants count frames, because it is frames that each bring one more look; but where frames are rare, what
# was seen longer ago than this says nothing about now.
_MEMORY = 1.0


class Change(NamedTuple):
    """A change of state.

    score: the new state's smoothed probability, 0 to 1 (of the best label, where `unknown` has none of its own).
    previous, lasted: the state before, and for how many seconds it was the state; None for the first.
    """

    state: str
    score: float
    previous: str | None
    lasted: float | None


class Decision:
    """Owns what is remembered from frame to frame.

    labels: in output order.
    smoothing: how many frames the probabilities are averaged over (exponentially; the newest weighs 2 / (n + 1)).
        1 does not average; 0 takes each frame's own answer, without hysteresis or dwell.
    threshold_high, threshold_low: a label is taken up at a score of at least the one, and given up below the other;
        where no label is left the state is `unknown`. None: 0.4 for files with an output for `unknown`, 0 for others;
        and half of the high one.
    dwell: how many frames in a row must speak against a state after the first that does, before it changes (or one,
        where that has taken a second).
    dwell_seconds: how long they must, instead.

    state: what it is now; empty before the first frame. Raises UsageError for what cannot be.
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
            threshold_low = threshold_high * LOW_SHARE
        if not 0 <= threshold_low <= threshold_high <= 1:
            raise UsageError(
                f"the thresholds are {threshold_high:g} (high) and {threshold_low:g} (low): "
                "they are probabilities, from 0 to 1, the low one not above the high one"
            )
        if smoothing != 0 and not smoothing >= 1:
            raise UsageError(f"smoothing is {smoothing:g}: it is a number of frames, at least 1, or 0 for none")
        if dwell < 0 or (dwell_seconds is not None and not dwell_seconds >= 0):
            raise UsageError("dwell is negative: it is a number of frames, or a time")
        if smoothing == 0:
            smoothing, dwell, dwell_seconds, threshold_low = 1, 0, None, threshold_high
        self.state = ""
        # Where the file has no output for it, `unknown` is the label after the last.
        self._labels = (*labels, UNKNOWN)
        self._unknown = self._labels.index(UNKNOWN)
        self._high, self._low = threshold_high, threshold_low
        self._weight = 2 / (smoothing + 1)
        self._dwell, self._dwell_seconds = dwell, dwell_seconds
        self._current = -1
        self._since = 0.0  # when the state began
        self._average = np.empty(0, np.float32)
        self._seen_at = 0.0
        self._against = 0  # frames in a row that spoke against the state
        self._against_since = 0.0

    def update(self, scores: np.ndarray, captured_at: float) -> Change | None:
        """Take in one more frame; returns the change of state, if there is one.

        scores: the frame's probabilities, float32, shape (K,); kept, so an array of its own.
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
        return self._against > self._dwell or (self._against > 1 and seconds >= _MEMORY)

    def _smooth(self, scores: np.ndarray, captured_at: float) -> None:
        weight = max(self._weight, (captured_at - self._seen_at) / _MEMORY)
        self._seen_at = captured_at
        if weight >= 1 or not self._average.size:
            self._average = scores
        else:
            self._average = self._average + np.float32(weight) * (scores - self._average)
