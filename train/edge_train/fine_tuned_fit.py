"""A cell's fit on a fine-tuned backbone: networks tuned without a fold show whether, and how far, tuning helps."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_classify.learn.head import Curves, accuracy, fit_temperature, softmax
from edge_classify.learn.photos.photo_set import TRAINING, VALIDATION

from .features import compute_run_features, forget_features, gather_features
from .fitting import Fit, folds_to_tune
from .settings import FINE_TUNING_SHARES, MIN_FINE_TUNING_GAIN_ERRORS
from .training_run import CellJob

if TYPE_CHECKING:
    from .fine_tuning import TunedWeights


def fit_fine_tuned(job: CellJob, database: sqlite3.Connection, frozen: Fit) -> Fit:
    """Train the backbone too; `frozen` if that is no better, on photos that the networks compared have not seen.

    Networks are tuned without a fold each. If they win there, one is tuned on all photos in the same way; if the user
    gave validation photos, the one tuned without them is the result. Temperature and `unknown` are to be fitted on the
    folds' photos by the folds' networks: what a network says of photos that it was tuned on says little of others.
    """
    from .fine_tuning import FineTuner  # brings TensorFlow

    examples, folds = frozen.examples, folds_to_tune(frozen.folds)
    starts = frozen.fold_fits[: len(folds)]
    tuner = FineTuner(job, len(examples.weights))
    tuned: list[tuple[TunedWeights, Curves]] = []
    for fold, start in zip(folds, starts, strict=True):
        drawn_from = None if tuned else fold.chosen_on  # the report shows one course
        tuned.append(tuner.train(start.head, start.examples, drawn_from))

    def mixed(start: Fit, weights: TunedWeights, share: float) -> TunedWeights:
        return tuner.start(start.head).towards(weights, share)

    def logits(share: float) -> np.ndarray:
        parts = zip(folds, starts, tuned, strict=True)
        return np.concatenate(
            [tuner.logits(mixed(start, weights, share), fold.chosen_on) for fold, start, (weights, _) in parts]
        )

    labels = examples.labels[np.concatenate([fold.chosen_on for fold in folds])]
    share = choose_share(logits(0), {share: logits(share) for share in FINE_TUNING_SHARES}, labels)
    if not share:
        return frozen

    def saved(start: Fit, weights: TunedWeights, folder: Path) -> Fit:
        weights = mixed(start, weights, share)
        return replace(start, backbone=tuner.save(weights, folder), head=weights.head, tuned_share=share)

    weights_folder = job.run.folder / "weights"
    if job.run.photos.of(VALIDATION):
        fold_fits = _with_features(job, database, [saved(starts[0], tuned[0][0], weights_folder)])
        fit = fold_fits[0]
    else:
        final = saved(frozen, tuner.train(frozen.head, examples)[0], weights_folder)
        with tempfile.TemporaryDirectory() as folder:
            fold_fits = [saved(start, weights, Path(folder)) for start, (weights, _) in zip(starts, tuned, strict=True)]
            fit, *fold_fits = _with_features(job, database, [final, *fold_fits])
    return replace(fit, curves=tuned[0][1], folds=folds, fold_fits=fold_fits)


def _with_features(job: CellJob, database: sqlite3.Connection, fits: Sequence[Fit]) -> list[Fit]:
    """The fits with the features of their own backbones."""
    compute_run_features(database, job.run, [fit.backbone for fit in fits])
    photos, views = job.run.photos.of(TRAINING, VALIDATION), job.run.settings.augmentation.keys()
    rows = [gather_features(database, fit.backbone, photos, views) for fit in fits]
    return [replace(fit, examples=replace(fit.examples, rows=own)) for fit, own in zip(fits, rows, strict=True)]


def forget_fold_networks(database: sqlite3.Connection, fit: Fit) -> None:
    """Remove from the cache what belongs to networks that were only tuned to judge and to calibrate by."""
    for backbone in {part.backbone for part in fit.fold_fits} - {fit.backbone}:
        forget_features(database, backbone)


def choose_share(frozen: np.ndarray, tuned: Mapping[float, np.ndarray], labels: np.ndarray) -> float:
    """How far to go from the frozen weights to the tuned ones: a key of `tuned`, or 0 for the frozen ones.

    frozen: logits of photos by networks that were fitted without them, (n, K). tuned: by share of the way, the same of
    the tuned ones. labels: class indices, (n,).

    Of the shares that recognise no fewer photos, and whose cross-entropy is lower by more than chance, the one with the
    lowest is taken, each at its best temperature.
    """
    before = _losses(frozen, labels)
    losses = {0.0: float(before.mean())}
    for share, logits in tuned.items():
        after = _losses(logits, labels)
        gains = before - after
        error = float(gains.std()) / np.sqrt(len(gains))
        better = gains.mean() > MIN_FINE_TUNING_GAIN_ERRORS * error
        if better and accuracy(logits, labels) >= accuracy(frozen, labels):
            losses[share] = float(after.mean())
    return min(losses, key=lambda share: losses[share])


def _losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each photo's cross-entropy in nats, (n,), at the temperature that is best for all."""
    probabilities = softmax(logits / fit_temperature(logits, labels))
    return -np.log(probabilities[np.arange(len(labels)), labels] + 1e-12)
