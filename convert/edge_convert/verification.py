"""How good a model file is: itself, run by the device's own code on photos that nothing was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_classify.metrics import evaluate
from edge_classify.model.classifier import Classifier

from .run_folder import Cell, Run

# With few held-out photos one photo is many points.
_BY_CHANCE = 2


def measure(classifier: Classifier, run: Run, cell: Cell) -> dict[str, Any]:
    """Figures of `evaluate` for the held-out photos, and how they differ from the trainer's.

    agreement: the share of photos whose best label, `unknown` among them, is that of the trainer's float model.
    confidence_change: of the mean of the best label's probability.

    Where nobody said what the photos show, these two are all; without photos there is only their number, 0.
    """
    prepared = run.prepared(cell.resolution, "held_out")
    if not len(prepared):
        return {"photos": 0}
    # A prepared photo is its own resize; turned back to BGR it takes the same way as a frame.
    probabilities = np.stack([classifier.probabilities(photo[..., ::-1]) for photo in prepared])
    trained = cell.held_out_probabilities
    agreement = float((probabilities.argmax(axis=1) == trained.argmax(axis=1)).mean())
    change = float(probabilities.max(axis=1).mean() - trained.max(axis=1).mean())
    compared = {"agreement": agreement, "confidence_change": round(change, 6)}
    if run.held_out_labels is None:
        return {"photos": len(prepared), **compared}
    return {
        **evaluate(probabilities, run.held_out_labels, run.classes),
        "float32_accuracy": cell.evaluation["accuracy"],
        "float32_kept": cell.evaluation["kept"],
        **compared,
        # What the trainer's float model says of these: of the pictures the run folder keeps none.
        **{name: cell.evaluation[name] for name in ("held_out", "strangers") if name in cell.evaluation},
    }


def points_lost(figures: Mapping[str, Any]) -> float:
    """The accuracy that a file loses against the trainer's float model, in points; 0 where none was measured.

    figures: of `measure`.
    """
    if "accuracy" not in figures:
        return 0.0
    lost: float = 100 * (figures["float32_accuracy"] - figures["accuracy"])
    return lost


def loses_too_much(figures: Mapping[str, Any], max_drop: float) -> bool:
    """Whether a file loses more than `max_drop` points, and more photos than may be chance."""
    lost = points_lost(figures)
    return lost > max_drop and lost / 100 * figures["photos"] > _BY_CHANCE + 0.5
