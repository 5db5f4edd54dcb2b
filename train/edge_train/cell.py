"""One cell, from cached features to a measured head: fit, choose on photos not fitted on, measure on those held out."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_classify.learn.head import (
    Curves,
    Examples,
    Head,
    HeadSettings,
    calibrated_loss,
    cross_entropy,
    fit_head,
    fit_temperature,
    head_logits,
    share_right,
    softmax,
)
from edge_classify.learn.open_set import (
    MOST_PHOTOS,
    SHAPE_CONSTANTS,
    Space,
    Unknown,
    fit_direction,
    fit_space,
    fit_unknown,
    with_unknown,
)
from edge_classify.learn.rows import Rows
from edge_classify.metrics import auroc, evaluate, fpr_at_tpr
from edge_classify.system.atomic_write import write_atomic

from . import run_folder
from .backbone import Backbone, BackboneCost, copy_weights
from .cache import cache_folder, open_cache
from .features import compute_run_features, gather_features, read_size
from .photos import FOLDS, HELD_OUT, TRAINING, VALIDATION, Photo, PhotoSet, file_sha256, fingerprint
from .views import Augmentation


@dataclass(frozen=True)
class Settings:
    """How to train.

    backbone, weights: see `find_backbone`.
    class_weights: "balanced" (every class counts the same) or "none" (every photo does).
    fine_tune: epochs for which the backbone is trained too; 0 leaves it frozen.
    distill: cells learn from the soft labels of the run's largest.
    unknown: fit an output for pictures of none of the classes.
    keep: the share of the classes' own pictures that shall not be called unknown.
    """

    backbone: str = "mobilenet_v2"
    weights: str = "imagenet"
    augmentation: Augmentation = field(default_factory=Augmentation)
    head: HeadSettings = field(default_factory=HeadSettings)
    class_weights: str = "balanced"
    fine_tune: int = 0
    distill: bool = False
    unknown: bool = True
    keep: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class CellJob:
    """All that fitting a cell needs, so that it can be done in a process of its own.

    strangers: folders of pictures that are none of the classes, by name: measured on, never fitted on.
    teacher: where the soft labels lie that it shall learn from, if it shall.
    """

    backbone: Backbone
    root: Path
    folder: Path
    photos: PhotoSet
    strangers: Mapping[str, tuple[Photo, ...]]
    settings: Settings
    teacher: Path | None = None

    @property
    def name(self) -> str:
        return f"{self.backbone.alpha}_{self.backbone.resolution}"

    @property
    def key(self) -> str:
        """What the result depends on: a cell with this key need not be fitted again."""
        settings = {**asdict(self.settings), "weights": self.backbone.sha256, "backbone": self.backbone.kind}
        teacher = file_sha256(self.teacher) if self.teacher else ""
        strangers = {name: fingerprint(photos) for name, photos in self.strangers.items()}
        parts = [fingerprint(self.photos.photos), self.photos.labels, settings, strangers, teacher, run_folder.FORMAT]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Fold:
    """Photos to fit on and photos to choose on: indices into the cell's photos."""

    fitted: np.ndarray
    chosen_on: np.ndarray


@dataclass(frozen=True)
class _Fitted:
    """A head and its backbone, and the heads fitted without each fold, for choosing on it.

    examples: the photos that the head was fitted on, with the backbone's features.
    """

    backbone: Backbone
    head: Head
    examples: Examples
    folds: Sequence[_Fold]
    fold_heads: Sequence[Head]
    curves: Curves


def fit_cell(job: CellJob) -> dict[str, Any]:
    """Fit and measure one cell: its arrays go to the run folder; its entry in run.json is returned, and kept there.

    A cell that is there already, from the same photos and settings, is not fitted again.
    """
    path = job.folder / "heads" / f"{job.name}.json"
    key = job.key
    if path.exists():
        entry: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if entry.get("key") == key:
            return entry
    began = time.perf_counter()
    with open_cache() as database:
        entry = _fit(job, database)
    entry |= {"key": key, "seconds": round(time.perf_counter() - began, 2)}
    write_atomic(path, json.dumps(entry, indent=1))
    return entry


