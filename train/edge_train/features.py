"""Features of photos and their views: computed once, kept in the cache by content, read as they are needed."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from edge_classify.errors import DataError
from edge_classify.parallel import in_processes, threads_per_worker
from edge_classify.photo import decode_photo
from edge_classify.preprocessing import Image

from .backbone import Backbone, Size, feature_function
from .cache import cache_folder
from .photos import Photo
from .rows import Rows
from .views import show_view

# Photos a job. Batches are filled up to it: a row's last bits may depend on the batch's size, and on nothing else.
_BATCH = 32
# Part of the cache's keys: raise it when what `preprocess`, the views or the backbones compute changes.
_VERSION = 2


@dataclass(frozen=True)
class _Job:
    """Some photos, and what of them is wanted: for each backbone the views."""

    photos: tuple[tuple[str, Path], ...]
    wanted: tuple[tuple[Backbone, tuple[str, ...]], ...]


def compute_features(
    database: sqlite3.Connection,
    root: Path,
    photos: Sequence[Photo],
    backbones: Sequence[Backbone],
    views: Callable[[Photo], Sequence[str]],
) -> None:
    """Fill the cache with the features of all photos, in all cores; each photo is decoded once for all of them.

    views: which views of a photo are wanted.
    A full cache costs a look at it, and no TensorFlow. Raises DataError.
    """
    unique = {photo.sha256: photo for photo in photos}.values()
    jobs = list(_find_jobs(database, root, unique, backbones, views))
    total = sum(len(job.photos) for job in jobs)
    with tqdm(total=total, desc="features", unit="photo", disable=not jobs) as progress:
        for job, (rows, sizes) in zip(jobs, in_processes(_compute, jobs, _prepare_process), strict=True):
            with database:
                database.executemany("INSERT OR IGNORE INTO features VALUES (?, ?)", rows)
                database.executemany("INSERT OR IGNORE INTO backbones VALUES (?, ?)", sizes)
            progress.update(len(job.photos))


def read_size(database: sqlite3.Connection, backbone: Backbone) -> Size:
    """The size of a backbone whose features are in the cache."""
    (text,) = database.execute("SELECT size FROM backbones WHERE key = ?", (_backbone_key(backbone),)).fetchone()
    return Size(**json.loads(text))


def read_features(database: sqlite3.Connection, backbone: Backbone, sha256: str, view: str = "") -> np.ndarray:
    """One vector from the cache, float32 [F + M]."""
    key = _key(backbone, sha256, view)
    (blob,) = database.execute("SELECT vector FROM features WHERE key = ?", (key,)).fetchone()
    return np.frombuffer(blob, np.float32)


def gather_features(
    database: sqlite3.Connection, backbone: Backbone, photos: Sequence[Photo], views: Sequence[str] = ("",)
) -> Rows:
    """The features of `photos`, [len(photos) · len(views), F + M], all views of a photo in a row."""
    size = read_size(database, backbone)
    rows = Rows(cache_folder(), (size.features + size.middle,), np.float32)
    for photo in photos:
        for view in views:
            rows.append(read_features(database, backbone, photo.sha256, view))
    return rows


def _find_jobs(
    database: sqlite3.Connection,
    root: Path,
    photos: Iterable[Photo],
    backbones: Sequence[Backbone],
    views: Callable[[Photo], Sequence[str]],
) -> Iterator[_Job]:
    chunk: list[Photo] = []
    wanted: dict[Backbone, dict[str, None]] = {}

    def job() -> _Job:
        made = _Job(
            tuple((photo.sha256, root / photo.path) for photo in chunk),
            tuple((backbone, tuple(names)) for backbone, names in wanted.items()),
        )
        chunk.clear()
        wanted.clear()
        return made

    for photo in photos:
        missing = [
            (backbone, view)
            for backbone in backbones
            for view in views(photo)
            if not _is_cached(database, _key(backbone, photo.sha256, view))
        ]
        if missing:
            chunk.append(photo)
            for backbone, view in missing:
                wanted.setdefault(backbone, {})[view] = None
        if len(chunk) == _BATCH:
            yield job()
    if chunk:
        yield job()


def _is_cached(database: sqlite3.Connection, key: str) -> bool:
    return database.execute("SELECT 1 FROM features WHERE key = ?", (key,)).fetchone() is not None


def _key(backbone: Backbone, sha256: str, view: str) -> str:
    return f"{_backbone_key(backbone)}:{view}:{sha256}"


def _backbone_key(backbone: Backbone) -> str:
    return f"{_VERSION}:{backbone.sha256[:32]}:{backbone.resolution}"


# What follows runs in processes of its own.

_functions: dict[Backbone, tuple[Callable[[Image], np.ndarray], Size]] = {}


def _prepare_process() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    cv2.setNumThreads(1)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads_per_worker())
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _read_unchanged(path: Path, sha256: str) -> Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{path}: the file changed while it was being used: run again")
    return decode_photo(data, str(path))


def _compute(job: _Job) -> tuple[list[tuple[str, bytes]], list[tuple[str, str]]]:
    pictures = [_read_unchanged(path, sha256) for sha256, path in job.photos]
    rows: list[tuple[str, bytes]] = []
    sizes: list[tuple[str, str]] = []
    prepared: dict[tuple[int, str], Image] = {}
    for backbone, names in job.wanted:
        if backbone not in _functions:
            _functions[backbone] = feature_function(backbone)
        function, size = _functions[backbone]
        sizes.append((_backbone_key(backbone), json.dumps(asdict(size))))
        for view in names:
            side = backbone.resolution
            if (side, view) not in prepared:
                batch = np.zeros((_BATCH, side, side, 3), np.uint8)
                for row, (sha256, _), picture in zip(batch, job.photos, pictures, strict=False):
                    row[:] = show_view(picture, view, sha256, side)
                prepared[side, view] = batch
            vectors = function(prepared[side, view])
            rows += [
                (_key(backbone, sha256, view), vector.tobytes())
                for (sha256, _), vector in zip(job.photos, vectors, strict=False)
            ]
    return rows, sizes
