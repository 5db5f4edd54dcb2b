"""Fitting one cell: heads on the frozen backbone, a fine-tuned backbone if asked for, temperature, and `unknown`.

Every choice is made on photos that what is chosen was not fitted on: each fold of the training photos in turn, or the
user's own validation photos. Held-out photos play no part here.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_classify.learn.head import (
    Curves,
    Examples,
    Head,
    calibrated_loss,
    cross_entropy,
    fit_head,
    fit_temperature,
    head_logits,
    softmax,
)
from edge_classify.learn.open_set import (
    MAX_PHOTOS,
    FeatureSpace,
    OpenSet,
    fit_direction,
    fit_feature_space,
    fit_open_set,
)
from edge_classify.model.answers import Answers, pack

from .backbone import Backbone
from .features import compute_run_features, gather_features, read_cost
from .made_negatives import BLANKS
from .photos import TRAINING, VALIDATION, Photo
from .settings import FOLDS, MIN_VIEW_GAIN, MIN_VIEW_GAIN_ERRORS, VIEW_FOLDS
from .training_run import CellJob

# A part of a SHA-256 that no two runs on one machine share by chance.
_FINGERPRINT_DIGITS = 16


@dataclass(frozen=True)
class Fold:
    """Photos to fit on and photos to choose on: indices into the cell's photos."""

    fitted: np.ndarray
    chosen_on: np.ndarray


@dataclass(frozen=True)
class Fit:
    """A head and its backbone, and the heads fitted without each fold, for choosing on it.

    features: how many numbers of a row are the head's.
    examples: the photos that the head was fitted on, with the backbone's features.
    """

    backbone: Backbone
    features: int
    head: Head
    examples: Examples
    folds: Sequence[Fold]
    fold_heads: Sequence[Head]
    curves: Curves


@dataclass(frozen=True)
class Calibration:
    """A head whose probabilities mean what they say, and what they are for the photos chosen on.

    loss: mean cross-entropy of these photos, in nats. probabilities: their classes', (n, K), each photo's by the head
    fitted without it.
    """

    head: Head
    temperature: float
    loss: float
    probabilities: np.ndarray


def fit_frozen(job: CellJob, database: sqlite3.Connection) -> Fit:
    """Fit heads on the frozen backbone's features: one without each fold, and one on all photos.

    The last is fitted for as many epochs as were best on average without a fold. If the user gave validation photos,
    these are the only fold, and the head fitted without them is the result.
    """
    settings = job.run.settings
    features = read_cost(database, job.backbone).features
    examples = _gather_examples(job, database)
    folds = list(_find_folds(job.run.photos.of(TRAINING, VALIDATION), settings.seed))
    fits = [_fit_without_fold(job, examples, fold, features) for fold in folds]
    heads, best_epochs, curves = zip(*fits, strict=True)
    head = heads[0]
    if not job.run.photos.of(VALIDATION):
        epochs = max(1, round(float(np.mean(best_epochs))))
        head, _, _ = fit_head(examples, None, features, job.run.head, settings.seed, epochs)
    return Fit(job.backbone, features, head, examples, folds, heads, curves[0])


def views_do_harm(job: CellJob, database: sqlite3.Connection, fit: Fit) -> bool:
    """Whether heads fitted without augmented views are clearly better than those of `fit`, on photos not fitted on.

    Views help with photos taken anywhere. Of a still camera, or of things with a left and a right, they may show what
    the camera never will, or cut the thing out.
    """
    if not job.run.settings.augmentation.auto or fit.examples.views == 1:
        return False
    without = _gather_examples(job.without_views(), database)
    gains = []
    for fold, head in list(zip(fit.folds, fit.fold_heads, strict=True))[:VIEW_FOLDS]:
        head_without, _, _ = _fit_without_fold(job, without, fold, fit.features)
        losses = _losses(head, fit.examples, fold.chosen_on)
        gains.append(losses - _losses(head_without, without, fold.chosen_on))
    gain = np.concatenate(gains)
    error = float(gain.std()) / np.sqrt(len(gain))
    return bool(gain.mean() > max(MIN_VIEW_GAIN, MIN_VIEW_GAIN_ERRORS * error))