def _fit(job: CellJob, database: sqlite3.Connection) -> dict[str, Any]:
    settings = job.settings
    size = read_size(database, job.backbone)
    held_out_photos = job.photos.of(HELD_OUT)
    truth = np.array([photo.label for photo in held_out_photos])
    fitted = _fit_frozen(job, database, size)
    frozen: dict[str, Any] = {}
    if settings.fine_tune:
        rows = gather_features(database, job.backbone, held_out_photos)
        frozen = {"frozen_accuracy": share_right(_probabilities(fitted.head, None, rows), truth)}
        fitted = _fine_tune(job, database, fitted)
        frozen["fine_tuned"] = fitted.backbone != job.backbone
    backbone, examples, folds = fitted.backbone, fitted.examples, fitted.folds

    chosen_on = np.concatenate([fold.chosen_on for fold in folds])
    logits = np.concatenate(
        [
            head_logits(fold_head, examples, fold.chosen_on)
            for fold_head, fold in zip(fitted.fold_heads, folds, strict=True)
        ]
    )
    labels = examples.labels[chosen_on]
    temperature = fit_temperature(logits, labels)
    head = fitted.head.with_temperature(temperature)
    calibrated = softmax(logits / temperature)
    arrays = {"kernel": head.kernel, "bias": head.bias}
    decision: dict[str, Any] = {
        "temperature": round(temperature, 4),
        "chosen_on": len(chosen_on),
        "choosing_loss": round(cross_entropy(calibrated, labels), 6),
    }
    unknown = None
    if settings.unknown:
        strangers = gather_features(database, backbone, job.photos.strangers(TRAINING))
        unknown = _fit_unknown(fitted, calibrated.max(axis=1), strangers, size, settings)
        arrays |= unknown.space.arrays()
        decision |= {
            "keep": settings.keep,
            "features": size.features,
            "dimensions": len(unknown.space.basis),
            "prototypes": len(unknown.space.prototypes),
            "sharpness": unknown.sharpness.tolist(),
            "threshold": unknown.threshold.tolist(),
            **SHAPE_CONSTANTS,
        }

    probabilities = _probabilities(head, unknown, gather_features(database, backbone, held_out_photos))
    in_model = list(arrays.values())
    arrays["held_out_probabilities"] = probabilities
    sets = {"unknown/": tuple(job.photos.strangers(HELD_OUT)), **job.strangers} if unknown else {}
    strange = {
        name: _probabilities(head, unknown, gather_features(database, backbone, pictures))
        for name, pictures in sets.items()
        if pictures
    }
    arrays |= {f"strangers:{name}": outputs[:, -1] for name, outputs in strange.items()}
    evaluation = {
        **evaluate(probabilities, truth, job.photos.labels),
        **frozen,
        "held_out": job.photos.held_out_name,
        "strangers": {name: _measure_strangers(probabilities, outputs) for name, outputs in strange.items()},
    }
    if unknown and fitted.backbone == job.backbone and 3 <= len(job.photos.labels) <= _MOST_LEFT_OUT:
        evaluation["left_out_classes"] = _leave_out_classes(job, examples, size)
    path = job.folder / "heads" / f"{job.name}.npz"
    run_folder.write_arrays(path, arrays)
    _write_teacher(job, examples, head)
    weights = copy_weights(backbone, job.folder / "weights")
    return {
        "alpha": backbone.alpha,
        "resolution": backbone.resolution,
        "backbone": backbone.kind,
        "parameters": size.parameters + sum(int(array.size) for array in in_model),
        "multiply_adds": size.multiply_adds + sum(int(array.size) for array in in_model if array.ndim == 2),
        "head": path.relative_to(job.folder).as_posix(),
        "weights": weights.relative_to(job.folder).as_posix(),
        "weights_name": job.backbone.name,
        "weights_sha256": job.backbone.sha256,
        "decision": decision,
        "evaluation": evaluation,
        "curves": asdict(fitted.curves),
    }


