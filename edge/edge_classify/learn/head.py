"""The head: a softmax over the classes, fitted on a backbone's features by Adam, with early stopping.

Needs numpy only, so that a device can fit one too. K is the number of classes, F the number of features.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .rows import Readable

# Of a camera that does not move, in place of the head's own: at that, 60 epochs are too few to tell small things from
# light that drifts.
LEARNING_RATE_STILL_CAMERA = 1e-3
# Rows read at a time when a head is measured: memory stays bounded.
_ROWS_PER_READ = 1024
# At most about so many rows give the features' mean.
_ROWS_FOR_MEAN = 8192
# Of each epoch, of so many batches the losses are kept: a curve shows no more, and memory stays bounded.
_BATCHES_KEPT = 500
# Temperatures are looked for between 1 / 20 and 20, to this relative precision.
_MAX_TEMPERATURE = 20.0
_TEMPERATURE_PRECISION = 1e-4
# Adam's constants, as in the paper (Kingma & Ba 2015); epsilon as in Keras.
_BETA_1 = 0.9
_BETA_2 = 0.999
_EPSILON = 1e-7


@dataclass(frozen=True)
class Head:
    """probabilities = softmax(features · kernel + bias).

    kernel: float32, shape (F, K). bias: float32, shape (K,).
    """

    kernel: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Shape (n, K), for features of shape (n, F) or longer rows that begin with them."""
        return features[:, : len(self.kernel)] @ self.kernel + self.bias

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """As `logits`, through the softmax: float32, shape (n, K), each row adding up to 1."""
        return softmax(self.logits(features))

    def with_temperature(self, temperature: float) -> Head:
        """The head whose logits are divided by `temperature`: calibrated in every runtime."""
        scale = np.float32(1 / temperature)
        return Head(self.kernel * scale, self.bias * scale)


@dataclass(frozen=True)
class HeadSettings:
    """How to fit a head."""

    # Passes over the photos at most; in each pass a photo is shown in one of its views.
    epochs: int = 60
    # Photos per step of the optimizer.
    batch_size: int = 32
    # Of the first step; it falls to 0 along a cosine over `epochs`.
    learning_rate: float = 3e-4
    # The share of each target that is spread over all classes (Szegedy et al. 2016).
    label_smoothing: float = 0.1
    # Epochs without a better validation loss after which fitting stops.
    patience: int = 10


