"""From a lesson to a head with its `unknown` output, and what cross-validation says of them.

n is the number of photos that are judged, K of classes, F + M of numbers in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..cross_validation import (
    VIEW_FOLDS,
    Calibration,
    Fold,
    Spaces,
    at_most,
    calibrate,
    fit_without_fold,
    is_clear_gain,
    judge_spaces,
    make_folds,
    photo_losses,
    weigh_classes,
)
from ..head import LEARNING_RATE_STILL_CAMERA, Examples, Head, HeadSettings, fit_head, head_logits
from ..metrics import evaluate, measure_negatives
from ..open_set import (
    KEEP,
    KEEP_STILL_CAMERA,
    MAX_PHOTOS,
    FeatureSpace,
    OpenSet,
    fit_direction,
    fit_feature_space,
    fit_open_set,
    with_unknown,
)
from ..photos.folds import FOLDS
from ..photos.made_negatives import measure_made
from ..rows import EveryNth
from ..votes import give_probabilities
from .lesson import TRIED, Lesson

_SEED = 0


@dataclass(frozen=True)
class Heads:
    """Heads that were fitted without a fold each.

    examples: the photos, in the views that were taken. settings: of the fits. epochs: that were best on average.
    """

    examples: Examples
    features: int
    settings: HeadSettings
    folds: Sequence[Fold]
    heads: Sequence[Head]
    epochs: int

    @property
    def judged(self) -> np.ndarray:
        """The photos of all folds, indices, (n,)."""
        return np.concatenate([fold.chosen_on for fold in self.folds])

    def logits(self) -> np.ndarray:
        """Of the judged photos, each by the head that was fitted without it, (n, K)."""
        pairs = zip(self.heads, self.folds, strict=True)
        return np.concatenate([head_logits(head, self.examples, fold.chosen_on) for head, fold in pairs])


@dataclass(frozen=True)
class Fitted:
    """A head and its `unknown` output.

    calibration: has the head and the weight of the votes.
    keep: the share of own photos that should not be called unknown.
    probabilities: of the judged photos, (n, K + 1) with `unknown` last, by what was fitted without them.
    negatives: of unknown/'s pictures, likewise. trial: of the drawn negatives, by what is written.
    """

    cross_validated: Heads
    calibration: Calibration
    open_set: OpenSet
    keep: float
    probabilities: np.ndarray
    negatives: np.ndarray
    trial: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """What the graph is made of, by the names that model files have for it."""
        head = self.calibration.head
        return {"kernel": head.kernel, "bias": head.bias, **self.open_set.space.arrays()}


def fit(lesson: Lesson, keep: float | None = None) -> Fitted:
    """Fit a head and `unknown` as edge-train does. keep: None takes the default for these photos."""
    settings = HeadSettings()
    if lesson.still_camera:
        settings = replace(settings, learning_rate=LEARNING_RATE_STILL_CAMERA)
    labels = np.array([photo.label for photo in lesson.photos])
    weights = weigh_classes(labels, len(lesson.labels), balanced=True)
    examples = Examples(lesson.rows, lesson.views, np.arange(len(labels)), labels, weights)
    folds = list(make_folds(np.array([photo.fold for photo in lesson.photos]), range(FOLDS), _SEED))
    heads = fit_heads(examples, lesson.features, settings, folds)
    if _views_do_harm(heads):
        heads = fit_heads(_without_views(examples), lesson.features, settings, folds)
    head, _ = fit_head(heads.examples, None, lesson.features, settings, _SEED, heads.epochs)
    spaces = _fit_spaces(lesson, heads)
    calibration = calibrate(head, heads.logits(), labels[heads.judged], spaces.answers)
    keep = keep or (KEEP_STILL_CAMERA if lesson.still_camera else KEEP)
    return _fit_unknown(lesson, heads, spaces, calibration, keep)


def fit_heads(examples: Examples, features: int, settings: HeadSettings, folds: Sequence[Fold]) -> Heads:
    """A head without each fold."""
    fits = [fit_without_fold(examples, fold, features, settings, _SEED) for fold in folds]
    epochs = max(1, round(float(np.mean([epochs for _, epochs in fits]))))
    return Heads(examples, features, settings, folds, [head for head, _ in fits], epochs)


def _without_views(examples: Examples) -> Examples:
    """The photos as they are."""
    return replace(examples, rows=EveryNth(examples.rows, examples.views), views=1)


def _views_do_harm(heads: Heads) -> bool:
    """Whether heads fitted without augmented views are clearly better, on photos not fitted on."""
    few = heads.folds[:VIEW_FOLDS]
    without = fit_heads(_without_views(heads.examples), heads.features, heads.settings, few)
    gains = [
        photo_losses(head, heads.examples, fold.chosen_on) - photo_losses(other, without.examples, fold.chosen_on)
        for fold, head, other in zip(few, heads.heads, without.heads, strict=False)
    ]
    return is_clear_gain(np.concatenate(gains))


def _fit_spaces(lesson: Lesson, heads: Heads) -> Spaces:
    """The feature space of all photos, and those without a fold of photos and of negatives each."""
    examples, fold_of_negative = heads.examples, _folds_of_negatives(lesson)
    without_fold = [
        _fit_space(lesson, examples, fold.fitted, lesson.negative_rows[fold_of_negative != number])
        for number, fold in enumerate(heads.folds)
    ]
    whole = _fit_space(lesson, examples, examples.photos, lesson.negative_rows)
    chosen_on = [examples.read(fold.chosen_on) for fold in heads.folds]
    return judge_spaces(whole, without_fold, chosen_on, len(lesson.labels))


def _folds_of_negatives(lesson: Lesson) -> np.ndarray:
    """Integers, one for each of `negative_rows`."""
    return np.array([photo.fold for photo in lesson.negatives], int)


def _fit_unknown(lesson: Lesson, heads: Heads, spaces: Spaces, calibration: Calibration, keep: float) -> Fitted:
    examples, folds = heads.examples, heads.folds
    blocks = None
    if lesson.still_camera:
        times = np.repeat(np.arange(len(folds)), [len(fold.chosen_on) for fold in folds])
        blocks = np.stack([examples.labels[heads.judged], times], axis=1)
    confidences = calibration.probabilities.max(axis=1)
    open_set = fit_open_set(spaces.whole, spaces.scores, confidences, keep, blocks)
    # What was fitted without a fold, with the limits of what is written.
    open_sets = [replace(open_set, space=space) for space in spaces.without_fold]
    known = [part.known(examples.read(fold.chosen_on)) for part, fold in zip(open_sets, folds, strict=True)]
    fold_of_negative, vote_weight = _folds_of_negatives(lesson), calibration.vote_weight
    negatives = [
        give_probabilities(head.with_temperature(calibration.temperature), vote_weight, part, rows)
        for number, (head, part) in enumerate(zip(heads.heads, open_sets, strict=True))
        if len(rows := lesson.negative_rows[fold_of_negative == number])
    ]
    trial = give_probabilities(calibration.head, vote_weight, open_set, lesson.trial)
    return Fitted(
        heads,
        calibration,
        open_set,
        keep,
        with_unknown(calibration.probabilities, np.concatenate(known)),
        np.concatenate(negatives) if negatives else trial[:0],
        trial,
    )


def _fit_space(lesson: Lesson, examples: Examples, photos: np.ndarray, negatives: np.ndarray) -> FeatureSpace:
    """The feature space of these photos, indices; negatives: rows (m, F + M)."""
    photos = at_most(MAX_PHOTOS, photos, np.random.default_rng(_SEED))
    rows, labels = examples.read_views(photos), examples.labels[photos]
    space = fit_feature_space(
        rows, labels, lesson.features, _SEED, examples.views, lesson.blanks, one_scene=lesson.still_camera
    )
    return fit_direction(space, examples.read(photos), negatives[:MAX_PHOTOS]) if len(negatives) else space


def measure(lesson: Lesson, fitted: Fitted) -> dict[str, Any]:
    """The evaluation that edge.json records: of photos and negatives, by what was fitted without them."""
    measured = evaluate(
        fitted.probabilities, fitted.cross_validated.examples.labels[fitted.cross_validated.judged], lesson.labels
    )
    made = measure_made(fitted.probabilities, fitted.trial, {}, TRIED)
    strangers = {"unknown/": measure_negatives(fitted.probabilities, fitted.negatives)} if len(fitted.negatives) else {}
    return {
        **measured,
        "float32_accuracy": measured["accuracy"],
        "held_out": "cross-validation",
        "strangers": strangers,
        "made_negatives": made,
        "made_accepted": made["accepted"],
    }
