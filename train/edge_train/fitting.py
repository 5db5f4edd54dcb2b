"""Fitting one cell: heads on the frozen backbone, then, also for a fine-tuned one, temperature and `unknown`.

Every choice is made on photos that what is chosen was not fitted on: each fold of the training photos in turn, or the
user's own validation photos. Held-out photos play no part here.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_classify.learn.cross_validation import (
    VIEW_FOLDS,
    Calibration,
    Fold,
    Spaces,
    at_most,
    calibrate,
    fit_without_fold,
    is_clear_gain,
    judge_spaces,
    make_folds,
    photo_losses,
    weigh_classes,
)
from edge_classify.learn.head import Curves, Examples, Head, fit_head, head_logits
from edge_classify.learn.open_set import (
    MAX_PHOTOS,
    FeatureSpace,
    OpenSet,
    fit_direction,
    fit_feature_space,
    fit_open_set,
)
from edge_classify.learn.photos.folds import FOLDS
from edge_classify.learn.photos.made_negatives import BLANKS
from edge_classify.learn.photos.photo_set import TRAINING, VALIDATION
from edge_classify.model.answers import Answers, pack

from .backbone import Backbone
from .features import gather_features, read_cost
from .photo_columns import as_columns
from .settings import FINE_TUNING_PHOTOS
from .training_run import CellJob

# A part of a SHA-256 that no two runs on one machine share by chance.
_FINGERPRINT_DIGITS = 16


@dataclass(frozen=True)
class Fit:
    """A head and its backbone, and the same fitted without each fold, for choosing on it.

    features: how many numbers of a row are the head's.
    examples: the photos that the head was fitted on, with the backbone's features.
    fold_fits: of each of `folds`; these have no folds themselves.
    tuned_share: how far the backbone's weights went from the frozen ones to the tuned ones, 0 to 1.
    """

    backbone: Backbone
    features: int
    head: Head
    examples: Examples
    curves: Curves
    folds: Sequence[Fold] = ()
    fold_fits: Sequence[Fit] = ()
    tuned_share: float = 0.0


def fit_frozen(job: CellJob, database: sqlite3.Connection) -> Fit:
    """Fit heads on the frozen backbone's features: one without each fold, and one on all photos.

    The last is fitted for as many epochs as were best on average without a fold. If the user gave validation photos,
    these are the only fold, and the head fitted without them is the result.
    """
    settings = job.run.settings
    features = read_cost(database, job.backbone).features
    examples = _gather_examples(job, database)
    folds = list(_find_folds(job, settings.seed))
    fold_fits, best_epochs = zip(*(_fit_without_fold(job, examples, fold, features) for fold in folds), strict=True)
    head = fold_fits[0].head
    if not job.run.photos.of(VALIDATION):
        epochs = max(1, round(float(np.mean(best_epochs))))
        head, _ = fit_head(examples, None, features, job.run.head, settings.seed, epochs)
    return Fit(job.backbone, features, head, examples, fold_fits[0].curves, folds, fold_fits)


def views_do_harm(job: CellJob, database: sqlite3.Connection, fit: Fit) -> bool:
    """Whether heads fitted without augmented views are clearly better than those of `fit`, on photos not fitted on.

    Views help with photos taken anywhere. Of a still camera, or of things with a left and a right, they may show what
    the camera never will, or cut the thing out.
    """
    if not job.run.settings.augmentation.auto or fit.examples.views == 1:
        return False
    without = _gather_examples(job.without_views(), database)
    gains = []
    for fold, fold_fit in list(zip(fit.folds, fit.fold_fits, strict=True))[:VIEW_FOLDS]:
        fit_without, _ = _fit_without_fold(job, without, fold, fit.features)
        losses = photo_losses(fold_fit.head, fold_fit.examples, fold.chosen_on)
        gains.append(losses - photo_losses(fit_without.head, fit_without.examples, fold.chosen_on))
    return is_clear_gain(np.concatenate(gains))


def _gather_examples(job: CellJob, database: sqlite3.Connection) -> Examples:
    settings = job.run.settings
    photos = as_columns(job.run.photos).of(TRAINING, VALIDATION)
    labels = photos.labels.astype(np.int64)
    views = settings.augmentation.keys()
    return Examples(
        rows=gather_features(database, job.backbone, photos, views),
        views=len(views),
        photos=np.arange(len(photos)),
        labels=labels,
        weights=weigh_classes(labels, len(job.run.photos.labels), balanced=settings.class_weights == "balanced"),
    )


def _fit_without_fold(job: CellJob, examples: Examples, fold: Fold, features: int) -> tuple[Fit, int]:
    """The fit, and the number of epochs that was best."""
    curves = Curves()
    head, epochs = fit_without_fold(examples, fold, features, job.run.head, job.run.settings.seed, curves)
    return Fit(job.backbone, features, head, replace(examples, photos=fold.fitted), curves), epochs


def calibrate_fit(fit: Fit, spaces: Spaces | None) -> Calibration:
    """Fit temperature and votes on the folds' photos, each scored by what was fitted without it.

    spaces: of `fit_spaces`; None without an `unknown` output.
    """
    logits = np.concatenate(
        [
            head_logits(fold_fit.head, fold_fit.examples, fold.chosen_on)
            for fold, fold_fit in zip(fit.folds, fit.fold_fits, strict=True)
        ]
    )
    labels = np.concatenate([fit.examples.labels[fold.chosen_on] for fold in fit.folds])
    return calibrate(fit.head, logits, labels, None if spaces is None else spaces.answers)


def validate(job: CellJob, fit: Fit, calibration: Calibration) -> Answers:
    """Which of the photos chosen on get their class, each from a head that was fitted without it.

    `unknown` is left aside: its limits are such that every cell keeps the same share of these photos, so it would add
    the same number of mistakes to all cells, but to others of the photos, and hide which cell is better.

    With fine-tuning these are the photos of `folds_to_tune` in every cell, also where the backbone stayed frozen.
    """
    folds = folds_to_tune(fit.folds) if job.run.settings.fine_tune else fit.folds
    order = np.concatenate([fold.chosen_on for fold in folds])
    labels = fit.examples.labels[order]
    photos = job.run.photos.of(TRAINING, VALIDATION)
    contents = "\n".join(f"{photos[index].sha256} {photos[index].label}" for index in order)
    fingerprint = hashlib.sha256(contents.encode()).hexdigest()[:_FINGERPRINT_DIGITS]
    return pack(fingerprint, calibration.probabilities[: len(order)].argmax(axis=1) == labels)


def fit_spaces(job: CellJob, database: sqlite3.Connection, fit: Fit) -> Spaces:
    """Fit the feature space of all photos and those without a fold, away from pictures in `unknown/` if there are."""
    seed, negatives = job.run.settings.seed, job.run.photos.negatives(TRAINING)[:MAX_PHOTOS]

    def space_of(part: Fit) -> FeatureSpace:
        photos = at_most(MAX_PHOTOS, part.examples.photos, np.random.default_rng(seed))
        space = fit_space(job, part, photos, read_blanks(database, part))
        if not negatives:
            return space
        negative_rows = gather_features(database, part.backbone, negatives).read(range(len(negatives)))
        return fit_direction(space, part.examples.read(photos), negative_rows)

    chosen_on = [part.examples.read(fold.chosen_on) for fold, part in zip(fit.folds, fit.fold_fits, strict=True)]
    without_fold = [space_of(part) for part in fit.fold_fits]
    return judge_spaces(space_of(fit), without_fold, chosen_on, len(job.run.photos.labels))


def fit_unknown(job: CellJob, fit: Fit, spaces: Spaces, calibration: Calibration) -> OpenSet:
    """Fit the limits of the `unknown` output: from the scores of photos that spaces and heads were not fitted on."""
    confidences = calibration.probabilities.max(axis=1)
    return fit_open_set(spaces.whole, spaces.scores, confidences, job.run.keep, _find_blocks(job, fit))


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


def fit_space(job: CellJob, fit: Fit, photos: np.ndarray, blanks: np.ndarray) -> FeatureSpace:
    """The feature space of these photos, indices, in all their views. blanks: of `read_blanks`."""
    examples = fit.examples
    rows, labels = examples.read_views(photos), examples.labels[photos]
    seed, one_scene = job.run.settings.seed, job.run.photos.still_camera
    return fit_feature_space(rows, labels, fit.features, seed, examples.views, blanks, one_scene)


def folds_to_tune(folds: Sequence[Fold]) -> Sequence[Fold]:
    """The first of the folds that together have enough photos to judge on: tuning without each of many takes long."""
    counts = np.cumsum([len(fold.chosen_on) for fold in folds])
    return folds[: int(np.searchsorted(counts, FINE_TUNING_PHOTOS)) + 1]


def _find_folds(job: CellJob, seed: int) -> Iterator[Fold]:
    """The user's own validation photos if there are any; otherwise each fifth of the training photos in turn."""
    photos = as_columns(job.run.photos).of(TRAINING, VALIDATION)
    return make_folds(photos.folds, [-1] if photos.within(VALIDATION).any() else range(FOLDS), seed)
