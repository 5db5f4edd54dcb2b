"""Looking at each photo once: can it be read, how large is it, what kind of file, which photos is it a twin of."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from edge_classify.errors import DataError
from edge_classify.images.photo import decode_photo
from edge_classify.images.preprocessing import Image

from .workers import in_processes

_HASH_SIDE = 16
_THUMBNAIL_SIDE = 32
# Two photos are twins if at most this many of their 256 hash bits differ, and their thumbnails correlate this much.
# Chosen on Alien vs Predator and TrashNet, whose pairs were looked at: all found were twins.
_MOST_BITS = 40
_LEAST_CORRELATION = 0.93
_HEADER = struct.Struct("<II8s")

_MAGIC = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG": "png",
    b"BM": "bmp",
    b"GIF8": "gif",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"RIFF": "webp",
}


@dataclass(frozen=True)
class PhotoFacts:
    """What a photo looks like.

    width, height: pixels, upright. format: told by content: jpeg, png, ... or "".
    bits: the difference hash, uint64 [4]. thumbnail: uint8 grey [32, 32].
    """

    width: int
    height: int
    format: str
    bits: np.ndarray
    thumbnail: Image


def read_facts(data: bytes, name: str) -> PhotoFacts:
    """Raises DataError if it is no picture; `name` is for the error."""
    image = decode_photo(data, name)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)
    thumbnail = cv2.resize(grey, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), "")
    return PhotoFacts(image.shape[1], image.shape[0], kind, bits, np.asarray(thumbnail, np.uint8))


def collect_facts(database: sqlite3.Connection, photos: Mapping[str, Path]) -> dict[str, str]:
    """Look at all photos, path by sha256, that the cache has not seen.

    Returns a line for each that cannot be read, by sha256.
    """
    missing = [(sha256, path) for sha256, path in photos.items() if not _row(database, sha256)]
    chunks = [missing[first : first + 64] for first in range(0, len(missing), 64)]
    results = in_processes(_look_at_chunk, chunks) if len(chunks) > 1 else map(_look_at_chunk, chunks)
    unreadable: dict[str, str] = {}
    with tqdm(total=len(missing), desc="looking at photos", unit="photo", disable=not missing) as progress:
        for chunk, blobs in zip(chunks, results, strict=True):
            good = [(sha256, blob) for (sha256, _), blob in zip(chunk, blobs, strict=True) if isinstance(blob, bytes)]
            unreadable |= {
                sha256: line for (sha256, _), line in zip(chunk, blobs, strict=True) if isinstance(line, str)
            }
            with database:
                database.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?)", good)
            progress.update(len(chunk))
    return unreadable


def read_photo_facts(database: sqlite3.Connection, photos: Iterable[str]) -> Iterator[PhotoFacts]:
    """The looks of photos by sha256, in order; all must have been looked at."""
    for sha256 in photos:
        yield _unpack(_row(database, sha256))


def find_twins(database: sqlite3.Connection, photos: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of different files, by sha256, that show the same picture: rescaled, recompressed, slightly cropped."""
    names = sorted(photos)
    bits = np.array([look.bits for look in read_photo_facts(database, names)], np.uint64).reshape(-1, 4)
    pairs = []
    rows = max(1, 1_000_000 // max(1, len(names)))
    for first in range(0, len(names), rows):
        chunk = bits[first : first + rows]
        differing = np.zeros((len(chunk), len(names) - first), np.uint16)
        for word in range(4):
            differing += np.bitwise_count(chunk[:, None, word] ^ bits[None, first:, word])
        for row, column in np.argwhere(differing <= _MOST_BITS):
            if column > row and _correlate(database, names[first + row], names[first + column]):
                pairs.append((names[first + row], names[first + column]))
    return pairs


def _correlate(database: sqlite3.Connection, one: str, other: str) -> bool:
    a, b = (look.thumbnail.astype(np.float32).ravel() for look in read_photo_facts(database, (one, other)))
    a, b = a - a.mean(), b - b.mean()
    return bool(a @ b >= _LEAST_CORRELATION * np.sqrt((a @ a) * (b @ b)) and a @ a > 0)


def _look_at_chunk(chunk: list[tuple[str, Path]]) -> list[bytes | str]:
    cv2.setNumThreads(1)
    blobs: list[bytes | str] = []
    for _, path in chunk:
        try:
            look = read_facts(path.read_bytes(), str(path))
        except DataError as error:
            blobs.append(str(error))
        except OSError as error:
            blobs.append(f"{path}: {error.strerror}")
        else:
            header = _HEADER.pack(look.width, look.height, look.format.encode())
            blobs.append(header + look.bits.tobytes() + look.thumbnail.tobytes())
    return blobs


def _unpack(blob: bytes) -> PhotoFacts:
    width, height, kind = _HEADER.unpack_from(blob)
    rest = np.frombuffer(blob, np.uint8, offset=_HEADER.size)
    thumbnail = rest[32:].reshape(_THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
    return PhotoFacts(width, height, kind.rstrip(b"\0").decode(), rest[:32].copy().view(np.uint64), thumbnail)


def _row(database: sqlite3.Connection, sha256: str) -> bytes:
    row = database.execute("SELECT look FROM looks WHERE sha256 = ?", (sha256,)).fetchone()
    return row[0] if row else b""
