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

    def with_temperature(self, temperature: float) -> Head:
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

    def add_batch(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        self.batch_loss.append(cross_entropy(probabilities, labels))
        self.batch_accuracy.append(share_right(probabilities, labels))

    def end_epoch(self, batches: list[np.ndarray]) -> None:
        """batches: of the epoch, all of which were added; their means count by their sizes."""
        sizes = [len(batch) for batch in batches]
        self.epoch_loss.append(float(np.average(self.batch_loss[-len(sizes) :], weights=sizes)))
        self.epoch_accuracy.append(float(np.average(self.batch_accuracy[-len(sizes) :], weights=sizes)))


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

    def read(self, photos: np.ndarray) -> np.ndarray:
        """The features of these photos as they are."""
        return self.rows.read(photos * self.views)

    def read_views(self, photos: np.ndarray) -> np.ndarray:
        """The features of all their views, those of a photo in a row, the photo as it is first."""
        return self.rows.read((photos[:, None] * self.views + np.arange(self.views)).ravel())

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


def share_right(scores: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy: the share of rows whose largest score is the label's."""
    return float((scores.argmax(axis=1) == labels).mean())


def split_batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


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
        batches, views = split_batches(order, settings.batch_size), split_batches(shown, settings.batch_size)
        for step, (batch, view) in enumerate(zip(batches, views, strict=True)):
            x = training.rows.read(view)[:, :features] - mean
            probabilities = softmax(x @ kernel + bias)
            labels = training.labels[batch]
            curves.add_batch(probabilities, labels)
            targets = training.targets(batch, settings.label_smoothing)
            error = (probabilities - targets) * (training.weights[labels, None] / np.float32(len(batch)))
            done = ((epoch - 1) * per_epoch + step) / (per_epoch * settings.epochs)
            rate = settings.learning_rate * 0.5 * (1 + np.cos(np.pi * done))
            optimizer.step([x.T @ error, error.sum(axis=0)], rate)
        curves.end_epoch(batches)
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


def head_logits(head: Head, examples: Examples, photos: np.ndarray) -> np.ndarray:
    """The head's logits for these photos as they are, (n, K), read in parts."""
    parts = np.array_split(photos, max(1, -(-len(photos) // _EVALUATION_ROWS)))
    return np.concatenate([head.logits(examples.read(part)) for part in parts])


def measure_head(head: Head, examples: Examples) -> tuple[float, float]:
    """Mean cross-entropy and accuracy on the photos as they are."""
    probabilities = softmax(head_logits(head, examples, examples.photos))
    labels = examples.labels[examples.photos]
    return cross_entropy(probabilities, labels), share_right(probabilities, labels)


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


def calibrated_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy with the temperature that is best for these photos."""
    return cross_entropy(softmax(logits / fit_temperature(logits, labels)), labels)


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
