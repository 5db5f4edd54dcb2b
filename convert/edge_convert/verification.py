"""How good a model file is: the file itself, run by the device's own code on photos that nothing was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edge_classify.images.preprocessing import Image
from edge_classify.learn.metrics import evaluate
from edge_classify.learn.photos.made_negatives import (
    PHOTO_KINDS,
    TRIAL,
    choose_tried,
    draw,
    make_senseless,
    measure_made,
)
from edge_classify.model.classifier import Classifier
from edge_train.run_folder import HELD_OUT, Cell, Run

# A loss of this many photos may be chance: with few held-out photos, one is several points.
_MAX_PHOTOS_BY_CHANCE = 2


@dataclass(frozen=True)
class Negatives:
    """Pictures to test `unknown` with, uint8 BGR.

    drawn: those of `TRIAL`, in its order. senseless: by kind, made of held-out photos.
    """

    drawn: tuple[Image, ...]
    senseless: Mapping[str, tuple[Image, ...]]


def make_negatives(run: Run, cell: Cell) -> Negatives | None:
    """Negatives made as for training, but of prepared photos; None if there is no `unknown`, or no photos.

    Up to 200 pictures, which take 35 MB, and longer to make than small models to answer: once for all files of a cell.
    """
    prepared = run.prepared(cell.resolution, HELD_OUT)
    if not cell.has_unknown or not len(prepared):
        return None
    senseless = {
        kind: tuple(
            make_senseless(prepared[index][..., ::-1], kind, str(index)) for index in choose_tried(len(prepared))
        )
        for kind in PHOTO_KINDS
    }
    return Negatives(_draw_trial(), senseless)


@cache
def _draw_trial() -> tuple[Image, ...]:
    return tuple(draw(picture.sha256) for picture in TRIAL)


def measure(classifier: Classifier, run: Run, cell: Cell, negatives: Negatives | None) -> dict[str, Any]:
    """The figures of `evaluate` for the held-out photos, and how they differ from the trainer's.

    negatives: to test `unknown` with, if there is one.
    lost, gained: how many photos are correct as shown with the trainer's float model alone, and with this file alone.
    agreement: the fraction of photos whose best label, `unknown` among them, is that of the trainer's float model.
    confidence_change: of the mean probability of the best label.

    If nobody knows what the photos show, the last two are all; without photos there is only their number, 0.
    """
    prepared = run.prepared(cell.resolution, HELD_OUT)
    if not len(prepared):
        return {"photos": 0}
    classifier.crop = None  # prepared photos show the part already
    # Resizing leaves a prepared photo as it is, so as BGR it goes the same way as a frame.
    probabilities = np.stack([classifier.probabilities(photo[..., ::-1]) for photo in prepared])
    made = {} if negatives is None else _try_unknown(classifier, negatives, probabilities)
    trained = cell.held_out_probabilities
    agreement = float((probabilities.argmax(axis=1) == trained.argmax(axis=1)).mean())
    change = float(probabilities.max(axis=1).mean() - trained.max(axis=1).mean())
    compared = {"agreement": agreement, "confidence_change": round(change, 6)}
    if run.held_out_labels is None:
        return {"photos": len(prepared), **compared}
    correct, before = (scores.argmax(axis=1) == run.held_out_labels for scores in (probabilities, trained))
    return {
        **evaluate(probabilities, run.held_out_labels, run.classes),
        "float32_accuracy": cell.evaluation["accuracy"],
        "float32_kept": cell.evaluation["kept"],
        "lost": int((before & ~correct).sum()),
        "gained": int((correct & ~before).sum()),
        **compared,
        **made,
        # These are figures of the trainer's float model: the run folder does not keep the pictures.
        **{name: cell.evaluation[name] for name in ("held_out", "strangers") if name in cell.evaluation},
    }


def _try_unknown(classifier: Classifier, negatives: Negatives, own: np.ndarray) -> dict[str, Any]:
    """The figures for these negatives. own: the held-out photos' probabilities, (n, K + 1)."""
    drawn = np.stack([classifier.probabilities(picture) for picture in negatives.drawn])
    senseless = {
        kind: np.stack([classifier.probabilities(picture) for picture in pictures])
        for kind, pictures in negatives.senseless.items()
    }
    figures = measure_made(own, drawn, senseless)
    return {"made_negatives": figures, "made_accepted": figures["accepted"]}


def accepts_too_much(figures: Mapping[str, Any], max_accepted: float) -> bool:
    """Whether `unknown` lets more than `max_accepted` percent of the negatives made to test it pass."""
    return bool(100 * figures.get("made_accepted", 0.0) > max_accepted)


def points_lost(figures: Mapping[str, Any]) -> float:
    """The accuracy that a file loses against the trainer's float model, in points; 0 if none was measured.

    figures: of `measure`.
    """
    if "accuracy" not in figures:
        return 0.0
    return float(100 * (figures["float32_accuracy"] - figures["accuracy"]))


def loses_too_much(figures: Mapping[str, Any], max_drop: float) -> bool:
    """Whether a file loses more than `max_drop` points, and more photos than may be chance."""
    lost = points_lost(figures)
    return lost > max_drop and lost / 100 * figures["photos"] > _MAX_PHOTOS_BY_CHANCE + 0.5
