"""The training story, top down: photos → check → features → a head for each cell → the run folder and its report."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edge_classify.errors import DataError
from edge_classify.images.photo import list_pictures, read_photo
from edge_classify.images.preprocessing import preprocess
from edge_classify.labels import UNKNOWN
from edge_classify.metrics import wilson_interval

from . import run_folder
from .backbone import Backbone
from .cache import open_cache
from .cell import CellJob, Settings, fit_cell, teacher_path
from .features import compute_features, compute_run_features
from .near_duplicates import collect_facts, find_twins
from .photo_check import PhotoCheck, check_photos, find_suspected_labels, write_check
from .photos import (
    HELD_OUT,
    STRANGER,
    TRAINING,
    VALIDATION,
    Photo,
    PhotoSet,
    check_classes,
    file_sha256,
    find_photos,
    fingerprint,
    split_photos,
)
from .weights import find_backbone
from .workers import in_processes


def train(
    root: Path,
    folder: Path,
    grid: Sequence[tuple[float, int]],
    settings: Settings,
    stranger_folders: Mapping[str, Path] | None = None,
) -> str:
    """Train a head for each (alpha, resolution) of `grid` on the photos in `root`; write the run to `folder`.

    stranger_folders: by name, folders of pictures that are none of the classes, to measure `unknown` on.
    Returns the held-out figures as a table. Raises DataError or UsageError.
    """
    found = find_photos(root, with_unknown=settings.unknown)
    backbones = find_backbones(grid, settings)
    run_folder.open_run_folder(folder)
    with open_cache() as database:
        photos, twins = sort_photos(database, root, found)
        strangers = _find_strangers(database, stranger_folders or {})
        compute_run_features(database, root, photos, strangers, backbones, settings.augmentation.keys())
        checked = _check(database, root, folder, photos, twins, backbones[-1], grid)
        print(checked.summary())
        print(photos.counts())

        jobs = [CellJob(backbone, root, folder, photos, strangers, settings) for backbone in backbones]
        entries = sorted(_fit_cells(jobs), key=lambda entry: (entry["alpha"], entry["resolution"]))
    calibration = _choose_calibration(photos, settings.seed)
    _write_prepared(folder, root, "calibration", calibration, backbones)
    _write_prepared(folder, root, "held_out", photos.of(HELD_OUT), backbones)
    index: run_folder.Index = {
        "labels": [*photos.labels, UNKNOWN] if settings.unknown else photos.labels,
        "cells": [{name: value for name, value in entry.items() if name not in ("curves", "key")} for entry in entries],
        "held_out_labels": [photo.label for photo in photos.of(HELD_OUT)],
        "calibration_labels": [photo.label for photo in calibration],
        "photos": {
            "fingerprint": fingerprint(photos.photos),
            "training": len(photos.of(TRAINING)),
            "validation": len(photos.of(VALIDATION)),
            "held_out": len(photos.of(HELD_OUT)),
            "skipped": photos.skipped,
            "files": [_photo_entry(photo, photos.labels) for photo in photos.photos],
        },
        "seed": settings.seed,
        # Only names: where a file lay is nobody's business in a model file.
        "arguments": {**asdict(settings), "weights": Path(settings.weights).name, "backbone": backbones[0].kind},
        "versions": run_folder.versions(),
    }
    run_folder.write_index(folder, index)
    from .report import write_report  # brings matplotlib, which the workers need not load

    write_report(folder, root, photos, entries, checked)
    return table(entries)


def check(root: Path, folder: Path, grid: Sequence[tuple[float, int]], settings: Settings) -> str:
    """Only look for what is wrong with the photos; writes `photo_check.json` and `.png`, returns a summary."""
    found = find_photos(root, with_unknown=settings.unknown)
    backbones = find_backbones(grid, settings)[:1]
    run_folder.open_run_folder(folder)
    with open_cache() as database:
        photos, twins = sort_photos(database, root, found)
        compute_features(database, root, photos.photos, backbones, lambda _: ("",))
        return _check(database, root, folder, photos, twins, backbones[0], grid).summary()


def _check(
    database: sqlite3.Connection,
    root: Path,
    folder: Path,
    photos: PhotoSet,
    twins: list[tuple[str, str]],
    backbone: Backbone,
    grid: Sequence[tuple[float, int]],
) -> PhotoCheck:
    """Check the photos, by the features of `backbone`, and write what was found into the run folder."""
    suspects = find_suspected_labels(database, backbone, photos)
    checked = check_photos(database, photos, twins, suspects, min(resolution for _, resolution in grid))
    write_check(folder, root, checked)
    return checked


def find_backbones(grid: Sequence[tuple[float, int]], settings: Settings) -> list[Backbone]:
    """A backbone for each cell, the costliest last; what weights fit only nearly is said. Raises UsageError."""
    backbones = [
        find_backbone(settings.backbone, settings.weights, alpha, resolution, seed=settings.seed)
        for alpha, resolution in sorted(grid, key=lambda cell: cell[0] * cell[1] ** 2)
    ]
    elsewhere = [backbone for backbone in backbones if backbone.trained_at not in (0, backbone.resolution)]
    if elsewhere:
        cells = ", ".join(f"{one.alpha} @ {one.resolution} from {one.trained_at}" for one in elsewhere)
        print(f"weights pretrained at another resolution are used for: {cells}", file=sys.stderr)
    return backbones


def sort_photos(database: sqlite3.Connection, root: Path, found: PhotoSet) -> tuple[PhotoSet, list[tuple[str, str]]]:
    """Look at all photos and give each its part; returns them, without what cannot be read, and the twins."""
    unreadable = collect_facts(database, {photo.sha256: root / photo.path for photo in found.photos})
    for line in [*found.skipped, *unreadable.values()]:
        print(f"skipped {line}", file=sys.stderr)
    readable = tuple(photo for photo in found.photos if photo.sha256 not in unreadable)
    twins = find_twins(database, {photo.sha256 for photo in readable})
    skipped = (*found.skipped, *unreadable.values())
    photos = split_photos(replace(found, photos=readable, skipped=skipped), twins)
    check_classes(photos)
    return photos, twins


def _find_strangers(database: sqlite3.Connection, folders: Mapping[str, Path]) -> dict[str, tuple[Photo, ...]]:
    strangers = {}
    for name, folder in folders.items():
        pictures = list_pictures(folder) if folder.is_dir() else []
        if not pictures:
            raise DataError(f"--strangers {folder}: no pictures in it")
        photos = [Photo(path.absolute(), STRANGER, file_sha256(path), HELD_OUT) for path in pictures]
        unreadable = collect_facts(database, {photo.sha256: photo.path for photo in photos})
        strangers[name] = tuple(photo for photo in photos if photo.sha256 not in unreadable)
    return strangers


def _fit_cells(jobs: Sequence[CellJob]) -> list[dict[str, Any]]:
    """Fit all cells, in all cores where there are several; with a teacher that one first."""
    # The costliest first: at the end no core waits long for another.
    rounds = [list(jobs[::-1])]
    if jobs[0].settings.distill:
        teacher, *others = rounds[0]
        rounds = [[teacher], [replace(job, teacher=teacher_path(teacher)) for job in others]]
    entries = []
    with tqdm(total=len(jobs), desc="heads", unit="cell") as progress:
        for waiting in rounds:
            for entry in in_processes(fit_cell, waiting):
                entries.append(entry)
                progress.update()
    return entries


def _write_prepared(
    folder: Path, root: Path, part: str, photos: Sequence[Photo], backbones: Sequence[Backbone]
) -> None:
    """Write the photos as the device would see them, at each resolution; each is decoded once."""
    with ExitStack() as files:
        prepared = {
            side: (
                np.empty((side, side, 3), np.uint8),
                files.enter_context(
                    run_folder.prepared_file(folder / "prepared" / f"{side}_{part}.npy", len(photos), side)
                ),
            )
            for side in sorted({backbone.resolution for backbone in backbones})
        }
        for photo in photos:
            picture = read_photo(root / photo.path)
            for image, append in prepared.values():
                append(preprocess(picture, image))


def _choose_calibration(photos: PhotoSet, seed: int) -> list[Photo]:
    """Training photos for quantization: as many of each class as the smallest has, some 200 at most in all."""
    rng = np.random.default_rng(seed)
    classes = len(photos.labels)
    members: list[list[Photo]] = [[] for _ in range(classes)]
    for photo in photos.of(TRAINING):
        members[photo.label].append(photo)
    each = max(1, min(run_folder.CALIBRATION_PHOTOS // classes, *(len(group) for group in members)))
    return [group[index] for group in members for index in sorted(rng.permutation(len(group))[:each])]


def _photo_entry(photo: Photo, labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "path": photo.path.as_posix(),
        "label": labels[photo.label] if photo.label != STRANGER else UNKNOWN,
        "sha256": photo.sha256,
        "part": photo.part,
    }


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The figures of each cell on held-out photos, with the accuracy's 95 % interval."""
    first = entries[0]["evaluation"]
    lines = [f"on {first['photos']} held-out photos ({first['held_out']}), on which nothing was chosen:"]
    lines.append("  alpha  resolution  accuracy   95 % interval   kept  parameters  multiply-adds  seconds")
    for entry in entries:
        figures = entry["evaluation"]
        low, high = wilson_interval(figures["accuracy"], figures["photos"])
        lines.append(
            f"  {entry['alpha']:<5}  {entry['resolution']:>10}  {figures['accuracy']:8.1%}  "
            f"{low:6.1%} – {high:6.1%}  {figures['kept']:5.1%}  {entry['parameters'] / 1e6:8.2f} M  "
            f"{entry['multiply_adds'] / 1e6:11.1f} M  {entry['seconds']:7.1f}"
        )
    kept_frozen = [entry for entry in entries if not entry["evaluation"].get("fine_tuned", True)]
    if kept_frozen:
        cells = ", ".join(f"{entry['alpha']} @ {entry['resolution']}" for entry in kept_frozen)
        lines.append(f"fine-tuning was no better on the photos for choosing, so the backbone stayed frozen: {cells}")
    return "\n".join(lines)
