"""Features of photos, computed once and kept on disk by content."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge_classify.errors import DataError
from edge_classify.photo import decode_photo
from edge_classify.preprocessing import Image, preprocess

from .photos import Photo

_BATCH = 32
# Part of the cache's key: raise it when what `preprocess` or the backbone computes changes.
_VERSION = 1


def cache_folder() -> Path:
    """Where features are kept between runs; it may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-classify"


def read_prepared(root: Path, photo: Photo, resolution: int) -> Image:
    """A photo as the device would see it: uint8 RGB, shape (resolution, resolution, 3). Raises DataError."""
    path = root / photo.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    return preprocess(decode_photo(data, str(path)), np.empty((resolution, resolution, 3), np.uint8))


def photo_features(
    root: Path,
    photos: Sequence[Photo],
    resolution: int,
    weights_sha256: str,
    cache: Path,
    make_function: Callable[[], Callable[[Image], np.ndarray]],
    description: str,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Features of all photos that can be read, by the photo's sha256.

    make_function: builds what maps prepared photos to features; called only if some are not cached, so
        that a run with a full cache never imports TensorFlow.
    Returns (features, skipped): float32 vectors; a line for each photo that cannot be read.
    """
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(cache / "features.sqlite", timeout=120)) as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
            )
            key = f"{_VERSION}:{weights_sha256}:{resolution}:"
            features: dict[str, np.ndarray] = {}
            missing: dict[str, Photo] = {}
            for photo in photos:
                row = database.execute("SELECT vector FROM features WHERE key = ?", (key + photo.sha256,)).fetchone()
                if row is None:
                    missing[photo.sha256] = photo
                else:
                    features[photo.sha256] = np.frombuffer(row[0], np.float32)
            skipped: list[str] = []
            if missing:
                function = None
                with tqdm(total=len(missing), desc=description, unit="photo") as progress:
                    for batch, prepared in _batches(root, list(missing.values()), resolution, skipped):
                        function = function or make_function()
                        vectors = function(prepared)
                        with database:
                            database.executemany(
                                "INSERT OR REPLACE INTO features VALUES (?, ?)",
                                [
                                    (key + photo.sha256, row.tobytes())
                                    for photo, row in zip(batch, vectors, strict=True)
                                ],
                            )
                        features.update((photo.sha256, row) for photo, row in zip(batch, vectors, strict=True))
                        progress.update(len(batch))
            return features, skipped
    except sqlite3.Error as error:
        raise DataError(
            f"{cache}: features cannot be kept there ({error}): free some space, or delete this folder"
        ) from error


def _batches(
    root: Path, photos: list[Photo], resolution: int, skipped: list[str]
) -> Iterator[tuple[list[Photo], Image]]:
    def read(photo: Photo) -> Image | DataError:
        try:
            return read_prepared(root, photo, resolution)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(photos), _BATCH):
            batch: list[Photo] = []
            prepared: list[Image] = []
            chunk = photos[start : start + _BATCH]
            for photo, image in zip(chunk, pool.map(read, chunk), strict=True):
                if isinstance(image, DataError):
                    skipped.append(str(image))
                else:
                    batch.append(photo)
                    prepared.append(image)
            if batch:
                yield batch, np.stack(prepared)
