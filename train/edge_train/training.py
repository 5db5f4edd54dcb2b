"""The training story, top down: photos → check → features → a head for each cell → the run folder and its report."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_classify.errors import DataError, UsageError
from edge_classify.images.crop import Crop
from edge_classify.images.folder import list_pictures
from edge_classify.learn.metrics import wilson_interval
from edge_classify.learn.photos.bursts import join_groups, read_burst
from edge_classify.learn.photos.made_negatives import MAX_MADE_ACCEPTED
from edge_classify.learn.photos.near_duplicates import NearDuplicates, find_near_duplicates
from edge_classify.learn.photos.photo_set import (
    HELD_OUT,
    NEGATIVE,
    TRAINING,
    VALIDATION,
    Photo,
    check_folders,
    find_photos,
)
from edge_classify.model.labels import UNKNOWN
from edge_classify.system.checksum import file_sha256
from edge_classify.system.counted import counted
from edge_classify.system.nearest import or_nearest_path

from . import run_folder
from .backbone import HUB, RESOLUTIONS, Backbone, has_tensorflow, is_backbone_file, require_tensorflow
from .backbone_file import read_backbone_file
from .cache import open_cache
from .cell import fit_cell
from .choosing import accepts_too_much, best_cell, chosen_from, validation
from .cluster import Cluster
from .crop_search import find_crop
from .enough import learning_curve
from .features import compute_features, compute_run_features
from .folder_lock import hold_folder
from .photo_check import check_photos, write_check
from .photo_columns import ColumnPhotoSet, PhotoColumns, as_columns, compact
from .photo_facts import collect_facts, read_cached_facts
from .plan import make_plan
from .prepared_photos import choose_calibration, write_prepared
from .progress import show_progress
from .run_identity import claim_folder, is_of_other_photos
from .settings import AUTO, Settings
from .shards.finding import find_listed_photos
from .shards.source import PhotoSource
from .split import check_classes, split_photos
from .still_camera import is_still_camera, sort_by_time
from .training_run import CellJob, TrainingRun
from .weights import find_backbone
from .workers import Pool, in_processes

log = logging.getLogger(__name__)

Grid = Sequence[tuple[float, int]]
# Below this, a class left out of training is often taken for another.
_SURE_AUROC = 0.95


def train(
    root: Path | PhotoSource,
    folder: Path,
    grid: Grid,
    settings: Settings,
    negative_folders: Mapping[str, Path] | None = None,
    report: Callable[[str], None] = log.info,
    pool: Pool = in_processes,
) -> str:
    """Train a head for each (alpha, resolution) of `grid` on the photos in `root`; write the run to `folder`.

    negative_folders: by name, folders of pictures of none of the classes, to measure `unknown` on.
    report: is handed what is worth reading before the heads are fitted: the photo check and the number of photos.
    pool: where the work is done: in processes here, or on a cluster.
    Returns the held-out figures as a table. Raises DataError or UsageError.
    """
    check_source(root, settings)
    negative_paths = list_negatives(negative_folders or {})
    backbones = find_backbones(grid, settings)
    run_folder.check_run_folder(folder)
    with hold_folder(folder):
        run_folder.remove_leftovers(folder)
        with open_cache() as database:
            smallest = min(side for _, side in grid)
            photos, near_duplicates = sort_photos(database, root, settings, smallest, report, pool)
            settings = replace(settings, crop=photos.crop)
            negatives = read_negatives(database, negative_paths, photos.crop)
            run = TrainingRun(folder_of(root), folder, settings, backbones, photos, negatives)
            earlier = claim_folder(run)
            compute_run_features(database, run, run.backbones, pool)
            found = check_photos(database, run, near_duplicates, smallest)
        sheet = write_check(run, found)
        report(found.summary() + ("" if sheet is None else f"\n  to look at: {sheet}"))
        report(run.photos.counts())
        if earlier:
            cells = ", ".join(f"{entry['alpha']} @ {entry['resolution']}" for entry in earlier)
            report(f"cells of this run that stay as they are: {cells}")
        entries = sorted([*earlier, *fit_cells(run, pool)], key=lambda entry: (entry["alpha"], entry["resolution"]))
        from .report import write_report  # brings matplotlib, which the workers need not load

        write_report(run, entries, found)
        write_run(run, entries)
        run_folder.drop_replaced(folder)
    return results_table(entries)


def check(
    root: Path | PhotoSource,
    folder: Path,
    grid: Grid,
    settings: Settings,
    report: Callable[[str], None] = log.info,
    pool: Pool = in_processes,
) -> str:
    """Only look for problems with the photos; writes `photo_check.json` and `.html`, returns a summary.

    Without weights all is looked for that needs none. Nothing is written into a run of other photos.

    report: is handed the part of the photos that is used, if it had to be found. pool: as of `train`.
    """
    check_source(root, settings)
    backbones, why_none = _find_backbone_for_check(grid, settings)
    run_folder.check_run_folder(folder)
    with hold_folder(folder):
        with open_cache() as database:
            smallest = min(side for _, side in grid)
            photos, near_duplicates = sort_photos(database, root, settings, smallest, report, pool)
            try:
                wanted = ((photo, ("",)) for photo in photos.photos.as_stored())
                compute_features(database, folder_of(root), wanted, backbones, pool, len(photos.photos))
            except DataError as error:  # weights that do not fit
                backbones, why_none = (), str(error)
            run = TrainingRun(folder_of(root), folder, replace(settings, crop=photos.crop), backbones, photos)
            found = check_photos(database, run, near_duplicates, smallest)
        found = replace(found, why_no_suspects=why_none)
        if is_of_other_photos(folder, photos):
            whose = f"{folder} is a run of other photos, or of another part of them"
            return f"{found.summary()}\nnot written: {whose}: give another folder with -o"
        sheet = write_check(run, found)
    written = f"wrote {folder / 'photo_check.json'}"
    return f"{found.summary()}\n{written}" + ("" if sheet is None else f"; to look at: {sheet}")


def plan(root: Path | PhotoSource, grid: Grid, settings: Settings, cores: int) -> str:
    """What `train` would cost on so many cores, in words.

    Weights that cannot be had, as without a network, are taken for random ones. Raises DataError or UsageError.
    """
    check_source(root, settings)
    try:
        backbones = find_backbones(grid, settings)
    except DataError as error:
        if settings.backbone.startswith(HUB) or not has_tensorflow():
            raise
        log.warning("%s; planning with random weights, which take as long", error)
        backbones = find_backbones(grid, replace(settings, weights="none"))
    with open_cache() as database:
        return make_plan(database, root, settings, backbones).describe(cores)


def check_source(root: Path | PhotoSource, settings: Settings) -> None:
    """Raise DataError unless a folder has what `find_photos` takes. Shards and tables are opened only when read."""
    if isinstance(root, Path):
        check_folders(root, with_unknown=settings.unknown)


def folder_of(root: Path | PhotoSource) -> Path:
    """The folder of photos; of shards or a table, whose photos know their own places, only a name for the run."""
    return root if isinstance(root, Path) else Path(root.name)


def _find_backbone_for_check(grid: Grid, settings: Settings) -> tuple[tuple[Backbone, ...], str]:
    """The cheapest backbone of the grid; or none, and why."""
    try:
        return find_backbones(grid, settings)[:1], ""
    except DataError as error:
        return (), str(error)


def find_backbones(grid: Grid, settings: Settings) -> tuple[Backbone, ...]:
    """A backbone for each cell, the costliest last. Warns of weights of another resolution.

    Raises UsageError or DataError.
    """
    if settings.fine_tune:
        require_tensorflow("--fine-tune", "leave it out")
    backbones = tuple(
        find_backbone(settings.backbone, settings.weights, alpha, resolution, seed=settings.seed)
        for alpha, resolution in sorted(grid, key=lambda cell: cell[0] * cell[1] ** 2)
    )
    files = [backbone.name for backbone in backbones if is_backbone_file(backbone.weights)]
    if settings.fine_tune and files:
        raise UsageError(f"--fine-tune changes weights of Keras, which {files[0]} has not: give --weights imagenet")
    borrowed = [
        f"{backbone.alpha} @ {backbone.resolution} from {backbone.trained_at}"
        for backbone in backbones
        if backbone.trained_at not in (0, backbone.resolution)
    ]
    if borrowed:
        log.warning("using weights pretrained at another resolution for %s", ", ".join(borrowed))
    return backbones


def sort_photos(
    database: sqlite3.Connection,
    source: Path | PhotoSource,
    settings: Settings,
    resolution: int = min(RESOLUTIONS),
    report: Callable[[str], None] = log.info,
    pool: Pool = in_processes,
) -> tuple[ColumnPhotoSet, NearDuplicates]:
    """Find all photos, leave out what cannot be read, and split the rest; returns them and their near-duplicates.

    Each photo has the part of it that is used. If that is to be found, it has at least `resolution` pixels a side if
    possible, and `report` is handed a line about it. pool: as of `train`. Raises DataError.
    """
    if isinstance(source, Path):
        found = as_columns(find_photos(source, with_unknown=settings.unknown))
    else:
        found = find_listed_photos(database, source, pool, with_unknown=settings.unknown)
    root = folder_of(source)
    unreadable = collect_facts(database, root, found.photos, pool=pool)
    if unreadable:
        # Files of the same content are each named.
        skipped = (*found.skipped, *_unreadable_lines(root, found.photos, unreadable))
        readable = [index for index, photo in enumerate(found.photos) if photo.sha256 not in unreadable]
        found = replace(found, photos=found.photos.take(np.array(readable, np.intp)), skipped=skipped)
    for line in found.skipped:
        log.warning("skipped %s", line)
    crop = None if settings.crop == AUTO else settings.crop
    found = _cut(database, root, found, crop, pool)
    names = found.photos.contents.names
    read = partial(read_cached_facts, database, crop=crop)
    near_duplicates = find_near_duplicates(names, read(names), read)
    photos = _split(database, root, found, near_duplicates)
    photos = replace(photos, photos=photos.photos.without_times())
    check_classes(photos)
    if settings.crop == AUTO:
        photos = _cut(database, root, photos, find_crop(root, photos, resolution, report), pool)
    return photos, near_duplicates


def _cut(
    database: sqlite3.Connection, root: Path, photos: ColumnPhotoSet, crop: Crop | None, pool: Pool
) -> ColumnPhotoSet:
    """The photos, of which only this part is used; the facts of it are read."""
    if crop is not None:
        collect_facts(database, root, photos.photos, crop, pool)
    return replace(photos, photos=photos.photos.cut(crop))


def _split(
    database: sqlite3.Connection, root: Path, found: ColumnPhotoSet, near_duplicates: NearDuplicates
) -> ColumnPhotoSet:
    """Split by content, but photos of one scene by time."""
    photos, contents = found.photos, found.photos.contents
    still = is_still_camera(database, contents.names) or is_still_camera(database, contents.names, found.crop)
    scene = np.flatnonzero(near_duplicates.in_scene[contents.numbers] | still)
    groups = _join_bursts(root, photos, near_duplicates.first)
    if not len(scene):
        return split_photos(found, groups)
    order, clock = sort_by_time(root, photos.take(scene))
    if not found.given_split:
        name = f"the last fifth of each class's photos, by {clock}"
        if not still:
            name = f"a fifth of the photos; of {len(scene)} that are alike in large groups, the last by {clock}"
        found = replace(found, held_out_name=name)
    return replace(split_photos(found, groups, scene[order]), still_camera=still)


def _join_bursts(root: Path, photos: PhotoColumns, groups: np.ndarray) -> np.ndarray:
    """The groups of contents, joined where photos of one burst are in several."""
    if photos.no_bursts:
        return groups
    numbers = photos.contents.numbers
    joined = join_groups((read_burst(root, photo), int(groups[numbers[index]])) for index, photo in enumerate(photos))
    into = np.arange(len(groups))
    for group, other in joined.items():
        into[group] = other
    return into[groups]


def _unreadable_lines(root: Path, photos: Sequence[Photo], unreadable: Mapping[str, str]) -> list[str]:
    """One line for each photo that cannot be read. unreadable: such a line by sha256, for one file of that content."""
    own = [photo for photo in photos if photo.sha256 in unreadable]
    paths = {photo.sha256: photo.where(root) for photo in own}  # the last of each content, as was read
    return [
        f"{photo.where(root)}: {unreadable[photo.sha256].removeprefix(f'{paths[photo.sha256]}: ')}" for photo in own
    ]


def list_negatives(folders: Mapping[str, Path]) -> dict[str, list[Path]]:
    """The pictures in each folder. Raises DataError if there are none."""
    paths = {}
    for name, folder in folders.items():
        if not folder.is_dir():
            raise DataError(f"--negatives {folder}: no such folder{or_nearest_path(folder)}")
        paths[name] = list_pictures(folder)
        if not paths[name]:
            raise DataError(f"--negatives {folder}: no pictures in this folder")
    return paths


def read_negatives(
    database: sqlite3.Connection, paths: Mapping[str, Sequence[Path]], crop: Crop | None
) -> dict[str, tuple[Photo, ...]]:
    """Those of the pictures that can be read, of which this part is used.

    Warns of others; raises DataError if all of a folder are such.
    """
    negatives = {}
    for name, pictures in paths.items():
        photos = [Photo(path.absolute(), NEGATIVE, file_sha256(path), HELD_OUT, crop=crop) for path in pictures]
        unreadable = collect_facts(database, Path(), photos)
        for line in _unreadable_lines(Path(), photos, unreadable):
            log.warning("skipped %s", line)
        negatives[name] = tuple(photo for photo in photos if photo.sha256 not in unreadable)
        if not negatives[name]:
            raise DataError(f"--negatives {name}: none of its pictures can be read")
    return negatives


def fit_cells(run: TrainingRun, pool: Pool = in_processes) -> list[dict[str, Any]]:
    """Fit all cells, on all cores if there are several, or on a cluster, one a node; returns their entries."""
    # The costliest first: at the end no core waits long for another.
    backbones = run.backbones[::-1]
    run = run if run.settings.fine_tune else _compact(run)
    if isinstance(pool, Cluster):
        fitted = pool.fit_cells(run, backbones)
    else:
        jobs = [CellJob(run, backbone) for backbone in backbones]
        fitted = pool(fit_cell, jobs, describe=lambda job: job.title)
    entries = []
    with show_progress("fitting heads", len(backbones), "cell") as progress:
        for entry in fitted:
            entries.append(entry)
            progress.update()
    return entries


def _compact(run: TrainingRun) -> TrainingRun:
    """The run with photos that cannot be read, as only fine-tuning does while fitting."""
    negatives = {
        name: tuple(replace(photo, path=Path(), place=None) for photo in pictures)
        for name, pictures in run.negatives.items()
    }
    return replace(run, photos=compact(run.photos), negatives=negatives)


def write_run(run: TrainingRun, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the preprocessed photos and, last, `run.json`. entries: as `fit_cells` returns them."""
    photos, settings = as_columns(run.photos), run.settings
    held_out = photos.of(HELD_OUT)
    calibration = choose_calibration(photos, settings.seed)
    write_prepared(run, run_folder.CALIBRATION, calibration)
    write_prepared(run, run_folder.HELD_OUT, held_out)
    index: run_folder.Index = {
        "labels": [*photos.labels, UNKNOWN] if settings.unknown else photos.labels,
        "cells": entries,
        "held_out_labels": held_out.labels.tolist(),
        "calibration_labels": [photo.label for photo in calibration],
        "photos": {
            "fingerprint": photos.fingerprint,
            "training": len(photos.of(TRAINING)),
            "validation": len(photos.of(VALIDATION)),
            "held_out": len(held_out),
            "skipped": photos.skipped,
            "files": [],
        },
        "seed": settings.seed,
        # Only names: where a file was is nobody's business in a model file.
        "arguments": {
            **settings.as_dict(),
            "head": asdict(run.head),
            "learning_rate": run.head.learning_rate,
            "keep": run.keep,
            "weights": Path(settings.weights).name,
            "backbone": run.backbones[0].kind,
        },
        "versions": run_folder.versions(_made_with(run.backbones)),
    }
    if photos.crop is not None:
        index["crop"] = photos.crop
    files = (_photo_entry(photo, photos.labels) for photo in photos.photos)
    run_folder.write_index(run.folder, index, files)


