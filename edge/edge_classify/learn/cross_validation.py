"""Cross-validation: choices are made on photos that what is chosen was not fitted on, each fold of them in turn.

K is the number of classes, n that of photos chosen on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .head import Curves, Examples, Head, HeadSettings, cross_entropy, fit_head, fit_temperature, head_logits, softmax
from .open_set import MAX_PHOTOS, FeatureSpace
from .votes import fit_votes

# Heads without views are tried on so many folds: choosing costs a third more of the time that fitting heads takes.
VIEW_FOLDS = 2
# They are taken if their photos' cross-entropy is lower by this much on average, in nats, and by more than chance: the
# mean of the differences is above this many of its standard errors. On a still scene with a small thing in it they cost
# 0.06 to 0.12 nats, 14 to 21 errors; on Alien vs Predator, and with 200 photos of it, at most 0.016 and 2.4.
_MIN_VIEW_GAIN = 0.03
_MIN_VIEW_GAIN_ERRORS = 3.0


@dataclass(frozen=True)
class Fold:
    """Photos to fit on and photos to choose on: indices into all photos."""

    fitted: np.ndarray
    chosen_on: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """A head whose probabilities mean what they say, and what they are for the photos chosen on.

    vote_weight: what a space's answers are multiplied by and added to the head's logits; 0 without `unknown`.
    loss: mean cross-entropy of these photos, in nats. probabilities: their classes', (n, K), each photo's by what was
    fitted without it.
    """

    head: Head
    vote_weight: float
    temperature: float
    loss: float
    probabilities: np.ndarray


@dataclass(frozen=True)
class Spaces:
    """The feature space of all photos, and what those without a fold each say of the fold's.

    scores: `FeatureSpace.scores` of the photos chosen on, (n, 2). answers: `FeatureSpace.answers`, (n, K).
    """

    whole: FeatureSpace
    without_fold: Sequence[FeatureSpace]
    scores: np.ndarray
    answers: np.ndarray


def judge_spaces(
    whole: FeatureSpace, without_fold: Sequence[FeatureSpace], chosen_on: Sequence[np.ndarray], classes: int
) -> Spaces:
    """chosen_on: the rows of each fold's photos, (n of the fold, F + M). classes: K."""
    pairs = list(zip(without_fold, chosen_on, strict=True))
    scores = np.concatenate([space.scores(rows) for space, rows in pairs])
    return Spaces(whole, without_fold, scores, np.concatenate([space.answers(rows, classes) for space, rows in pairs]))


def make_folds(fold_of_photo: np.ndarray, numbers: Sequence[int], seed: int) -> Iterator[Fold]:
    """A fold for each of these numbers that has photos. fold_of_photo: integers, one per photo.

    No more photos are chosen on than choosing needs, so that memory does not grow with their number.
    """
    rng = np.random.default_rng(seed)
    for number in numbers:
        chosen_on = np.flatnonzero(fold_of_photo == number)
        fitted = np.flatnonzero(fold_of_photo != number)
        if len(chosen_on) and len(fitted):
            yield Fold(fitted, at_most(MAX_PHOTOS // len(numbers), chosen_on, rng))


def at_most(count: int, photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The photos, or so many random ones of them, in their order."""
    return photos if len(photos) <= count else np.sort(rng.permutation(photos)[:count])


def weigh_classes(labels: np.ndarray, classes: int, *, balanced: bool) -> np.ndarray:
    """How much a photo of each class counts, float32 (K,): all 1, or such that every class counts the same."""
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1)) if balanced else np.ones(classes)
    return weights.astype(np.float32)


def fit_without_fold(
    examples: Examples,
    fold: Fold,
    features: int,
    settings: HeadSettings,
    seed: int,
    curves: Curves | None = None,
) -> tuple[Head, int]:
    """As `fit_head`: the fold decides when to stop."""
    fitted, chosen_on = replace(examples, photos=fold.fitted), replace(examples, photos=fold.chosen_on)
    return fit_head(fitted, chosen_on, features, settings, seed, curves=curves)


def calibrate(head: Head, logits: np.ndarray, labels: np.ndarray, answers: np.ndarray | None) -> Calibration:
    """Fit the temperature and, if there are answers, the weight of the votes.

    logits, answers: each photo's by a head and a space fitted without it, (n, K). labels: class indices, (n,).
    """
    if answers is None:
        temperature, vote_weight = fit_temperature(logits, labels), 0.0
        probabilities = softmax(logits / temperature)
    else:
        temperature, vote_weight = fit_votes(logits, answers, labels)
        probabilities = softmax(logits / temperature + vote_weight * answers)
    loss = cross_entropy(probabilities, labels)
    return Calibration(head.with_temperature(temperature), vote_weight, temperature, loss, probabilities)


def photo_losses(head: Head, examples: Examples, photos: np.ndarray) -> np.ndarray:
    """Each photo's cross-entropy, in nats, (len(photos),)."""
    probabilities = softmax(head_logits(head, examples, photos))
    return -np.log(probabilities[np.arange(len(photos)), examples.labels[photos]] + 1e-12)


def is_clear_gain(gains: np.ndarray) -> bool:
    """Whether leaving the views out is clearly better. gains: by how much each photo's loss falls, in nats, (n,)."""
    error = float(gains.std()) / np.sqrt(len(gains))
    return bool(gains.mean() > max(_MIN_VIEW_GAIN, _MIN_VIEW_GAIN_ERRORS * error))
