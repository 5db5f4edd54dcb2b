"""How good a head is on photos that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np


def evaluate(probabilities: np.ndarray, truth: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    """Figures for held-out photos, all of the classes and none unknown.

    probabilities: shape (n, K), or (n, K + 1) with `unknown` last. truth: class indices, shape (n,).

    accuracy: the share whose best class, `unknown` left aside, is the true one.
    kept: the share whose best label is a class and not `unknown` (1 without that output).
    accuracy_with_unknown: the share whose best label is the true one; `unknown` counts as wrong.
    """
    classes = len(labels)
    best_class = probabilities[:, :classes].argmax(axis=1)
    best_label = probabilities.argmax(axis=1)
    per_class = {}
    for index, label in enumerate(labels):
        right = int(((best_class == index) & (truth == index)).sum())
        chosen, present = int((best_class == index).sum()), int((truth == index).sum())
        per_class[label] = {
            "photos": present,
            "precision": right / chosen if chosen else None,
            "recall": right / present if present else None,
        }
    return {
        "photos": len(truth),
        "accuracy": float((best_class == truth).mean()),
        "kept": float((best_label < classes).mean()),
        "accuracy_with_unknown": float((best_label == truth).mean()),
        "per_class": per_class,
    }


def separation(known: np.ndarray, strange: np.ndarray) -> float:
    """How well a score tells pictures of the classes from strangers: the area under the ROC curve (AUROC).

    known, strange: scores of the two, higher for known. It is the share of pairs in which the known one has
    the higher score, equal scores counting half (Hanley & McNeil 1982). Returns 0.5 for chance, 1 for perfect.
    """
    ordered = np.sort(strange)
    below = np.searchsorted(ordered, known, side="left")
    up_to = np.searchsorted(ordered, known, side="right")
    return float((below + up_to).mean() / 2 / len(strange))