def _gather_examples(job: CellJob, database: sqlite3.Connection) -> Examples:
    settings = job.run.settings
    photos = job.run.photos.of(TRAINING, VALIDATION)
    labels = np.array([photo.label for photo in photos])
    views = settings.augmentation.keys()
    return Examples(
        rows=gather_features(database, job.backbone, photos, views),
        views=len(views),
        photos=np.arange(len(photos)),
        labels=labels,
        weights=_class_weights(labels, len(job.run.photos.labels), settings.class_weights),
    )


def _fit_without_fold(job: CellJob, examples: Examples, fold: Fold, features: int) -> tuple[Head, int, Curves]:
    settings = job.run.settings
    fitted, chosen_on = replace(examples, photos=fold.fitted), replace(examples, photos=fold.chosen_on)
    return fit_head(fitted, chosen_on, features, job.run.head, settings.seed)


def _losses(head: Head, examples: Examples, photos: np.ndarray) -> np.ndarray:
    """Each photo's cross-entropy, in nats."""
    probabilities = softmax(head_logits(head, examples, photos))
    return -np.log(probabilities[np.arange(len(photos)), examples.labels[photos]] + 1e-12)


def fit_fine_tuned(job: CellJob, database: sqlite3.Connection, frozen: Fit) -> Fit:
    """Train the backbone too, on all photos but the first fold, which is chosen on; `frozen` if that is no better.

    It is not trained on all photos again: how confident such a network is on unseen photos would be guesswork.
    """
    from .fine_tuning import fine_tune  # brings TensorFlow

    fold = frozen.folds[0]
    tuned = fine_tune(job, frozen.fold_heads[0], replace(frozen.examples, photos=fold.fitted), fold.chosen_on)
    logits = head_logits(frozen.fold_heads[0], frozen.examples, fold.chosen_on)
    if min(tuned.curves.validation_loss) >= calibrated_loss(logits, frozen.examples.labels[fold.chosen_on]):
        tuned.backbone.weights.unlink()
        return frozen
    compute_run_features(database, job.run, [tuned.backbone])
    photos, views = job.run.photos.of(TRAINING, VALIDATION), job.run.settings.augmentation.keys()
    rows = gather_features(database, tuned.backbone, photos, views)
    examples = replace(frozen.examples, rows=rows, photos=fold.fitted)
    return Fit(tuned.backbone, frozen.features, tuned.head, examples, [fold], [tuned.head], tuned.curves)


def calibrate(fit: Fit) -> Calibration:
    """Fit the temperature on the folds' photos, each scored by the head fitted without it."""
    logits = np.concatenate(
        [
            head_logits(fold_head, fit.examples, fold.chosen_on)
            for fold_head, fold in zip(fit.fold_heads, fit.folds, strict=True)
        ]
    )
    labels = np.concatenate([fit.examples.labels[fold.chosen_on] for fold in fit.folds])
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits / temperature)
    return Calibration(
        fit.head.with_temperature(temperature),
        temperature,
        cross_entropy(probabilities, labels),
        probabilities,
    )


def validate(job: CellJob, fit: Fit, calibration: Calibration) -> Answers:
    """Which of the photos chosen on get their class, each from a head that was fitted without it.

    `unknown` is left aside: its limits are such that every cell keeps the same share of these photos, so it would add
    the same number of mistakes to all cells, but to others of the photos, and hide which cell is better.

    With fine-tuning these are the first fold's photos in every cell, also where the backbone stayed frozen: a network
    is fine-tuned once, without that fold.
    """
    order = np.concatenate([fold.chosen_on for fold in (fit.folds[:1] if job.run.settings.fine_tune else fit.folds)])
    labels = fit.examples.labels[order]
    photos = job.run.photos.of(TRAINING, VALIDATION)
    contents = "\n".join(f"{photos[index].sha256} {photos[index].label}" for index in order)
    fingerprint = hashlib.sha256(contents.encode()).hexdigest()[:_FINGERPRINT_DIGITS]
    return pack(fingerprint, calibration.probabilities[: len(order)].argmax(axis=1) == labels)


