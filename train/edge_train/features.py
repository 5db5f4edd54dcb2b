"""Features of photos and their views: computed once, cached by the photo's content, read as they are needed.

A row has F features of the backbone and, but for hub backbones, M of its middle layer.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from edge_classify.errors import DataError
from edge_classify.images.crop import cut
from edge_classify.images.photo import decode_photo
from edge_classify.images.preprocessing import Image
from edge_classify.learn.photos.made_negatives import BLANKS, PHOTO_KINDS, TRIAL, choose_tried, draw, is_drawn
from edge_classify.learn.photos.photo_set import HELD_OUT, NEGATIVE, TRAINING, VALIDATION, Photo
from edge_classify.learn.photos.views import show_view
from edge_classify.learn.rows import Rows

from .backbone import TENSORFLOW_MEMORY_BYTES, Backbone, BackboneCost
from .cache import cache_folder, fetch, open_cache
from .feature_model import make_feature_model, open_feature_model
from .photo_columns import PhotoColumns
from .place import Place, read_near
from .progress import Blocks, show_progress
from .training_run import TrainingRun
from .workers import Pool, in_processes, name_photos, results_of

_PHOTOS_PER_JOB = 32
# Of a shard: they are fetched in one request.
_PHOTOS_PER_JOB_OF_A_SHARD = 128
# A commit takes as long as it takes to write some hundred rows; what is not committed yet is lost with the process.
_ROWS_PER_COMMIT = 4096
_COMMIT_INTERVAL_S = 1.0
# Part of the cache's keys: to be raised when what `decode_photo`, `preprocess`, the views or the backbones compute
# changes.
_VERSION = 5

_Views = tuple[tuple[Backbone, str], ...]
# A photo, and which views of it are wanted.
_Wanted = tuple[Photo, Sequence[str]]
_AS_IT_IS = ("",)


@dataclass(frozen=True, slots=True)
class _Missing:
    """A photo, with its whole path, and the views of it whose features are not cached, each with its backbone."""

    photo: Photo
    views: _Views


def compute_run_features(
    database: sqlite3.Connection, run: TrainingRun, backbones: Sequence[Backbone], pool: Pool = in_processes
) -> None:
    """Fill the cache with all features that fitting cells on `backbones` needs.

    That is all views of the photos to fit and to choose on, all other photos as they are, and the negatives made.
    """
    compute_features(database, run.root, _needed(run), backbones, pool, len(run.photos.photos))


def feature_keys(run: TrainingRun, backbone: Backbone) -> Iterator[str]:
    """The cache's keys of all features that fitting a cell on this backbone needs."""
    for photo, views in _needed(run):
        for view in views:
            yield _key(backbone, photo, view)


def _needed(run: TrainingRun) -> Iterator[_Wanted]:
    """All pictures of a run, of which copies may come more than once; photos of a shard come together."""
    views = run.settings.augmentation.keys()
    viewed = (TRAINING, VALIDATION)
    if run.settings.unknown:
        # First: a photo is decoded once for all views that are wanted when it is met.
        held_out, kinds = run.photos.of(HELD_OUT), (*_AS_IT_IS, *PHOTO_KINDS)
        yield from ((held_out[index], kinds) for index in choose_tried(len(held_out)))
        yield from ((picture, _AS_IT_IS) for picture in (*BLANKS, *TRIAL))
    photos = run.photos.photos
    for photo in photos.as_stored() if isinstance(photos, PhotoColumns) else photos:
        yield photo, views if photo.part in viewed and photo.label != NEGATIVE else _AS_IT_IS
    yield from ((photo, _AS_IT_IS) for pictures in run.negatives.values() for photo in pictures)


