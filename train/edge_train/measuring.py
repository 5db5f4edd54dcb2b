"""Measuring one cell on photos that nothing was fitted or chosen on: those held out, and negatives."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_classify.learn.head import Head, accuracy
from edge_classify.learn.metrics import auroc, evaluate, measure_negatives
from edge_classify.learn.open_set import MAX_PHOTOS, OpenSet, fit_open_set
from edge_classify.learn.photos.folds import FOLDS
from edge_classify.learn.photos.made_negatives import PHOTO_KINDS, TRIAL, choose_tried, measure_made
from edge_classify.learn.photos.photo_set import HELD_OUT, Photo
from edge_classify.learn.rows import Rows
from edge_classify.learn.votes import give_probabilities

from .features import gather_features
from .fitting import Fit, fit_space, read_blanks
from .settings import MAX_CLASSES_LEFT_OUT
from .training_run import CellJob

# Of the arrays' names in the run folder, whose format calls negatives strangers.
NEGATIVES_PREFIX = "strangers:"
_ROWS_PER_READ = 1024


@dataclass(frozen=True)
class CellModel:
    """What a cell's model file computes from features: class probabilities, and `unknown` if it has that output.

    vote_weight: as `Calibration` has it.
    """

    head: Head
    vote_weight: float = 0.0
    open_set: OpenSet | None = None

    def probabilities(self, rows: Rows) -> np.ndarray:
        """float32 (n, K), or (n, K + 1) with `unknown` last."""
        outputs = []
        for start in range(0, len(rows), _ROWS_PER_READ):
            part = rows.read(range(start, min(start + _ROWS_PER_READ, len(rows))))
            if self.open_set is None:
                outputs.append(self.head.probabilities(part))
            else:
                outputs.append(give_probabilities(self.head, self.vote_weight, self.open_set, part))
        return np.concatenate(outputs).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name, as the run folder has them."""
        arrays = {"kernel": self.head.kernel, "bias": self.head.bias}
        return arrays | self.open_set.space.arrays() if self.open_set else arrays


@dataclass(frozen=True)
class Measurement:
    """A cell's outputs for photos it was not fitted on, and the figures they give.

    held_out: the probabilities of the held-out photos. negatives: by name, P(unknown) of each picture.
    evaluation: ready for run.json.
    """

    held_out: np.ndarray
    negatives: Mapping[str, np.ndarray]
    evaluation: dict[str, Any]

    def negative_arrays(self) -> dict[str, np.ndarray]:
        """P(unknown) of the negatives, by the names that the run folder has for them."""
        return {f"{NEGATIVES_PREFIX}{name}": unknown for name, unknown in self.negatives.items()}


def measure_accuracy(job: CellJob, database: sqlite3.Connection, fit: Fit, model: CellModel) -> float:
    """The share of held-out photos whose best class is the true one."""
    photos = job.run.photos.of(HELD_OUT)
    probabilities = model.probabilities(gather_features(database, fit.backbone, photos))
    return accuracy(probabilities[:, : len(job.run.photos.labels)], _truth(photos))


def measure(
    job: CellJob, database: sqlite3.Connection, fit: Fit, model: CellModel, fine_tuning: Mapping[str, Any]
) -> Measurement:
    """Run the model on the held-out photos and the negatives. fine_tuning: figures to put between the others."""
    photos = job.run.photos
    held_out = photos.of(HELD_OUT)
    probabilities = model.probabilities(gather_features(database, fit.backbone, held_out))
    sets: dict[str, Sequence[Photo]] = {}
    if model.open_set:
        sets = {"unknown/": photos.negatives(HELD_OUT), **job.run.negatives}
    negatives = {
        name: model.probabilities(gather_features(database, fit.backbone, pictures))
        for name, pictures in sets.items()
        if pictures
    }
    made = _measure_made(job, database, fit, model, probabilities) if model.open_set else {}
    evaluation = {
        **evaluate(probabilities, _truth(held_out), photos.labels),
        **fine_tuning,
        "held_out": photos.held_out_name,
        "strangers": {name: measure_negatives(probabilities, outputs) for name, outputs in negatives.items()},
        **made,
    }
    # A fine-tuned backbone was trained on all classes: none would be new to it.
    if model.open_set and fit.backbone == job.backbone and 3 <= len(photos.labels) <= MAX_CLASSES_LEFT_OUT:
        evaluation["left_out_classes"] = _leave_out_classes(job, fit, read_blanks(database, fit))
    return Measurement(probabilities, {name: outputs[:, -1] for name, outputs in negatives.items()}, evaluation)


def _truth(photos: Sequence[Photo]) -> np.ndarray:
    return np.array([photo.label for photo in photos])


def _measure_made(
    job: CellJob, database: sqlite3.Connection, fit: Fit, model: CellModel, own: np.ndarray
) -> dict[str, Any]:
    """The figures for negatives that the program makes, none of which were fitted on: `made_negatives`."""
    held_out = job.run.photos.of(HELD_OUT)
    tried = [held_out[index] for index in choose_tried(len(held_out))]
    outputs = {
        kind: model.probabilities(gather_features(database, fit.backbone, tried, (kind,))) for kind in PHOTO_KINDS
    }
    drawn = model.probabilities(gather_features(database, fit.backbone, TRIAL))
    return {"made_negatives": measure_made(own, drawn, outputs)}


def _leave_out_classes(job: CellJob, fit: Fit, blanks: np.ndarray) -> dict[str, float]:
    """For each class: the AUROC of the others' photos against its own, had it not been trained on."""
    examples = fit.examples
    folds = np.arange(len(examples.labels)) % FOLDS
    figures = {}
    for index, label in enumerate(job.run.photos.labels):

        def rows(chosen: np.ndarray) -> np.ndarray:
            return examples.read(np.flatnonzero(chosen)[:MAX_PHOTOS])

        others = examples.labels != index
        space = fit_space(job, fit, np.flatnonzero(others & (folds > 1))[:MAX_PHOTOS], blanks)
        scores = space.scores(rows(others & (folds == 1)))
        open_set = fit_open_set(space, scores, np.ones(len(scores)), job.run.keep)
        figures[label] = auroc(open_set.known(rows(others & (folds == 0))), open_set.known(rows(~others)))
    return figures
