"""What a taught head does not know: classes that it cannot tell apart, and photos that would help."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import learning_curve
from ..enough import make_trials
from ..metrics import confusion, share_accepted
from ..photos.made_negatives import MAX_MADE_ACCEPTED
from .fitting import Fitted, Heads
from .lesson import Lesson

# Two classes can hardly be told apart if this share of their photos is taken for the other one.
_CONFUSED = 0.25
# So many pairs are named.
_MAX_PAIRS = 5
_SEED = 0


def advise(lesson: Lesson, fitted: Fitted) -> Iterator[str]:
    """A line for each thing worth knowing."""
    heads = fitted.cross_validated
    truth = heads.examples.labels[heads.judged]
    answers = fitted.calibration.probabilities.argmax(axis=1)
    yield from _name_confused(lesson.labels, confusion(answers, truth, len(lesson.labels)))
    if more := learning_curve.advise(_trials(lesson, heads), lesson.labels):
        yield more
    accepted = share_accepted(fitted.trial)
    if accepted > MAX_MADE_ACCEPTED:
        yield (
            f"unknown cannot be trusted: it gives a class's label to {accepted:.0%} of the negatives made to test it: "
            "put pictures of what else your camera sees into unknown/, or take another base"
        )


def _name_confused(labels: tuple[str, ...], counts: np.ndarray) -> Iterator[str]:
    """counts: the confusion matrix, (K, K)."""
    crossed = np.triu(counts + counts.T, 1)
    own = counts.sum(axis=1)
    share = crossed / np.maximum(own[:, None] + own[None], 1)
    pairs = sorted(np.argwhere(share >= _CONFUSED).tolist(), key=lambda pair: -share[tuple(pair)])
    for first, second in pairs[:_MAX_PAIRS]:
        yield (
            f"{labels[first]} and {labels[second]} can hardly be told apart: of their {own[first] + own[second]} "
            f"photos {crossed[first, second]} are mistaken for the other: give photos that show the difference, or "
            "join the classes"
        )
    if len(pairs) > _MAX_PAIRS:
        yield f"{len(pairs) - _MAX_PAIRS} more pairs of classes can hardly be told apart"


def _trials(lesson: Lesson, heads: Heads) -> learning_curve.Trials:
    fits = list(zip(heads.folds, heads.heads, strict=True))
    groups = np.array([photo.group.encode() for photo in lesson.photos])
    return make_trials(heads.examples, fits, groups, heads.features, heads.settings, _SEED)
