"""The head: a softmax over the classes, fitted on features by Adam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Head:
    """probabilities = softmax(features · kernel + bias).

    kernel: float32, shape (features, K). bias: float32, shape (K,).
    """

    kernel: np.ndarray
    bias: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """float32, shape (n, K), for features of shape (n, F)."""
        return softmax(features @ self.kernel + self.bias)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    report: Callable[[float], None] | None = None,
) -> Head:
    """Fit by Adam (Kingma & Ba 2015) with a learning rate that falls to zero along a cosine.

    features: float32, shape (n, F). labels: integers below `classes`, shape (n,).
    report: called after each epoch with its mean training loss.
    """
    rng = np.random.default_rng(seed)
    # Centred features make the problem far better conditioned; the mean is folded into the bias below.
    mean = features.mean(axis=0)
    centred = features - mean
    targets = np.eye(classes, dtype=np.float32)[labels]
    parameters = [np.zeros((features.shape[1], classes), np.float32), np.zeros(classes, np.float32)]
    first_moments = [np.zeros_like(parameter) for parameter in parameters]
    second_moments = [np.zeros_like(parameter) for parameter in parameters]
    kernel, bias = parameters
    steps = epochs * -(-len(features) // batch_size)
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(features))
        loss = 0.0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            probabilities = softmax(centred[batch] @ kernel + bias)
            loss -= float(np.log((probabilities * targets[batch]).sum(axis=1) + 1e-12).sum())
            error = (probabilities - targets[batch]) / len(batch)
            rate = learning_rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            step += 1
            gradients = [centred[batch].T @ error, error.sum(axis=0)]
            moments = zip(parameters, gradients, first_moments, second_moments, strict=True)
            for parameter, gradient, first, second in moments:
                np.add(first, 0.1 * (gradient - first), out=first)
                np.add(second, 0.001 * (gradient**2 - second), out=second)
                deviation = np.sqrt(second / np.float32(1 - 0.999**step)) + np.float32(1e-7)
                np.subtract(parameter, np.float32(rate / (1 - 0.9**step)) * first / deviation, out=parameter)
        if report is not None:
            report(loss / len(features))
    return Head(kernel, bias - mean @ kernel)
