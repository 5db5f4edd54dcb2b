"""Facts of each photo, read once and cached; and whether it can be read at all."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np

from edge_classify.errors import DataError
from edge_classify.images.crop import Crop
from edge_classify.learn.photos.facts import HASH_SIDE, THUMBNAIL_SIDE, PhotoFacts, read_facts
from edge_classify.learn.photos.photo_set import Elsewhere, Photo

from .cache import fetch
from .progress import Blocks, show_progress
from .workers import Pool, in_processes, name_photos, results_of

_PHOTOS_PER_JOB = 64
# A cached row: width, height and format, then the hash and the thumbnail.
_HEADER = struct.Struct("<II8s")
_HASH_BYTES = HASH_SIDE**2 // 8

# Photos to read: sha256, and where each is.
_Chunk = list[tuple[str, Path | Elsewhere]]


def pack_facts(facts: PhotoFacts) -> bytes:
    """A row for the cache."""
    header = _HEADER.pack(facts.width, facts.height, facts.format.encode())
    return header + facts.difference_hash.tobytes() + facts.thumbnail.tobytes()


def keep_facts(database: sqlite3.Connection, rows: Iterable[tuple[str, bytes]]) -> None:
    """Put the facts of whole photos, packed, by sha256, into the cache. The caller commits."""
    database.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?)", rows)


def collect_facts(
    database: sqlite3.Connection,
    root: Path,
    photos: Sequence[Photo],
    crop: Crop | None = None,
    pool: Pool = in_processes,
) -> dict[str, str]:
    """Read all photos whose facts, of this part, are not cached yet. root: of their paths.

    Returns one line for each that cannot be read, by sha256.
    """
    blocks = Blocks(len(photos))

    def find_missing() -> Iterator[_Chunk]:
        for block in blocks.of(photos):
            missing = {
                photo.sha256: photo.where(root) for photo in block if not _is_cached(database, photo.sha256, crop)
            }
            blocks.looked_at(len(block), len(missing))
            items = iter(missing.items())
            while chunk := list(islice(items, _PHOTOS_PER_JOB)):
                yield chunk

    chunks = find_missing()
    first = list(islice(chunks, 2))
    read = partial(_read_chunk, crop)
    # For a few photos no process is started.
    results = (
        results_of(pool, read, chain(first, chunks), describe=_describe)
        if len(first) > 1
        else ((chunk, read(chunk)) for chunk in first)
    )
    unreadable: dict[str, str] = {}
    with show_progress("reading", blocks.to_do, "photo", disable=not first) as progress:
        for chunk, outcomes in results:
            rows = []
            for (sha256, _), outcome in zip(chunk, outcomes, strict=True):
                if isinstance(outcome, bytes):
                    rows.append((_key(sha256, crop), outcome))
                else:
                    unreadable[sha256] = outcome
            with database:
                keep_facts(database, rows)
            progress.total = blocks.to_do
            progress.update(len(chunk))
    return unreadable


def read_cached_facts(
    database: sqlite3.Connection, photos: Iterable[str], crop: Crop | None = None
) -> Iterator[PhotoFacts]:
    """The facts of this part of photos by sha256, in order; all must be in the cache."""
    for sha256 in photos:
        yield _unpack(fetch(database, "SELECT look FROM looks WHERE sha256 = ?", _key(sha256, crop))[0])


def _describe(chunk: _Chunk) -> str:
    return name_photos([path for _, path in chunk])


def _read_chunk(crop: Crop | None, chunk: _Chunk) -> list[bytes | str]:
    """For each photo a row for the cache, or one line that says why it cannot be read."""
    cv2.setNumThreads(1)
    outcomes: list[bytes | str] = []
    for _, path in chunk:
        try:
            facts = read_facts(path.read_bytes(), str(path), crop)
        except DataError as error:
            outcomes.append(str(error))
        except OSError as error:
            outcomes.append(f"{path}: {error.strerror}")
        else:
            outcomes.append(pack_facts(facts))
    return outcomes


def _unpack(blob: bytes) -> PhotoFacts:
    width, height, kind = _HEADER.unpack_from(blob)
    rest = np.frombuffer(blob, np.uint8, offset=_HEADER.size)
    thumbnail = rest[_HASH_BYTES:].reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    difference_hash = rest[:_HASH_BYTES].copy().view(np.uint64)
    return PhotoFacts(width, height, kind.rstrip(b"\0").decode(), difference_hash, thumbnail)


def _is_cached(database: sqlite3.Connection, sha256: str, crop: Crop | None) -> bool:
    return database.execute("SELECT 1 FROM looks WHERE sha256 = ?", (_key(sha256, crop),)).fetchone() is not None


def _key(sha256: str, crop: Crop | None) -> str:
    return sha256 if crop is None else f"{sha256}:{crop}"
