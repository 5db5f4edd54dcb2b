"""The votes: how much what the prototypes of `unknown` say of each class counts beside the head.

A head sees each feature by itself; the kernel regression on the prototypes sees which training photos are near. It is
computed for `unknown` in any case, and helps to tell the classes apart: class probabilities are
softmax(head's logits + weight · answers). Needs numpy only. K is the number of classes, n that of photos.
"""

from __future__ import annotations

import numpy as np

from .head import Head, calibrated_loss, fit_temperature, softmax
from .open_set import OpenSet, with_unknown

# What the answers are multiplied by, where the head's logits are at their own best temperature, is chosen among these.
# They are enough: between neighbours the cross-entropy hardly changes. With 0 the head decides alone.
_WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)


def fit_votes(logits: np.ndarray, answers: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(temperature, weight) for which softmax(logits / temperature + weight · answers) is likeliest.

    logits: of the head, (n, K). answers: of `FeatureSpace.answers`, (n, K). labels: class indices, (n,).
    All of photos that neither the head nor the space was fitted on.
    """
    temperature = fit_temperature(logits, labels)
    logits = logits / temperature
    # Rounded, so that a weight which changes nothing but the last bit does not win.
    weight = min(_WEIGHTS, key=lambda weight: round(calibrated_loss(logits + weight * answers, labels), 6))
    both = fit_temperature(logits + weight * answers, labels)
    return temperature * both, weight / both


def give_probabilities(head: Head, vote_weight: float, open_set: OpenSet, rows: np.ndarray) -> np.ndarray:
    """What a model file gives for rows of features and middle layer, (n, F + M): (n, K + 1) with `unknown` last."""
    answers = open_set.space.answers(rows, len(head.bias))
    return with_unknown(softmax(head.logits(rows) + vote_weight * answers), open_set.known(rows))