def compute_features(
    database: sqlite3.Connection,
    root: Path,
    wanted: Iterable[_Wanted],
    backbones: Sequence[Backbone],
    pool: Pool = in_processes,
    count: int = 0,
) -> None:
    """Fill the cache with the features of all photos, on all cores; each photo is decoded once for all of them.

    wanted: photos, each with those of its views that are wanted. count: how many photos these are, for the time left.
    If the cache has them all, nothing is computed and TensorFlow is not loaded. Raises DataError.
    """
    blocks = Blocks(count)

    def find_jobs() -> Iterator[Sequence[_Missing]]:
        for block in blocks.of(wanted):
            missing = list(_find_missing(database, root, block, backbones))
            blocks.looked_at(len({photo.sha256 for photo, _ in block}), len(missing))
            make_models(database, dict.fromkeys(backbone for photo in missing for backbone, _ in photo.views))
            yield from _cut_into_jobs(missing)

    jobs = find_jobs()
    first = next(jobs, None)
    if first is None:
        return
    with show_progress("computing features", blocks.to_do, "photo") as progress:
        waiting: list[tuple[str, bytes]] = []
        kept_at = time.monotonic()
        for job, rows in results_of(pool, _compute, chain([first], jobs), _prepare_process, _describe):
            waiting += rows
            progress.total = blocks.to_do
            progress.update(len(job))
            if len(waiting) >= _ROWS_PER_COMMIT or time.monotonic() > kept_at + _COMMIT_INTERVAL_S:
                keep_features(database, waiting)
                waiting, kept_at = [], time.monotonic()
        keep_features(database, waiting)


def keep_features(database: sqlite3.Connection, rows: Iterable[tuple[str, bytes]]) -> None:
    """Put features, by key, into the cache."""
    with database:
        database.executemany("INSERT OR IGNORE INTO features VALUES (?, ?)", rows)


def missing_features(database: sqlite3.Connection, keys: Iterable[str]) -> Iterator[str]:
    """Those of the keys that the cache has no features for."""
    return (key for key in keys if not _is_cached(database, key))


def has_feature_model(database: sqlite3.Connection, backbone: Backbone) -> bool:
    """Whether the backbone as a TFLite model is in the cache."""
    query = "SELECT 1 FROM feature_models WHERE key = ?"
    return database.execute(query, (_backbone_key(backbone),)).fetchone() is not None


def read_cost(database: sqlite3.Connection, backbone: Backbone) -> BackboneCost:
    """Row lengths and cost of a backbone whose features are in the cache."""
    (text,) = fetch(database, "SELECT size FROM feature_models WHERE key = ?", _backbone_key(backbone))
    return BackboneCost(**json.loads(text))


def read_features(database: sqlite3.Connection, backbone: Backbone, photo: Photo, view: str = "") -> np.ndarray:
    """One row from the cache, float32 (F + M,)."""
    (blob,) = fetch(database, "SELECT vector FROM features WHERE key = ?", _key(backbone, photo, view))
    return np.frombuffer(blob, np.float32)


def gather_features(
    database: sqlite3.Connection, backbone: Backbone, photos: Sequence[Photo], views: Sequence[str] = ("",)
) -> Rows:
    """The features of `photos`, float32 (len(photos) · len(views), F + M), all views of a photo consecutively."""
    cost = read_cost(database, backbone)
    rows = Rows(cache_folder(), (cost.features + cost.middle,), np.float32)
    for photo in photos:
        for view in views:
            rows.append(read_features(database, backbone, photo, view))
    return rows


def forget_features(database: sqlite3.Connection, backbone: Backbone) -> None:
    """Remove a backbone that nobody will ask for again, and its features, from the cache."""
    key = _backbone_key(backbone)
    with database:
        database.execute("DELETE FROM feature_models WHERE key = ?", (key,))
        # All keys that begin with the backbone's; ";" is the character after ":".
        database.execute("DELETE FROM features WHERE key > ? AND key < ?", (f"{key}:", f"{key};"))


def _find_missing(
    database: sqlite3.Connection,
    root: Path,
    wanted: Iterable[_Wanted],
    backbones: Sequence[Backbone],
) -> Iterator[_Missing]:
    shared: dict[_Views, _Views] = {}
    seen: dict[str, Sequence[str]] = {}
    for photo, views in wanted:
        before = seen.get(photo.sha256, ())
        if views is before:
            continue
        seen[photo.sha256] = (*before, *views) if before else views
        missing = tuple(
            (backbone, view)
            for backbone in backbones
            for view in views
            if view not in before and not _is_cached(database, _key(backbone, photo, view))
        )
        if missing:
            # Most photos miss the same; a tuple for each would take more memory than all else about 50,000 photos.
            own = replace(photo, path=root / photo.path) if photo.place is None else photo
            yield _Missing(own, shared.setdefault(missing, missing))


def make_models(database: sqlite3.Connection, backbones: Iterable[Backbone]) -> None:
    """Fill the cache with the backbones' TFLite models that it lacks. Raises DataError."""
    cached = {key for (key,) in database.execute("SELECT key FROM feature_models")}
    missing = [backbone for backbone in backbones if _backbone_key(backbone) not in cached]
    with show_progress("preparing", len(missing), "backbone", disable=not missing) as progress:
        made = _make_models(missing)
        for backbone, (model, cost) in zip(missing, made, strict=True):
            row = (_backbone_key(backbone), json.dumps(asdict(cost)), model)
            with database:
                database.execute("INSERT OR IGNORE INTO feature_models VALUES (?, ?, ?)", row)
            progress.update()


