"""Whether there are enough photos: a cell's learning curve, on the frozen backbone's features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_classify.learn.cross_validation import Fold, fit_without_fold
from edge_classify.learn.head import head_logits
from edge_classify.learn.learning_curve import LearningCurve, draw_learning_curve
from edge_classify.learn.photos.photo_set import TRAINING, VALIDATION

from .fitting import Fit, first_folds
from .settings import LEARNING_CURVE_PHOTOS
from .training_run import CellJob


def learning_curve(entry: Mapping[str, Any]) -> LearningCurve | None:
    """A cell's, from its entry; None if an older edge-train made that."""
    return LearningCurve.decode(entry["learning_curve"]) if "learning_curve" in entry else None


def find_learning_curve(job: CellJob, fit: Fit) -> LearningCurve:
    """Fit heads on parts of folds' photos, as `fit`, of the frozen backbone, did on all of them.

    Of so many folds as it takes to try enough photos.
    """
    folds = first_folds(fit.folds, LEARNING_CURVE_PHOTOS)
    photos = job.run.photos.of(TRAINING, VALIDATION)
    width = max(len(photo.group) for photo in photos)
    groups = np.fromiter((photo.group.encode() for photo in photos), f"S{width}", len(photos))

    def answer(fitted: np.ndarray, tried: np.ndarray) -> np.ndarray:
        fold = Fold(fitted, tried)
        head, _, _ = fit_without_fold(fit.examples, fold, fit.features, job.run.head, job.run.settings.seed)
        return head_logits(head, fit.examples, tried).argmax(axis=1)

    return draw_learning_curve(
        fit.examples.labels,
        np.unique(groups, return_inverse=True)[1],
        job.run.photos.labels,
        [(fold.fitted, fold.chosen_on) for fold in folds],
        answer,
        job.run.settings.seed,
        np.concatenate(
            [
                head_logits(fold_fit.head, fit.examples, fold.chosen_on).argmax(axis=1)
                for fold, fold_fit in zip(folds, fit.fold_fits, strict=False)
            ]
        ),
    )
