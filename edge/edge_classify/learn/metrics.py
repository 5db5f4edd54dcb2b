"""Accuracy, calibration and open-set metrics, measured on photos that the model was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

_CALIBRATION_BINS = 10
# Of the classes' own photos, for `accepted_at_95_kept`.
_KEPT_SHARE = 0.95

T = TypeVar("T")


def evaluate(probabilities: np.ndarray, truth: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    """Metrics of held-out photos, each of which shows one of the classes.

    probabilities: shape (n, K), or (n, K + 1) with `unknown` last.
    truth: class indices, integers of 0 to K - 1, shape (n,).
    labels: the names of the K classes.

    Returns what a model file records as its evaluation, fractions from 0 to 1:
    photos: n.
    accuracy: of the best class, ignoring `unknown`.
    kept: the fraction whose best label is a class and not `unknown` (1 for models without that output).
    accuracy_with_unknown: of the best label; `unknown` counts as wrong.
    calibration_error: see `calibration_error`; ignores `unknown`.
    per_class: photos, precision and recall of each class; None if there is nothing to divide by.
    """
    classes = len(labels)
    best_class = probabilities[:, :classes].argmax(axis=1)
    best_label = probabilities.argmax(axis=1)
    counts = confusion(best_class, truth, classes)
    per_class = {}
    for index, label in enumerate(labels):
        correct = int(counts[index, index])
        predicted = int(counts[:, index].sum())
        present = int(counts[index].sum())
        per_class[label] = {
            "photos": present,
            "precision": correct / predicted if predicted else None,
            "recall": correct / present if present else None,
        }
    return {
        "photos": len(truth),
        "accuracy": float((best_class == truth).mean()),
        "kept": float((best_label < classes).mean()),
        "accuracy_with_unknown": float((best_label == truth).mean()),
        "calibration_error": calibration_error(*class_confidences(probabilities, truth, classes)),
        "per_class": per_class,
    }


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """The confusion matrix: counts, int64, shape (K, K), rows are true classes, columns predicted ones."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def class_confidences(probabilities: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, correct) of each photo, both of shape (n,), given that it shows one of the classes.

    confidence: the largest class probability after `unknown` is left out. correct: whether that class is the true one.
    """
    known = probabilities[:, :classes] / np.maximum(probabilities[:, :classes].sum(axis=1, keepdims=True), 1e-12)
    return known.max(axis=1), known.argmax(axis=1) == truth


def reliability(confidences: np.ndarray, correct: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, photos) of each of ten equal bins from 0 to 1 that has photos."""
    bins = np.minimum((confidences * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    return [
        (float(confidences[bins == index].mean()), float(correct[bins == index].mean()), int((bins == index).sum()))
        for index in np.unique(bins)
    ]


def calibration_error(confidences: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error (Naeini et al. 2015): the mean gap between confidence and accuracy, over ten bins."""
    bins = reliability(confidences, correct)
    return sum(abs(confidence - accuracy) * count for confidence, accuracy, count in bins) / len(correct)


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a fraction observed in `count` photos (Wilson 1927)."""
    z = 1.959964
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5 / (1 + z**2 / count)
    return centre - half, centre + half


def auroc(known: np.ndarray, strange: np.ndarray) -> float:
    """The area under the ROC curve: how well a score separates pictures of the classes from out-of-distribution ones.

    known, strange: scores of the two, shape (n,) and (m,), higher for known. The result is the fraction of pairs in
    which the known one scores higher, ties counting half (Hanley & McNeil 1982): 0.5 is chance, 1 is perfect.
    """
    ordered = np.sort(strange)
    below = np.searchsorted(ordered, known, side="left")
    up_to = np.searchsorted(ordered, known, side="right")
    return float((below + up_to).mean() / 2 / len(strange))


def fpr_at_tpr(known: np.ndarray, strange: np.ndarray, keep: float) -> float:
    """The false positive rate at a true positive rate of `keep` (FPR95 for 0.95): strangers that are taken for known.

    known, strange: scores as for `auroc`.
    """
    return float((strange > np.quantile(known, 1 - keep)).mean())


def measure_negatives(own: np.ndarray, negatives: np.ndarray) -> dict[str, Any]:
    """How well `unknown` separates held-out photos of the classes from negatives; both are probabilities (n, K + 1)."""
    return {
        "pictures": len(negatives),
        "auroc": auroc(1 - own[:, -1], 1 - negatives[:, -1]),
        "accepted_at_95_kept": fpr_at_tpr(1 - own[:, -1], 1 - negatives[:, -1], keep=_KEPT_SHARE),
        "accepted": share_accepted(negatives),
    }


def share_accepted(outputs: np.ndarray) -> float:
    """Of probabilities (n, K + 1): the share whose best is a class."""
    return float((outputs.argmax(axis=1) < outputs.shape[1] - 1).mean())


def pareto_front(items: Iterable[T], cost: Callable[[T], float], accuracy: Callable[[T], float]) -> list[T]:
    """The Pareto front: the items that no other beats in both cost and accuracy, cheapest first."""
    front: list[T] = []
    for item in sorted(items, key=lambda item: (cost(item), -accuracy(item))):
        if not front or accuracy(item) > accuracy(front[-1]):
            front.append(item)
    return front