def _make_models(backbones: Sequence[Backbone]) -> Iterator[tuple[bytes, BackboneCost]]:
    if len(backbones) == 1 and "tensorflow" in sys.modules:
        # What another process would load first is loaded here: these weights were made or downloaded just now.
        return map(make_feature_model, backbones)
    return in_processes(
        make_feature_model,
        backbones,
        memory=TENSORFLOW_MEMORY_BYTES,
        describe=lambda backbone: f"the backbone {backbone.alpha} @ {backbone.resolution}",
    )


def _cut_into_jobs(missing: Sequence[_Missing]) -> Iterator[Sequence[_Missing]]:
    """Photos of a shard in its order, and never of two: its bytes are read in one go."""
    files, shards = list[_Missing](), dict[str, list[tuple[Place, _Missing]]]()
    for photo in missing:
        place = photo.photo.place
        if isinstance(place, Place) and place.size >= 0:
            shards.setdefault(place.url, []).append((place, photo))
        else:
            files.append(photo)
    for start in range(0, len(files), _PHOTOS_PER_JOB):
        yield files[start : start + _PHOTOS_PER_JOB]
    for own in shards.values():
        own.sort(key=lambda item: item[0].offset)
        for start in range(0, len(own), _PHOTOS_PER_JOB_OF_A_SHARD):
            yield [photo for _, photo in own[start : start + _PHOTOS_PER_JOB_OF_A_SHARD]]


def _describe(job: Sequence[_Missing]) -> str:
    return name_photos([missing.photo.where(Path()) for missing in job])


def _is_cached(database: sqlite3.Connection, key: str) -> bool:
    return database.execute("SELECT 1 FROM features WHERE key = ?", (key,)).fetchone() is not None


def _key(backbone: Backbone, photo: Photo, view: str) -> str:
    key = f"{_backbone_key(backbone)}:{view}:{photo.sha256}"
    return key if photo.crop is None else f"{key}:{photo.crop}"


def _backbone_key(backbone: Backbone) -> str:
    return f"{_VERSION}:{backbone.sha256[:32]}:{backbone.resolution}"


# What follows runs in worker processes.


def _prepare_process() -> None:
    cv2.setNumThreads(1)


def _compute(job: Sequence[_Missing]) -> list[tuple[str, bytes]]:
    """From photos, a part of a shard or files of a folder, to their rows for the cache: here, or on a node."""
    contents = _read_shard(job)
    return [row for photo in job for row in _compute_photo(photo, contents)]


def _read_shard(job: Sequence[_Missing]) -> Mapping[Place, bytes]:
    places = [missing.photo.place for missing in job if isinstance(missing.photo.place, Place)]
    try:
        return read_near(places)
    except OSError as error:
        raise DataError(f"{places[0].url}: {error.strerror}") from error


def _compute_photo(missing: _Missing, contents: Mapping[Place, bytes]) -> Iterator[tuple[str, bytes]]:
    photo = missing.photo
    picture = draw(photo.sha256) if is_drawn(photo.sha256) else cut(_read_unchanged(photo, contents), photo.crop)
    preprocessed: dict[tuple[int, str], Image] = {}
    for backbone, view in missing.views:
        kind = backbone.resolution, view
        if kind not in preprocessed:
            preprocessed[kind] = show_view(picture, view, photo.sha256, backbone.resolution)
        yield _key(backbone, photo, view), open_model(backbone)(preprocessed[kind]).tobytes()


def _read_unchanged(photo: Photo, contents: Mapping[Place, bytes]) -> Image:
    where = photo.where(Path())
    try:
        data = contents[where] if isinstance(where, Place) and where in contents else where.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != photo.sha256:
        raise DataError(f"{where}: the file changed during the run: run again")
    return decode_photo(data, str(where))


@cache
def open_model(backbone: Backbone) -> Callable[[Image], np.ndarray]:
    """From a prepared photo to a row of features; the model must be in the cache."""
    with open_cache() as database:
        (model,) = fetch(database, "SELECT model FROM feature_models WHERE key = ?", _backbone_key(backbone))
    return open_feature_model(model)
