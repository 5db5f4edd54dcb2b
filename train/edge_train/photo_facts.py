"""Facts of each photo, read once and cached: is it readable, how large, of which format, what does it look like."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from edge_classify.errors import DataError
from edge_classify.images.crop import Crop, cut
from edge_classify.images.formats import HEAD_BYTES, picture_format
from edge_classify.images.photo import decode_photo
from edge_classify.images.preprocessing import Image

from .cache import fetch
from .place import Place
from .workers import Pool, in_processes, name_photos

# A difference hash has this many rows of this many bits.
_HASH_SIDE = 16
_THUMBNAIL_SIDE = 32
_PHOTOS_PER_JOB = 64
# A cached row: width, height and format, then the hash and the thumbnail.
_HEADER = struct.Struct("<II8s")
_HASH_BYTES = _HASH_SIDE**2 // 8


@dataclass(frozen=True)
class PhotoFacts:
    """What is known of a photo, or of a part of it, without any network.

    width, height: pixels, upright. format: by content: jpeg, png, ... or "" if unknown.
    difference_hash: 256 bits, uint64 (4,) (dHash, Krawetz 2013). thumbnail: uint8 grey (32, 32).
    """

    width: int
    height: int
    format: str
    difference_hash: np.ndarray
    thumbnail: Image


def read_facts(data: bytes, name: str, crop: Crop | None = None) -> PhotoFacts:
    """The facts of a part of an image file's picture. Raises DataError if it is no picture; `name` is for the error."""
    image = cut(decode_photo(data, name), crop)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    difference_hash = np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)
    thumbnail = cv2.resize(grey, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    kind = picture_format(data[:HEAD_BYTES])
    return PhotoFacts(image.shape[1], image.shape[0], kind, difference_hash, np.asarray(thumbnail, np.uint8))


def pack_facts(facts: PhotoFacts) -> bytes:
    """A row for the cache."""
    header = _HEADER.pack(facts.width, facts.height, facts.format.encode())
    return header + facts.difference_hash.tobytes() + facts.thumbnail.tobytes()


def keep_facts(database: sqlite3.Connection, rows: Iterable[tuple[str, bytes]]) -> None:
    """Put the facts of whole photos, packed, by sha256, into the cache. The caller commits."""
    database.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?)", rows)


def collect_facts(
    database: sqlite3.Connection,
    photos: Mapping[str, Path | Place],
    crop: Crop | None = None,
    pool: Pool = in_processes,
) -> dict[str, str]:
    """Read all photos, path by sha256, whose facts, of this part, are not cached yet.

    Returns one line for each that cannot be read, by sha256.
    """
    missing = [(sha256, path) for sha256, path in photos.items() if not _is_cached(database, sha256, crop)]
    chunks = [missing[first : first + _PHOTOS_PER_JOB] for first in range(0, len(missing), _PHOTOS_PER_JOB)]
    read = partial(_read_chunk, crop)
    results = pool(read, chunks, describe=_describe) if len(chunks) > 1 else map(read, chunks)
    unreadable: dict[str, str] = {}
    with tqdm(total=len(missing), desc="reading photos", unit="photo", disable=not missing) as progress:
        for chunk, outcomes in zip(chunks, results, strict=True):
            rows = []
            for (sha256, _), outcome in zip(chunk, outcomes, strict=True):
                if isinstance(outcome, bytes):
                    rows.append((_key(sha256, crop), outcome))
                else:
                    unreadable[sha256] = outcome
            with database:
                keep_facts(database, rows)
            progress.update(len(chunk))
    return unreadable


def read_cached_facts(
    database: sqlite3.Connection, photos: Iterable[str], crop: Crop | None = None
) -> Iterator[PhotoFacts]:
    """The facts of this part of photos by sha256, in order; all must be in the cache."""
    for sha256 in photos:
        yield _unpack(fetch(database, "SELECT look FROM looks WHERE sha256 = ?", _key(sha256, crop))[0])


def _describe(chunk: list[tuple[str, Path | Place]]) -> str:
    return name_photos([path for _, path in chunk])


def _read_chunk(crop: Crop | None, chunk: list[tuple[str, Path | Place]]) -> list[bytes | str]:
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
    thumbnail = rest[_HASH_BYTES:].reshape(_THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
    difference_hash = rest[:_HASH_BYTES].copy().view(np.uint64)
    return PhotoFacts(width, height, kind.rstrip(b"\0").decode(), difference_hash, thumbnail)


def _is_cached(database: sqlite3.Connection, sha256: str, crop: Crop | None) -> bool:
    return database.execute("SELECT 1 FROM looks WHERE sha256 = ?", (_key(sha256, crop),)).fetchone() is not None


def _key(sha256: str, crop: Crop | None) -> str:
    return sha256 if crop is None else f"{sha256}:{crop}"