def fit_unknown(job: CellJob, database: sqlite3.Connection, fit: Fit, confidences: np.ndarray) -> OpenSet:
    """Fit the `unknown` output: the feature space of all photos, with limits from how unseen photos score.

    Each fold's photos are scored by a space that was fitted without them. confidences: the photos' largest class
    probability, as from `Calibration.probabilities`.
    """
    settings, examples = job.run.settings, fit.examples
    negatives = gather_features(database, fit.backbone, job.run.photos.negatives(TRAINING))
    negative_rows = negatives.read(range(min(len(negatives), MAX_PHOTOS)))
    blanks = read_blanks(database, fit)

    def space_of(photos: np.ndarray) -> FeatureSpace:
        photos = _at_most(MAX_PHOTOS, photos, np.random.default_rng(settings.seed))
        space = fit_space(fit, photos, settings.seed, blanks)
        return fit_direction(space, examples.read(photos), negative_rows) if len(negative_rows) else space

    scores = np.concatenate([space_of(fold.fitted).scores(examples.read(fold.chosen_on)) for fold in fit.folds])
    return fit_open_set(space_of(examples.photos), scores, confidences, job.run.keep, _find_blocks(job, fit))


def _find_blocks(job: CellJob, fit: Fit) -> np.ndarray | None:
    """Of a still camera, each chosen-on photo's class and block of time, which its fold is: (n, 2)."""
    if not job.run.photos.still_camera:
        return None
    labels = np.concatenate([fit.examples.labels[fold.chosen_on] for fold in fit.folds])
    times = np.repeat(np.arange(len(fit.folds)), [len(fold.chosen_on) for fold in fit.folds])
    return np.stack([labels, times], axis=1)


def read_blanks(database: sqlite3.Connection, fit: Fit) -> np.ndarray:
    """What the backbone says of pictures that show nothing, (m, F + M)."""
    return gather_features(database, fit.backbone, BLANKS).read(range(len(BLANKS)))


def fit_space(fit: Fit, photos: np.ndarray, seed: int, blanks: np.ndarray) -> FeatureSpace:
    """The feature space of these photos, indices, in all their views. blanks: of `read_blanks`."""
    examples = fit.examples
    rows, labels = examples.read_views(photos), examples.labels[photos]
    return fit_feature_space(rows, labels, fit.features, seed, examples.views, blanks)


def _find_folds(photos: Sequence[Photo], seed: int) -> Iterator[Fold]:
    """The user's own validation photos if there are any; otherwise each fifth of the training photos in turn.

    No more photos are chosen on than choosing needs, so that memory does not grow with their number.
    """
    rng = np.random.default_rng(seed)
    has_validation = any(photo.part == VALIDATION for photo in photos)
    folds = np.array([photo.fold for photo in photos])
    numbers = [-1] if has_validation else range(FOLDS)
    for number in numbers:
        chosen_on = np.flatnonzero(folds == number)
        fitted = np.flatnonzero(folds != number)
        if len(chosen_on) and len(fitted):
            yield Fold(fitted, _at_most(MAX_PHOTOS // len(numbers), chosen_on, rng))


def _at_most(count: int, photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return photos if len(photos) <= count else np.sort(rng.permutation(photos)[:count])


def _class_weights(labels: np.ndarray, classes: int, choice: str) -> np.ndarray:
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1)) if choice == "balanced" else np.ones(classes)
    return weights.astype(np.float32)