def _made_with(backbones: Sequence[Backbone]) -> Mapping[str, str] | None:
    """The versions that backbone files were made with; None if a backbone is no such file."""
    if not all(is_backbone_file(backbone.weights) for backbone in backbones):
        return None
    return read_backbone_file(backbones[-1].weights).versions


def _photo_entry(photo: Photo, labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "path": photo.path.as_posix(),
        "label": UNKNOWN if photo.label == NEGATIVE else labels[photo.label],
        "sha256": photo.sha256,
        "part": photo.part,
    }


def results_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The figures of each cell on held-out photos, with a 95% interval, and on negatives if there are any."""
    first = entries[0]["evaluation"]
    lines = [
        f"measured on {first['photos']} held-out photos ({first['held_out']}); unknown counts as wrong in `correct`:",
        "  alpha  resolution  correct    95% interval  among classes  accepted  parameters  multiply-adds  seconds",
    ]
    for entry in entries:
        evaluation = entry["evaluation"]
        correct = evaluation["accuracy_with_unknown"]
        low, high = wilson_interval(correct, evaluation["photos"])
        lines.append(
            f"  {entry['alpha']:<5}  {entry['resolution']:>10}  {correct:7.1%}  {low:6.1%} – {high:6.1%}  "
            f"{evaluation['accuracy']:13.1%}  {_made_accepted(evaluation):>8}  {entry['parameters'] / 1e6:8.2f} M  "
            f"{entry['multiply_adds'] / 1e6:11.1f} M  {entry['seconds']:7.1f}"
        )
        lines += [
            f"    {scores['accepted']:.1%} of {counted(scores['pictures'], 'picture')} in {name.rstrip('/')}/ "
            "get a class's label"
            for name, scores in evaluation["strangers"].items()
        ]
    if len(entries) > 1:
        lines.append(_cell_to_take(entries))
    without_views = [entry for entry in entries if entry["decision"].get("views") == 0]
    if without_views:
        cells = ", ".join(map(_cell_name, without_views))
        lines.append(f"augmented views did harm in cross-validation, and were left out for: {cells}")
    kept_frozen = [entry for entry in entries if not entry["evaluation"].get("fine_tuned", True)]
    if kept_frozen:
        cells = ", ".join(map(_cell_name, kept_frozen))
        lines.append(f"fine-tuning was no better on photos not trained on; the backbone stayed frozen for: {cells}")
    lines += _doubts(entries)
    curve = learning_curve(entries[best_cell(entries)])
    if curve is not None:
        lines.append(curve.sentence())
    return "\n".join(lines)


def _cell_to_take(entries: Sequence[Mapping[str, Any]]) -> str:
    """In one line, with why."""
    taken = entries[best_cell(entries)]
    places = chosen_from(entries)
    best = max((entries[place] for place in places), key=lambda entry: validation(entry).accuracy)
    line = (
        f"take {_cell_name(taken)}: chosen not by these figures but by validation, on {validation(taken).photos} "
        f"photos: {validation(taken).accuracy:.1%} among the classes"
    )
    if len(places) < len(entries):
        line += f", of the {len(places)} of {len(entries)} cells whose `unknown` accepts least"
    if validation(best).accuracy == validation(taken).accuracy:
        return line
    return (
        f"{line}, not measurably less than the best, {_cell_name(best)} with {validation(best).accuracy:.1%}, "
        "and the fewest multiply-adds of such cells"
    )


def _cell_name(entry: Mapping[str, Any]) -> str:
    return f"{entry['alpha']} @ {entry['resolution']}"


def _made_accepted(evaluation: Mapping[str, Any]) -> str:
    made = evaluation.get("made_negatives")
    return f"{made['accepted']:.1%}" if made else "–"


def _doubts(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What `accepted` means, and the cells whose `unknown` accepts too much; nothing without that output."""
    made = [(entry, entry["evaluation"].get("made_negatives")) for entry in entries]
    tried = [scores["pictures"] for _, scores in made if scores]
    if not tried:
        return []
    lines = [f"`accepted`: of {tried[0]} negatives made to test `unknown`, how many are given a class's label"]
    left_out = entries[best_cell(entries)]["evaluation"].get("left_out_classes")
    if left_out and min(left_out.values()) < _SURE_AUROC:
        least = min(left_out, key=left_out.__getitem__)
        lines.append(
            f"these are drawn; what resembles your classes often gets their label (left out of training and shown, "
            f"{least} has AUROC {left_out[least]:.2f} of 1): put photos of such things into unknown/, or into a class "
            "of their own"
        )
    doubtful = [
        f"{_cell_name(entry)} ({scores['accepted']:.0%})"
        for entry, scores in made
        if scores and accepts_too_much(entry)
    ]
    if doubtful:
        lines.append(
            f"`unknown` cannot be trusted (more than {MAX_MADE_ACCEPTED:.0%} accepted) for: {', '.join(doubtful)}; "
            "edge-convert refuses them: use another width or resolution, or put pictures of what else your camera sees "
            "into unknown/ and train again"
        )
    return lines
