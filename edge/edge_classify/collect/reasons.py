"""Which frames are worth keeping for training, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.labels import UNKNOWN

if TYPE_CHECKING:
    from ..pipeline.loop import Result

UNKNOWN_THING = "unknown"
UNCERTAIN = "uncertain"
FLIP = "flip"
CHANGE = "change"
SAMPLE = "sample"
# Taken on purpose, of a class that the user has named.
ON_PURPOSE = "on purpose"

# The most useful first: what a model is unsure of teaches it most (uncertainty sampling, Lewis and Gale 1994).
BY_USE = (UNCERTAIN, FLIP, UNKNOWN_THING, CHANGE, SAMPLE)

# A best score below it is uncertain. So is one that leads the second by less than 0.2, which is then below it too.
CERTAIN = 0.6
_SAMPLE_INTERVAL_S = 3600.0


class Reasons:
    """Judges the results of one model, one after another."""

    def __init__(self) -> None:
        self._sampled_at = float("-inf")

    def judge(self, result: Result) -> str | None:
        """Why the result's frame is worth keeping, or None.

        change: it has changed the state. unknown: it is called unknown. flip: it speaks against the state. uncertain:
        its best score is low. sample: the first frame, and one each hour.
        """
        if result.still:
            return None
        reason = _reason(result)
        if reason is None and result.finished_at - self._sampled_at >= _SAMPLE_INTERVAL_S:
            reason = SAMPLE
        if reason == SAMPLE:
            self._sampled_at = result.finished_at
        return reason


def _reason(result: Result) -> str | None:
    answer = result.classification
    if result.change is not None and result.change.previous is not None:
        return CHANGE
    if answer.label == UNKNOWN:
        return UNKNOWN_THING
    if answer.label != result.state:
        return FLIP
    return UNCERTAIN if answer.score < CERTAIN else None