_MOST_LEFT_OUT = 12


def _find_folds(photos: Sequence[Photo], seed: int) -> Iterator[_Fold]:
    """Where photos are given for choosing, these; else each fifth of the training photos in turn.

    Choosing takes no more photos than tell it enough, so that memory does not grow with their number.
    """
    rng = np.random.default_rng(seed)
    given = np.array([photo.part == VALIDATION for photo in photos])
    folds = np.array([photo.fold for photo in photos])
    numbers = [-1] if given.any() else range(FOLDS)
    for number in numbers:
        chosen_on = np.flatnonzero(folds == number)
        fitted = np.flatnonzero(folds != number)
        if len(chosen_on) and len(fitted):
            yield _Fold(fitted, _at_most(MOST_PHOTOS // len(numbers), chosen_on, rng))


def _at_most(most: int, photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return photos if len(photos) <= most else np.sort(rng.permutation(photos)[:most])


def _fit_frozen(job: CellJob, database: sqlite3.Connection, size: BackboneCost) -> _Fitted:
    """Fit heads on the frozen backbone's features: without each fold, and on all photos.

    The last is fitted for as many epochs as were best without each fold; where photos are given for choosing there
    is one fold, and its head is the one.
    """
    settings = job.settings
    photos = job.photos.of(TRAINING, VALIDATION)
    labels = np.array([photo.label for photo in photos])
    views = settings.augmentation.keys()
    examples = Examples(
        rows=gather_features(database, job.backbone, photos, views),
        views=len(views),
        photos=np.arange(len(photos)),
        labels=labels,
        weights=_class_weights(labels, len(job.photos.labels), settings.class_weights),
        soft=_read_teacher(job.teacher) if job.teacher else None,
    )
    folds = list(_find_folds(photos, settings.seed))
    fits = [
        fit_head(
            replace(examples, photos=fold.fitted),
            replace(examples, photos=fold.chosen_on),
            size.features,
            settings.head,
            settings.seed,
        )
        for fold in folds
    ]
    heads, best_epochs, curves = zip(*fits, strict=True)
    head = heads[0]
    if not job.photos.of(VALIDATION):
        epochs = max(1, round(float(np.mean(best_epochs))))
        head, _, _ = fit_head(examples, None, size.features, settings.head, settings.seed, epochs)
    return _Fitted(job.backbone, head, examples, folds, heads, curves[0])


def _fine_tune(job: CellJob, database: sqlite3.Connection, frozen: _Fitted) -> _Fitted:
    """Train the backbone too, on all photos but the first fold, which is chosen on; kept if it is better there.

    Not on all photos again: how sure such a network is of photos that it has not seen would be guesswork.
    """
    from .fine_tuning import fine_tune  # brings TensorFlow

    settings, fold = job.settings, frozen.folds[0]
    photos = job.photos.of(TRAINING, VALIDATION)
    tuned = fine_tune(
        job.backbone,
        frozen.fold_heads[0],
        replace(frozen.examples, photos=fold.fitted),
        root=job.root,
        photos=photos,
        chosen_on=fold.chosen_on,
        folder=job.folder / "weights",
        epochs=settings.fine_tune,
        settings=settings.head,
        augmentation=settings.augmentation,
        seed=settings.seed,
    )
    logits = head_logits(frozen.fold_heads[0], frozen.examples, fold.chosen_on)
    if min(tuned.curves.validation_loss) >= calibrated_loss(logits, frozen.examples.labels[fold.chosen_on]):
        tuned.backbone.weights.unlink()
        return frozen
    views = settings.augmentation.keys()
    compute_run_features(database, job.root, job.photos, job.strangers, [tuned.backbone], views)
    rows = gather_features(database, tuned.backbone, photos, views)
    examples = replace(frozen.examples, rows=rows, photos=fold.fitted)
    return _Fitted(tuned.backbone, tuned.head, examples, [fold], [tuned.head], tuned.curves)


def _class_weights(labels: np.ndarray, classes: int, choice: str) -> np.ndarray:
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1)) if choice == "balanced" else np.ones(classes)
    return weights.astype(np.float32)


def _fit_unknown(
    fitted: _Fitted, confidences: np.ndarray, strangers: Rows, size: BackboneCost, settings: Settings
) -> Unknown:
    """The space of all photos, fitted to how photos score that their space has not seen."""
    strange = strangers.read(range(min(len(strangers), MOST_PHOTOS)))
    examples = fitted.examples

    def space_of(photos: np.ndarray) -> Space:
        photos = _at_most(MOST_PHOTOS, photos, np.random.default_rng(settings.seed))
        space = _space_of(photos, examples, size, settings.seed)
        return fit_direction(space, examples.read(photos), strange) if len(strange) else space

    scores = np.concatenate([space_of(fold.fitted).scores(examples.read(fold.chosen_on)) for fold in fitted.folds])
    return fit_unknown(space_of(examples.photos), scores, confidences, settings.keep)


def _space_of(photos: np.ndarray, examples: Examples, size: BackboneCost, seed: int) -> Space:
    return fit_space(examples.read_views(photos), examples.labels[photos], size.features, seed, examples.views)


def _probabilities(head: Head, unknown: Unknown | None, rows: Rows) -> np.ndarray:
    """float32 (n, K), or (n, K + 1) with `unknown`."""
    outputs = []
    for start in range(0, len(rows), 1024):
        part = rows.read(range(start, min(start + 1024, len(rows))))
        probabilities = head.probabilities(part)
        outputs.append(with_unknown(probabilities, unknown.known(part)) if unknown else probabilities)
    return np.concatenate(outputs).astype(np.float32)


def _measure_strangers(own: np.ndarray, strange: np.ndarray) -> dict[str, Any]:
    """How well `unknown` tells strangers from held-out photos of the classes."""
    return {
        "pictures": len(strange),
        "auroc": auroc(1 - own[:, -1], 1 - strange[:, -1]),
        "accepted_at_95_kept": fpr_at_tpr(1 - own[:, -1], 1 - strange[:, -1], keep=0.95),
        "accepted": float((strange.argmax(axis=1) < strange.shape[1] - 1).mean()),
    }


def _leave_out_classes(job: CellJob, examples: Examples, size: BackboneCost) -> dict[str, float]:
    """For each class: how well photos of it would be told from the others', had it not been trained on (AUROC)."""
    folds = np.arange(len(examples.labels)) % FOLDS
    figures = {}
    for index, label in enumerate(job.photos.labels):

        def rows(chosen: np.ndarray) -> np.ndarray:
            return examples.read(np.flatnonzero(chosen)[:MOST_PHOTOS])

        others = examples.labels != index
        space = _space_of(np.flatnonzero(others & (folds > 1))[:MOST_PHOTOS], examples, size, job.settings.seed)
        scores = space.scores(rows(others & (folds == 1)))
        unknown = fit_unknown(space, scores, np.ones(len(scores)), job.settings.keep)
        figures[label] = auroc(unknown.known(rows(others & (folds == 0))), unknown.known(rows(~others)))
    return figures


def teacher_path(job: CellJob) -> Path:
    """Where a cell's soft labels for its photos lie."""
    return job.folder / "heads" / f"{job.name}_soft_labels.npy"


def _write_teacher(job: CellJob, examples: Examples, head: Head) -> None:
    if not job.settings.distill or job.teacher:
        return
    labels = softmax(head_logits(head, examples, np.arange(len(examples.labels))))
    run_folder.write_array(teacher_path(job), labels.astype(np.float32))


def _read_teacher(path: Path) -> Rows:
    labels = np.load(path, mmap_mode="r")
    rows = Rows(cache_folder(), labels.shape[1:], np.float32)
    for row in labels:
        rows.append(row)
    return rows
