"""What a taught head does not know: classes that it cannot tell apart, and photos that would help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ...model.answers import is_significant
from ..cross_validation import Fold
from ..metrics import confusion, share_accepted
from ..photos.made_negatives import MAX_MADE_ACCEPTED
from .fitting import Fitted, Heads, fit_heads
from .lesson import Lesson

# Two classes can hardly be told apart if this share of their photos is taken for the other one.
_CONFUSED = 0.25
# So many pairs are named.
_MAX_PAIRS = 5
# More photos are suggested for classes of at most so many: beyond, twenty more are no large part.
_FEW = 100
# And of which at most this share is recognised already.
_GOOD = 0.95


def advise(lesson: Lesson, fitted: Fitted) -> Iterator[str]:
    """A line for each thing worth knowing."""
    heads = fitted.cross_validated
    truth = heads.examples.labels[heads.judged]
    answers = fitted.calibration.probabilities.argmax(axis=1)
    yield from _name_confused(lesson.labels, confusion(answers, truth, len(lesson.labels)))
    yield from _suggest_photos(lesson.labels, heads, truth)
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


def _suggest_photos(labels: tuple[str, ...], heads: Heads, truth: np.ndarray) -> Iterator[str]:
    """Classes that are recognised measurably better with all photos than with half of them: more would help on.

    By heads alone on either side: the votes, for which half of them were not fitted, would pass for more photos.
    """
    counts = np.bincount(truth, minlength=len(labels))
    right = heads.logits().argmax(axis=1) == truth
    recall = np.bincount(truth, right, minlength=len(labels)) / np.maximum(counts, 1)
    candidates = np.flatnonzero((counts <= _FEW) & (recall <= _GOOD))
    if not len(candidates):
        return
    halved = _fit_on_half(heads)
    right_with_half = halved.logits().argmax(axis=1) == truth
    for index in candidates.tolist():
        now, before = right[truth == index], right_with_half[truth == index]
        if is_significant(won=int((now & ~before).sum()), lost=int((before & ~now).sum())):
            yield (
                f"20 more photos of {labels[index]} would help: {now.mean():.0%} of its {counts[index]} photos are "
                f"recognised, {before.mean():.0%} with half as many"
            )


def _fit_on_half(heads: Heads) -> Heads:
    """Heads fitted on half of the photos of each class, and judged on the same."""
    labels = heads.examples.labels
    folds = [Fold(_half(fold.fitted, labels), fold.chosen_on) for fold in heads.folds]
    return replace(fit_heads(heads.examples, heads.features, heads.settings, folds), folds=heads.folds)


def _half(photos: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Every second photo of each class, in their order."""
    return np.sort(np.concatenate([photos[labels[photos] == label][::2] for label in np.unique(labels[photos])]))
