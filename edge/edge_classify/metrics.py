"""How good a head is on photos that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

_CALIBRATION_BINS = 10

T = TypeVar("T")


def evaluate(probabilities: np.ndarray, truth: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    """Figures for held-out photos, all of the classes and none unknown.

    probabilities: shape (n, K), or (n, K + 1) with `unknown` last. truth: class indices, shape (n,).

    accuracy: the share whose best class, `unknown` left aside, is the true one.
    kept: the share whose best label is a class and not `unknown` (1 without that output).
    accuracy_with_unknown: the share whose best label is the true one; `unknown` counts as wrong.
    calibration_error: see `calibration_error`, `unknown` left aside.
    """
    classes = len(labels)
    best_class = probabilities[:, :classes].argmax(axis=1)
    best_label = probabilities.argmax(axis=1)
    counts = confusion(best_class, truth, classes)
    per_class = {}
    for index, label in enumerate(labels):
        right, chosen, present = int(counts[index, index]), int(counts[:, index].sum()), int(counts[index].sum())
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
        "calibration_error": calibration_error(*class_confidences(probabilities, truth, classes)),
        "per_class": per_class,
    }


def confusion(chosen: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """How many photos of each class were taken for which: shape (K, K), a row for each true class."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth, chosen), 1)
    return counts


def class_confidences(probabilities: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Each photo's largest class probability, given that it is one of the classes, and whether that class is right."""
    among = probabilities[:, :classes] / np.maximum(probabilities[:, :classes].sum(axis=1, keepdims=True), 1e-12)
    return among.max(axis=1), among.argmax(axis=1) == truth


def reliability(confidences: np.ndarray, right: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, photos) of each tenth of the range from 0 to 1 that has any."""
    bins = np.minimum((confidences * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    return [
        (float(confidences[bins == index].mean()), float(right[bins == index].mean()), int((bins == index).sum()))
        for index in np.unique(bins)
    ]


def calibration_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error (Naeini et al. 2015): how far confidence and share right lie apart, over ten bins."""
    return sum(abs(said - was) * count for said, was, count in reliability(confidences, right)) / len(right)


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share seen in `count` photos (Wilson 1927)."""
    z = 1.959964
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5 / (1 + z**2 / count)
    return centre - half, centre + half


def auroc(known: np.ndarray, strange: np.ndarray) -> float:
    """How well a score tells pictures of the classes from strangers: the area under the ROC curve (AUROC).

    known, strange: scores of the two, higher for known. It is the share of pairs in which the known one has
    the higher score, equal scores counting half (Hanley & McNeil 1982). Returns 0.5 for chance, 1 for perfect.
    """
    ordered = np.sort(strange)
    below = np.searchsorted(ordered, known, side="left")
    up_to = np.searchsorted(ordered, known, side="right")
    return float((below + up_to).mean() / 2 / len(strange))


def fpr_at_tpr(known: np.ndarray, strange: np.ndarray, keep: float) -> float:
    """The share of strangers whose score is above the limit that keeps the share `keep` of known pictures."""
    return float((strange > np.quantile(known, 1 - keep)).mean())


def pareto_front(items: Iterable[T], cost: Callable[[T], float], accuracy: Callable[[T], float]) -> list[T]:
    """The Pareto front: those that no other beats both in cost and in accuracy, cheapest first."""
    front: list[T] = []
    for item in sorted(items, key=lambda item: (cost(item), -accuracy(item))):
        if not front or accuracy(item) > accuracy(front[-1]):
            front.append(item)
    return front
