"""The training story, top down: photos → features → a head for each cell → the run folder."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edge_classify.errors import DataError
from edge_classify.evaluation import evaluate
from edge_classify.model_file import UNKNOWN

from . import run_folder
from .backbone import copy_weights, feature_function, find_weights
from .features import cache_folder, photo_features, read_prepared
from .head import fit_head
from .photos import Photo, check_classes, find_photos, fingerprint
from .unknown import fit_unknown, fold_numbers, with_unknown

_CALIBRATION_PHOTOS = 200


@dataclass(frozen=True)
class Settings:
    """How to train.

    weights: see `backbone.find_weights`.
    unknown: fit an output for pictures of none of the classes.
    keep: the share of the classes' own pictures that shall not be called unknown.
    """

    weights: str = "imagenet"
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 3e-4
    unknown: bool = True
    keep: float = 0.97
    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One width and resolution, and the backbone for it."""

    alpha: float
    resolution: int
    weights: Path
    weights_sha256: str

    @property
    def name(self) -> str:
        return f"{self.alpha}_{self.resolution}"


def train(root: Path, folder: Path, grid: Sequence[tuple[float, int]], settings: Settings) -> str:
    """Train a head for each (alpha, resolution) of `grid` on the photos in `root`; write the run to `folder`.

    Returns the held-out accuracies as a table. Raises DataError or UsageError.
    """
    labels, photos, skipped = find_photos(root, with_unknown=settings.unknown)
    cells = [_find_cell(alpha, resolution, settings) for alpha, resolution in grid]
    run_folder.open_run_folder(folder)

    features = {}
    for cell in cells:
        make_function = partial(feature_function, cell.weights, cell.alpha, cell.resolution)
        description = f"features {cell.alpha} @ {cell.resolution}"
        features[cell], unreadable = photo_features(
            root, photos, cell.resolution, cell.weights_sha256, cache_folder(), make_function, description
        )
        photos = [photo for photo in photos if photo.sha256 in features[cell]]
        skipped += unreadable
    for line in skipped:
        print(f"skipped {line}", file=sys.stderr)
    check_classes(labels, photos)
    training = [photo for photo in photos if not photo.held_out]
    held_out = [photo for photo in photos if photo.held_out]
    counts = f"{len(labels)} classes, {len(training)} photos to train on, {len(held_out)} held out"
    print(counts + (f", {len(skipped)} skipped" if skipped else ""))

    entries = [_fit_cell(cell, folder, labels, training, held_out, features[cell], settings) for cell in cells]
    calibration = _choose_calibration(training, len(labels), settings.seed)
    for resolution in sorted({cell.resolution for cell in cells}):
        for part, chosen in (("calibration", calibration), ("held_out", held_out)):
            images = (read_prepared(root, photo, resolution) for photo in chosen)
            path = folder / "prepared" / f"{resolution}_{part}.npy"
            run_folder.write_prepared(path, images, len(chosen), resolution)
    index = {
        "labels": [*labels, UNKNOWN] if settings.unknown else labels,
        "cells": entries,
        "held_out_labels": [photo.label for photo in held_out],
        "calibration_labels": [photo.label for photo in calibration],
        "photos": {
            "fingerprint": fingerprint(photos),
            "training": len(training),
            "held_out": len(held_out),
            "skipped": skipped,
            "files": [_photo_entry(photo, labels) for photo in photos],
        },
        "seed": settings.seed,
        # Of a weights file only its name: where it lay is nobody's business in a model file.
        "arguments": {**asdict(settings), "weights": Path(settings.weights).name},
        "versions": run_folder.versions(),
    }
    run_folder.write_index(folder, index)
    return _table(entries)


def _find_cell(alpha: float, resolution: int, settings: Settings) -> Cell:
    weights = find_weights(settings.weights, alpha, resolution, seed=settings.seed, cache=cache_folder())
    try:
        with weights.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{weights}: {error.strerror}") from error
    return Cell(alpha, resolution, weights, sha256)


def _fit_cell(
    cell: Cell,
    folder: Path,
    labels: tuple[str, ...],
    training: list[Photo],
    held_out: list[Photo],
    features: dict[str, np.ndarray],
    settings: Settings,
) -> dict[str, Any]:
    """Fit and measure one cell's head; its arrays go to the run folder, its entry in run.json is returned."""
    x, y = _stack(training, features)
    x_held_out, y_held_out = _stack(held_out, features)
    fit = partial(
        fit_head,
        classes=len(labels),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
    )
    with tqdm(total=settings.epochs, desc=f"head {cell.alpha} @ {cell.resolution}", unit="epoch") as progress:

        def report(loss: float) -> None:
            progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
            progress.update()

        head = fit(x, y, report=report)
    probabilities = head.probabilities(x_held_out)
    arrays = {"kernel": head.kernel, "bias": head.bias}
    decision: dict[str, Any] = {"temperature": 1.0}
    if settings.unknown:
        folds = fold_numbers(len(x), settings.seed)
        fold_heads = [fit(x[folds != fold], y[folds != fold]) for fold in range(folds.max() + 1)]
        unknown = fit_unknown(x, y, fold_heads, folds, keep=settings.keep, seed=settings.seed)
        probabilities = with_unknown(probabilities, unknown.known(x_held_out))
        arrays["prototypes"] = unknown.prototypes
        decision.update(
            keep=settings.keep,
            prototypes=len(unknown.prototypes),
            sharpness=unknown.sharpness,
            threshold=unknown.threshold,
        )
    arrays["held_out_probabilities"] = probabilities.astype(np.float32)
    path = folder / "heads" / f"{cell.name}.npz"
    run_folder.write_arrays(path, arrays)
    weights = copy_weights(cell.weights, folder / "weights", cell.weights_sha256)
    return {
        "alpha": cell.alpha,
        "resolution": cell.resolution,
        "head": path.relative_to(folder).as_posix(),
        "weights": weights.relative_to(folder).as_posix(),
        "weights_name": cell.weights.name,
        "weights_sha256": cell.weights_sha256,
        "decision": decision,
        "evaluation": evaluate(probabilities, y_held_out, labels),
    }


def _stack(photos: list[Photo], features: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Features, float32 (n, F), and labels, (n,), of the photos."""
    return np.stack([features[photo.sha256] for photo in photos]), np.array([photo.label for photo in photos])


def _choose_calibration(training: list[Photo], classes: int, seed: int) -> list[Photo]:
    """Training photos for quantization: as many of each class as the smallest has, some 200 at most in all."""
    rng = np.random.default_rng(seed)
    members = [[photo for photo in training if photo.label == label] for label in range(classes)]
    each = max(1, min(_CALIBRATION_PHOTOS // classes, *(len(photos) for photos in members)))
    return [photos[index] for photos in members for index in sorted(rng.permutation(len(photos))[:each])]


def _photo_entry(photo: Photo, labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "path": photo.path.as_posix(),
        "label": labels[photo.label],
        "sha256": photo.sha256,
        "held_out": photo.held_out,
    }


def _table(entries: list[dict[str, Any]]) -> str:
    has_unknown = "keep" in entries[0]["decision"]
    lines = ["held-out accuracy" + (", and the share not called unknown" if has_unknown else "")]
    for entry in entries:
        figures = entry["evaluation"]
        line = f"  {entry['alpha']:<4} @ {entry['resolution']:<3}  {figures['accuracy']:7.1%} of {figures['photos']}"
        lines.append(line + (f"  {figures['kept']:7.1%} kept" if has_unknown else ""))
    return "\n".join(lines)
