"""Whether there are enough photos: a cell's learning curve, on the frozen backbone's features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_classify.learn.enough import make_trials
from edge_classify.learn.learning_curve import LearningCurve, draw_learning_curve
from edge_classify.learn.photos.photo_set import TRAINING, VALIDATION

from .fitting import Fit
from .photo_columns import as_columns
from .training_run import CellJob


def learning_curve(entry: Mapping[str, Any]) -> LearningCurve | None:
    """A cell's, from its entry; None if an older edge-train made that."""
    return LearningCurve.decode(entry["learning_curve"]) if "learning_curve" in entry else None


def learning_curve_of(job: CellJob, fit: Fit) -> LearningCurve:
    """The curve of heads such as those of `fit`, which is of the frozen backbone."""
    trials = make_trials(
        fit.examples,
        [(fold, fold_fit.head) for fold, fold_fit in zip(fit.folds, fit.fold_fits, strict=True)],
        as_columns(job.run.photos).of(TRAINING, VALIDATION).groups,
        fit.features,
        job.run.head,
        job.run.settings.seed,
    )
    return draw_learning_curve(trials, job.run.photos.labels)
