"""The head: a softmax over the classes, fitted on features by Adam, stopped where validation is best."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .rows import Rows

_EVALUATION_ROWS = 1024


@dataclass(frozen=True)
class Head:
    """probabilities = softmax(features · kernel + bias).

    kernel: float32, shape (F, K). bias: float32, shape (K,).
    """

    kernel: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Shape (n, K), for features of shape (n, F) or longer rows that begin with them."""
        logits: np.ndarray = features[:, : len(self.kernel)] @ self.kernel + self.bias
        return logits

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """float32, shape (n, K)."""
        return softmax(self.logits(features))

    def cooled(self, temperature: float) -> Head:
        """The head whose logits are divided by `temperature`: calibrated in every runtime."""
        scale = np.float32(1 / temperature)
        return Head(self.kernel * scale, self.bias * scale)


@dataclass(frozen=True)
class HeadSettings:
    """How to fit a head.

    epochs: passes over the photos, each in one of its views at a time. patience: epochs without a better
        validation loss after which fitting stops. label_smoothing: the share of a target spread over all classes.
    """

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 3e-4
    label_smoothing: float = 0.1
    patience: int = 10


@dataclass
class Curves:
    """What happened while fitting. Losses are mean cross-entropies in nats, accuracies shares."""

    batch_loss: list[float] = field(default_factory=list)
    batch_accuracy: list[float] = field(default_factory=list)
    epoch_loss: list[float] = field(default_factory=list)
    epoch_accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Examples:
    """Photos to fit on or to try on.

    rows: features, with `views` rows for each photo. photos: which of them, indices.
    labels: class indices of all photos. weights: how much each class counts, (K,).
    soft: a teacher's probabilities for all photos, (n, K), which then are half of the target.
    """

    rows: Rows
    views: int
    photos: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    soft: Rows | None = None

    def plain(self) -> np.ndarray:
        """Rows of the photos as they are."""
        return self.photos * self.views

    def targets(self, photos: np.ndarray, smoothing: float) -> np.ndarray:
        """What the head shall say, float32 (len(photos), K)."""
        classes = len(self.weights)
        targets = np.full((len(photos), classes), smoothing / classes, np.float32)
        targets[np.arange(len(photos)), self.labels[photos]] += 1 - smoothing
        return targets if self.soft is None else (targets + self.soft.read(photos)) / 2


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over photos, in nats."""
    return -float(np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean())


def fit_head(
    training: Examples, validation: Examples | None, features: int, settings: HeadSettings, seed: int, epochs: int = 0
) -> tuple[Head, int, Curves]:
    """Fit by Adam (Kingma & Ba 2015) with a learning rate that falls to zero along a cosine.

    validation: its loss after each epoch decides where to stop; the best epoch's weights are returned.
    features: how many numbers of a row are the head's.
    epochs: without validation, stop after so many of the settings' epochs (0: all).

    Returns the head, the epochs that it was fitted for, and the curves.
    """
    rng = np.random.default_rng(seed)
    classes = len(training.weights)
    mean = _mean(training, features)
    parameters = [np.zeros((features, classes), np.float32), np.zeros(classes, np.float32)]
    optimizer = _Adam(parameters)
    kernel, bias = parameters
    curves = Curves()
    best = (np.inf, Head(kernel.copy(), bias.copy()), 0)
    per_epoch = -(-len(training.photos) // settings.batch_size)
    for epoch in range(1, (epochs or settings.epochs) + 1):
        order = rng.permutation(training.photos)
        shown = order * training.views + rng.integers(training.views, size=len(order))
        total_loss = right = 0.0
        for step, start in enumerate(range(0, len(order), settings.batch_size)):
            batch = order[start : start + settings.batch_size]
            x = training.rows.read(shown[start : start + settings.batch_size])[:, :features] - mean
            probabilities = softmax(x @ kernel + bias)
            labels = training.labels[batch]
            loss = cross_entropy(probabilities, labels)
            accuracy = float((probabilities.argmax(axis=1) == labels).mean())
            curves.batch_loss.append(loss)
            curves.batch_accuracy.append(accuracy)
            total_loss, right = total_loss + loss * len(batch), right + accuracy * len(batch)
            targets = training.targets(batch, settings.label_smoothing)
            error = (probabilities - targets) * (training.weights[labels, None] / np.float32(len(batch)))
            done = ((epoch - 1) * per_epoch + step) / (per_epoch * settings.epochs)
            rate = settings.learning_rate * 0.5 * (1 + np.cos(np.pi * done))
            optimizer.step([x.T @ error, error.sum(axis=0)], rate)
        curves.epoch_loss.append(total_loss / len(order))
        curves.epoch_accuracy.append(right / len(order))
        # Centred features make the problem far better conditioned; the mean is folded into the bias.
        head = Head(kernel.copy(), bias - mean @ kernel)
        if validation is None:
            best = (0.0, head, epoch)
            continue
        loss, accuracy = measure_head(head, validation)
        curves.validation_loss.append(loss)
        curves.validation_accuracy.append(accuracy)
        if loss < best[0]:
            best = (loss, head, epoch)
        elif epoch - best[2] >= settings.patience:
            break
    return best[1], best[2], curves


def head_logits(head: Head, rows: Rows, indices: np.ndarray) -> np.ndarray:
    """The head's logits for these rows, (n, K), read in parts."""
    parts = np.array_split(indices, max(1, -(-len(indices) // _EVALUATION_ROWS)))
    return np.concatenate([head.logits(rows.read(part)) for part in parts])


def measure_head(head: Head, examples: Examples) -> tuple[float, float]:
    """Mean cross-entropy and accuracy on the photos as they are."""
    probabilities = softmax(head_logits(head, examples.rows, examples.plain()))
    labels = examples.labels[examples.photos]
    return cross_entropy(probabilities, labels), float((probabilities.argmax(axis=1) == labels).mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes softmax(logits / temperature) likeliest (Guo et al. 2017), between 1/20 and 20.

    logits: (n, K), of photos that the head was not fitted on. labels: (n,).
    """

    def loss(temperature: float) -> float:
        return cross_entropy(softmax(logits / temperature), labels)

    # The loss has one minimum; a golden section finds it.
    low, high = -np.log(20.0), np.log(20.0)
    golden = (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(float(np.exp(left))) < loss(float(np.exp(right))):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def _mean(training: Examples, features: int) -> np.ndarray:
    rows = (training.photos[:, None] * training.views + np.arange(training.views)).ravel()
    chosen = rows[:: max(1, len(rows) // 8192)]
    total = np.zeros(features, np.float64)
    for part in np.array_split(chosen, max(1, -(-len(chosen) // _EVALUATION_ROWS))):
        total += training.rows.read(part)[:, :features].sum(axis=0)
    mean: np.ndarray = (total / len(chosen)).astype(np.float32)
    return mean


class _Adam:
    """Adam's moments, and its step in place."""

    def __init__(self, parameters: list[np.ndarray]) -> None:
        self._parameters = parameters
        self._first = [np.zeros_like(parameter) for parameter in parameters]
        self._second = [np.zeros_like(parameter) for parameter in parameters]
        self._steps = 0

    def step(self, gradients: list[np.ndarray], rate: float) -> None:
        self._steps += 1
        scale = np.float32(rate / (1 - 0.9**self._steps))
        correction = np.float32(1 / (1 - 0.999**self._steps))
        moments = zip(self._parameters, gradients, self._first, self._second, strict=True)
        for parameter, gradient, first, second in moments:
            first += np.float32(0.1) * (gradient - first)
            second += np.float32(0.001) * (gradient**2 - second)
            parameter -= scale * first / (np.sqrt(second * correction) + np.float32(1e-7))
