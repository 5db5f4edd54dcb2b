"""Features of photos and their views: computed once, kept in the cache by content, read as they are needed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from edge_classify.errors import DataError
from edge_classify.images.photo import decode_photo
from edge_classify.images.preprocessing import Image
from edge_classify.learn.rows import Rows

from .backbone import TENSORFLOW_MEMORY_BYTES, Backbone, BackboneCost
from .cache import cache_folder, open_cache
from .feature_model import make_feature_model, open_feature_model
from .photos import TRAINING, VALIDATION, Photo, PhotoSet
from .views import show_view
from .workers import in_processes

_PHOTOS_PER_JOB = 32
# Part of the cache's keys: raise it when what `preprocess`, the views or the backbones compute changes.
_VERSION = 3

_Views = tuple[tuple[Backbone, str], ...]


@dataclass(frozen=True)
class _Wanted:
    """A photo, and the views of it whose features are wanted, each with its backbone."""

    sha256: str
    path: Path
    views: _Views


def compute_features(
    database: sqlite3.Connection,
    root: Path,
    photos: Sequence[Photo],
    backbones: Sequence[Backbone],
    views: Callable[[str], Sequence[str]],
) -> None:
    """Fill the cache with the features of all photos, in all cores; each photo is decoded once for all of them.

    views: which views of a photo are wanted, by its sha256.
    A full cache costs a look at it, and no TensorFlow. Raises DataError.
    """
    wanted = list(_find_wanted(database, root, photos, backbones, views))
    _make_models(database, dict.fromkeys(backbone for photo in wanted for backbone, _ in photo.views))
    jobs = [wanted[start : start + _PHOTOS_PER_JOB] for start in range(0, len(wanted), _PHOTOS_PER_JOB)]
    with tqdm(total=len(wanted), desc="features", unit="photo", disable=not jobs) as progress:
        for job, rows in zip(jobs, in_processes(_compute, jobs, _prepare_process), strict=True):
            with database:
                database.executemany("INSERT OR IGNORE INTO features VALUES (?, ?)", rows)
            progress.update(len(job))


def compute_run_features(
    database: sqlite3.Connection,
    root: Path,
    photos: PhotoSet,
    strangers: Mapping[str, Sequence[Photo]],
    backbones: Sequence[Backbone],
    views: Sequence[str],
) -> None:
    """Fill the cache with all that fitting cells asks for.

    views: of the classes' photos to fit and to choose on; all others are wanted as they are.
    """
    viewed = {photo.sha256 for photo in photos.of(TRAINING, VALIDATION)}
    everything = [*photos.photos, *(photo for pictures in strangers.values() for photo in pictures)]
    compute_features(database, root, everything, backbones, lambda sha256: views if sha256 in viewed else ("",))


def read_size(database: sqlite3.Connection, backbone: Backbone) -> BackboneCost:
    """The size of a backbone whose features are in the cache."""
    (text,) = database.execute("SELECT size FROM feature_models WHERE key = ?", (_backbone_key(backbone),)).fetchone()
    return BackboneCost(**json.loads(text))


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


def _find_wanted(
    database: sqlite3.Connection,
    root: Path,
    photos: Iterable[Photo],
    backbones: Sequence[Backbone],
    views: Callable[[str], Sequence[str]],
) -> Iterator[_Wanted]:
    shared: dict[_Views, _Views] = {}
    for sha256, path in {photo.sha256: photo.path for photo in photos}.items():
        missing = tuple(
            (backbone, view)
            for backbone in backbones
            for view in views(sha256)
            if not _is_cached(database, _key(backbone, sha256, view))
        )
        if missing:
            # Most photos want the same; what each wants would take more memory than all else of 50,000 photos.
            yield _Wanted(sha256, root / path, shared.setdefault(missing, missing))


def _make_models(database: sqlite3.Connection, backbones: Iterable[Backbone]) -> None:
    have = {key for (key,) in database.execute("SELECT key FROM feature_models")}
    missing = [backbone for backbone in backbones if _backbone_key(backbone) not in have]
    with tqdm(total=len(missing), desc="backbones", unit="cell", disable=not missing) as progress:
        made = in_processes(make_feature_model, missing, memory=TENSORFLOW_MEMORY_BYTES)
        for backbone, (model, size) in zip(missing, made, strict=True):
            row = (_backbone_key(backbone), json.dumps(asdict(size)), model)
            with database:
                database.execute("INSERT OR IGNORE INTO feature_models VALUES (?, ?, ?)", row)
            progress.update()


def _is_cached(database: sqlite3.Connection, key: str) -> bool:
    return database.execute("SELECT 1 FROM features WHERE key = ?", (key,)).fetchone() is not None


def _key(backbone: Backbone, sha256: str, view: str) -> str:
    return f"{_backbone_key(backbone)}:{view}:{sha256}"


def _backbone_key(backbone: Backbone) -> str:
    return f"{_VERSION}:{backbone.sha256[:32]}:{backbone.resolution}"


# What follows runs in processes of its own.


def _prepare_process() -> None:
    cv2.setNumThreads(1)


def _compute(job: Sequence[_Wanted]) -> list[tuple[str, bytes]]:
    return [row for photo in job for row in _compute_photo(photo)]


def _compute_photo(photo: _Wanted) -> Iterator[tuple[str, bytes]]:
    picture = _read_unchanged(photo.path, photo.sha256)
    prepared: dict[tuple[int, str], Image] = {}
    for backbone, view in photo.views:
        shown = backbone.resolution, view
        if shown not in prepared:
            prepared[shown] = show_view(picture, view, photo.sha256, backbone.resolution)
        yield _key(backbone, photo.sha256, view), _open_model(backbone)(prepared[shown]).tobytes()


def _read_unchanged(path: Path, sha256: str) -> Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{path}: the file changed while it was being used: run again")
    return decode_photo(data, str(path))


@cache
def _open_model(backbone: Backbone) -> Callable[[Image], np.ndarray]:
    with open_cache() as database:
        (model,) = database.execute(
            "SELECT model FROM feature_models WHERE key = ?", (_backbone_key(backbone),)
        ).fetchone()
    return open_feature_model(model)