@dataclass
class Curves:
    """The course of a fit, an item per batch or per epoch. Losses are mean cross-entropies in nats, accuracies shares.

    Of the batches of an epoch at most _BATCHES_KEPT are kept, evenly spaced. The validation's lists are empty if there
    was none.
    """

    batch_loss: list[float] = field(default_factory=list)
    batch_accuracy: list[float] = field(default_factory=list)
    epoch_loss: list[float] = field(default_factory=list)
    epoch_accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)

    def add_batch(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """probabilities: (n, K), before the step. labels: class indices, (n,)."""
        self.batch_loss.append(cross_entropy(probabilities, labels))
        self.batch_accuracy.append(accuracy(probabilities, labels))

    def end_epoch(self, batches: list[np.ndarray]) -> None:
        """batches: of the epoch, all of which were added; their means count by their sizes."""
        sizes = [len(batch) for batch in batches]
        self.epoch_loss.append(float(np.average(self.batch_loss[-len(sizes) :], weights=sizes)))
        self.epoch_accuracy.append(float(np.average(self.batch_accuracy[-len(sizes) :], weights=sizes)))
        step = -(-len(sizes) // _BATCHES_KEPT)
        for kept in (self.batch_loss, self.batch_accuracy) if step > 1 else ():
            kept[-len(sizes) :] = kept[-len(sizes) :: step]


@dataclass(frozen=True)
class Examples:
    """Photos to fit on, or to measure on.

    rows: features, float32, with `views` consecutive rows per photo, the photo as it is first.
    photos: which of the photos are meant, indices, (n,). labels: class indices of all photos.
    weights: how much a photo of each class counts, float32, (K,).
    """

    rows: Readable
    views: int
    photos: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def read(self, photos: np.ndarray) -> np.ndarray:
        """The features of these photos as they are, (len(photos), row)."""
        return self.rows.read(photos * self.views)

    def read_views(self, photos: np.ndarray) -> np.ndarray:
        """The features of all views of these photos, (len(photos) · views, row), in the order of `rows`."""
        return self.rows.read((photos[:, None] * self.views + np.arange(self.views)).ravel())

    def targets(self, photos: np.ndarray, smoothing: float) -> np.ndarray:
        """The probabilities to fit to, float32, (len(photos), K): smoothed labels."""
        classes = len(self.weights)
        targets = np.full((len(photos), classes), smoothing / classes, np.float32)
        targets[np.arange(len(photos)), self.labels[photos]] += 1 - smoothing
        return targets


def softmax(logits: np.ndarray) -> np.ndarray:
    """Of each row; shape and dtype stay."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over photos, in nats. probabilities: (n, K). labels: class indices, (n,)."""
    return -float(np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean())


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """The share of rows of `scores`, (n, K), whose largest is that of the label, (n,)."""
    return float((scores.argmax(axis=1) == labels).mean())


def split_batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Consecutive parts of `size`; the last may be smaller."""
    return [order[start : start + size] for start in range(0, len(order), size)]


def fit_head(
    training: Examples,
    validation: Examples | None,
    features: int,
    settings: HeadSettings,
    seed: int,
    epochs: int = 0,
    curves: Curves | None = None,
) -> tuple[Head, int]:
    """Fit by Adam (Kingma & Ba 2015) with a learning rate that falls to 0 along a cosine (Loshchilov & Hutter 2017).

    validation: its loss after each epoch decides when to stop; the best epoch's weights are returned.
    features: how many numbers of a row are the head's, F; rows may be longer.
    epochs: without validation, stop after this many of the settings' epochs (0: all).
    curves: to which the course of the fit is added.

    Returns the head, and the number of epochs it was fitted for.
    """
    rng = np.random.default_rng(seed)
    # Centred features make the problem far better conditioned; the mean is folded into the bias.
    mean = _mean(training, features)
    optimizer = _Adam((features + 1, len(training.weights)))
    (kernel, bias), gradients = optimizer.parts(optimizer.parameters), optimizer.parts(optimizer.gradient)
    best_loss, best_epoch, best_head = np.inf, 0, Head(kernel.copy(), bias.copy())
    steps_per_epoch = -(-len(training.photos) // settings.batch_size)
    for epoch in range(1, (epochs or settings.epochs) + 1):
        order = rng.permutation(training.photos)
        shown = order * training.views + rng.integers(training.views, size=len(order))
        batches, views = split_batches(order, settings.batch_size), split_batches(shown, settings.batch_size)
        for step, (batch, view) in enumerate(zip(batches, views, strict=True)):
            x = training.rows.read(view)[:, :features] - mean
            probabilities = softmax(x @ kernel + bias)
            labels = training.labels[batch]
            if curves is not None:
                curves.add_batch(probabilities, labels)
            targets = training.targets(batch, settings.label_smoothing)
            error = (probabilities - targets) * (training.weights[labels, None] / np.float32(len(batch)))
            progress = ((epoch - 1) * steps_per_epoch + step) / (steps_per_epoch * settings.epochs)
            rate = settings.learning_rate * 0.5 * (1 + np.cos(np.pi * progress))
            np.matmul(x.T, error, out=gradients[0])
            error.sum(axis=0, out=gradients[1])
            optimizer.step(rate)
        if curves is not None:
            curves.end_epoch(batches)
        head = Head(kernel.copy(), bias - mean @ kernel)
        if validation is None:
            best_epoch, best_head = epoch, head
            continue
        loss, share_correct = measure_head(head, validation)
        if curves is not None:
            curves.validation_loss.append(loss)
            curves.validation_accuracy.append(share_correct)
        if loss < best_loss:
            best_loss, best_epoch, best_head = loss, epoch, head
        elif epoch - best_epoch >= settings.patience:
            break
    return best_head, best_epoch


def head_logits(head: Head, examples: Examples, photos: np.ndarray) -> np.ndarray:
    """The head's logits for these photos as they are, (len(photos), K), read in parts."""
    if len(photos) <= _ROWS_PER_READ:
        return head.logits(examples.read(photos))
    parts = np.array_split(photos, -(-len(photos) // _ROWS_PER_READ))
    return np.concatenate([head.logits(examples.read(part)) for part in parts])


def measure_head(head: Head, examples: Examples) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy, on `examples.photos` as they are."""
    probabilities = softmax(head_logits(head, examples, examples.photos))
    labels = examples.labels[examples.photos]
    return cross_entropy(probabilities, labels), accuracy(probabilities, labels)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature for which softmax(logits / temperature) is likeliest (Guo et al. 2017), between 1/20 and 20.

    logits: (n, K), of photos that the head was not fitted on. labels: class indices, (n,).

    Labels are smoothed as if there were one photo more, of which nobody knows the class (compare Platt 1999): else a
    few photos, all of them recognised, would pass for certainty.
    """
    photos = len(labels)
    smoothing = 1 / (photos + 1)

    def loss(log_temperature: float) -> float:
        scaled = logits / float(np.exp(log_temperature))
        scaled -= scaled.max(axis=1, keepdims=True)
        total = np.log(np.exp(scaled).sum(axis=1))
        expected = (1 - smoothing) * scaled[np.arange(photos), labels] + smoothing * scaled.mean(axis=1)
        return float((total - expected).mean())

    # The loss has one minimum; a golden-section search finds it.
    low, high = -np.log(_MAX_TEMPERATURE), np.log(_MAX_TEMPERATURE)
    golden = (np.sqrt(5) - 1) / 2
    while high - low > _TEMPERATURE_PRECISION:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def calibrated_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy in nats at the temperature that is best for these photos. Arguments as `fit_temperature`."""
    return cross_entropy(softmax(logits / fit_temperature(logits, labels)), labels)


def _mean(training: Examples, features: int) -> np.ndarray:
    """The mean of the features over all views, or over evenly spaced ones if there are many: float32, (F,)."""
    rows = (training.photos[:, None] * training.views + np.arange(training.views)).ravel()
    chosen = rows[:: max(1, len(rows) // _ROWS_FOR_MEAN)]
    total = np.zeros(features, np.float64)
    for part in np.array_split(chosen, max(1, -(-len(chosen) // _ROWS_PER_READ))):
        total += training.rows.read(part)[:, :features].sum(axis=0)
    return (total / len(chosen)).astype(np.float32)


class _Adam:
    """Adam's moments, and its step: kernel and bias as one array, (F + 1, K), in place, since small arrays are many."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.parameters, self.gradient = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._first, self._second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._work, self._change = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._steps = 0

    @staticmethod
    def parts(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views: the kernel's, (F, K), and the bias's, (K,)."""
        return array[:-1], array[-1]

    def step(self, rate: float) -> None:
        """Change the parameters by what `gradient` says."""
        self._steps += 1
        scale = np.float32(rate / (1 - _BETA_1**self._steps))
        correction = np.float32(1 / (1 - _BETA_2**self._steps))
        work, change = self._work, self._change
        np.subtract(self.gradient, self._first, out=work)
        self._first += np.multiply(work, np.float32(1 - _BETA_1), out=work)
        np.square(self.gradient, out=work)
        work -= self._second
        self._second += np.multiply(work, np.float32(1 - _BETA_2), out=work)
        np.sqrt(np.multiply(self._second, correction, out=work), out=work)
        work += np.float32(_EPSILON)
        np.multiply(self._first, scale, out=change)
        self.parameters -= np.divide(change, work, out=change)
