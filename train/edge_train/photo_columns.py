"""The photos of a run as columns: 150 bytes for each, in place of ten times as many. A `Photo` is made when needed."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from edge_classify.images.crop import Crop
from edge_classify.learn.photos.photo_set import (
    HELD_OUT,
    LEFT_OUT,
    NEGATIVE,
    TRAINING,
    VALIDATION,
    Photo,
    PhotoSet,
)

from .place import Place

Item = TypeVar("Item")

PARTS = (TRAINING, VALIDATION, HELD_OUT, LEFT_OUT)
_NOWHERE = Path()
# A JSON file may have names that are no Unicode text; they sort as they do in Python.
_ANY_NAME = "surrogatepass"
_LINES_PER_UPDATE = 4096
_ROWS_PER_BLOCK = 65_536


@dataclass(frozen=True)
class Texts:
    """Short texts, one after another. ends: of each, in UTF-8 bytes, int64 (n,)."""

    data: bytearray
    ends: np.ndarray

    def encoded(self, row: int) -> bytes:
        return bytes(self.data[self.ends[row - 1] if row else 0 : self.ends[row]])

    def __getitem__(self, row: int) -> str:
        return self.encoded(row).decode(errors=_ANY_NAME)


@dataclass(frozen=True)
class Origins:
    """Where photos are: their paths, and what `Place` says.

    stems: an address, and whether the photo's path follows it. stem: which, int32 (n,); −1 for a file in the folder.
    """

    paths: Texts
    stems: Sequence[tuple[str, bool]]
    stem: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    bursts: Texts
    taken: Texts

    def path(self, row: int) -> Path:
        return Path(self.paths[row])

    def place(self, row: int) -> Place | None:
        if self.stem[row] < 0:
            return None
        url, joined = self.stems[self.stem[row]]
        url = url + self.paths[row] if joined else url
        return Place(url, int(self.offsets[row]), int(self.sizes[row]), self.bursts[row], self.taken[row])


@dataclass(frozen=True)
class Columns:
    """What is known of photos, in the order in which they were read.

    hashes: SHA-256, uint8 (n, 32). labels: int32 (n,). parts: indices of PARTS, int8 (n,). folds: int8 (n,).
    groups: int32 (n,). origins: None where nobody reads the photos.
    """

    hashes: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    folds: np.ndarray
    groups: np.ndarray
    crop: Crop | None = None
    origins: Origins | None = None

    def name(self, row: int) -> str:
        """A photo's SHA-256 in hex."""
        return self.hashes[row].tobytes().hex()


class ColumnsWriter:
    """Columns to which photos are added, one after another."""

    def __init__(self) -> None:
        self._hashes = bytearray()
        self._labels, self._parts, self._stem, self._sizes = (array("i") for _ in range(4))
        self._offsets = array("q")
        self._stems: dict[tuple[str, bool], int] = {}
        self._texts = [(bytearray(), array("q")) for _ in range(3)]

    def add(self, path: str, label: int, sha256: str, part: int, place: Place | None) -> None:
        """place: None for a file in the folder."""
        self._hashes += bytes.fromhex(sha256)
        self._labels.append(label)
        self._parts.append(part)
        stem = -1
        if place is not None:
            # Most of a table's addresses are one folder's, and the path: only the folder is kept.
            joined = place.size < 0 and place.url.endswith(path)
            start = (place.url.removesuffix(path), True) if joined else (place.url, False)
            stem = self._stems.setdefault(start, len(self._stems))
        self._stem.append(stem)
        self._offsets.append(place.offset if place else 0)
        self._sizes.append(place.size if place else -1)
        texts = (path, place.burst if place else "", place.taken if place else "")
        for (data, ends), text in zip(self._texts, texts, strict=True):
            data += text.encode(errors=_ANY_NAME)
            ends.append(len(data))

    def columns(self) -> Columns:
        """All photos so far. labels and parts are the numbers that were given, int32; there are no folds and groups."""
        count = len(self._labels)
        paths, bursts, taken = (Texts(data, _view(ends)) for data, ends in self._texts)
        return Columns(
            hashes=np.frombuffer(self._hashes, np.uint8).reshape(-1, 32),
            labels=_view(self._labels),
            parts=_view(self._parts),
            folds=np.full(count, -1, np.int8),
            groups=np.zeros(count, np.int32),
            origins=Origins(
                paths, tuple(self._stems), _view(self._stem), _view(self._offsets), _view(self._sizes), bursts, taken
            ),
        )


def _view(numbers: array[int]) -> np.ndarray:
    return np.frombuffer(numbers, np.dtype(numbers.typecode))


@dataclass(frozen=True)
class MadeWhenAsked(Sequence[Item]):
    """Items that are made of what is known of them when they are asked for. known: array (n, ...)."""

    make: Callable[[Any], Item]
    known: np.ndarray

    def __len__(self) -> int:
        return len(self.known)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> MadeWhenAsked[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | MadeWhenAsked[Item]:
        known = self.known[index]
        return replace(self, known=known) if isinstance(index, slice) else self.make(known)


@dataclass(frozen=True)
class Contents:
    """The different contents of photos, in the order of their SHA-256.

    numbers: of each photo, which content it has, int32 (photos,). firsts: of each content, its first photo, (m,).
    names: SHA-256 of each, in hex.
    """

    numbers: np.ndarray
    firsts: np.ndarray
    names: Sequence[str]


@dataclass(frozen=True)
class PhotoColumns(Sequence[Photo]):
    """Photos that are made when they are asked for. rows: of the columns, in the photos' order, int32 (n,).

    Without origins they have no path and no place. A photo's group is a number, in the order of the groups' names.
    """

    columns: Columns
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice) -> PhotoColumns: ...
    def __getitem__(self, index: int | slice) -> Photo | PhotoColumns:
        return self.take(index) if isinstance(index, slice) else self._make(int(self.rows[index]))

    def __iter__(self) -> Iterator[Photo]:
        return map(self._make, self.rows)

    def _make(self, row: int) -> Photo:
        columns, origins = self.columns, self.columns.origins
        return Photo(
            _NOWHERE if origins is None else origins.path(row),
            int(columns.labels[row]),
            columns.name(row),
            PARTS[columns.parts[row]],
            int(columns.folds[row]),
            f"{columns.groups[row]:010d}",
            columns.crop,
            None if origins is None else origins.place(row),
        )

    @property
    def labels(self) -> np.ndarray:
        """int32 (n,)."""
        return self.columns.labels[self.rows]

    @property
    def folds(self) -> np.ndarray:
        """int8 (n,)."""
        return self.columns.folds[self.rows]

    @property
    def groups(self) -> np.ndarray:
        """int32 (n,)."""
        return self.columns.groups[self.rows]

    def within(self, *parts: str) -> np.ndarray:
        """Which photos are in these parts, bool (n,)."""
        return np.isin(self.columns.parts[self.rows], [PARTS.index(part) for part in parts])

    def take(self, which: slice | np.ndarray) -> PhotoColumns:
        """Those of the photos. which: a slice, indices, or bool (n,)."""
        return PhotoColumns(self.columns, self.rows[which])

    def as_stored(self) -> PhotoColumns:
        """The photos in the order in which they were read: those of a shard are together."""
        return PhotoColumns(self.columns, np.sort(self.rows))

    def path(self, index: int) -> str:
        """As `Photo.path`, with slashes."""
        origins = self.columns.origins
        return "." if origins is None else origins.path(int(self.rows[index])).as_posix()

    @property
    def no_bursts(self) -> bool:
        """Whether it is known, without opening any file, that none is of a burst."""
        origins = self.columns.origins
        return origins is not None and not origins.bursts.data and bool((origins.stem >= 0).all())

    def without_times(self) -> PhotoColumns:
        """The same photos, which do not say any more when they were taken, nor in which burst."""
        columns, origins = self.columns, self.columns.origins
        if origins is None:
            return self
        none = Texts(bytearray(), np.broadcast_to(np.int64(0), len(columns.labels)))
        return PhotoColumns(replace(columns, origins=replace(origins, bursts=none, taken=none)), self.rows)

    def cut(self, crop: Crop | None) -> PhotoColumns:
        """The same photos, of which this part is used."""
        return PhotoColumns(replace(self.columns, crop=crop), self.rows)

    def split(self, parts: np.ndarray, folds: np.ndarray, groups: np.ndarray) -> PhotoColumns:
        """The same photos with these parts (indices of PARTS), folds and groups, each (n,)."""
        columns = self.columns
        changed = {}
        for name, values in (("parts", parts), ("folds", folds), ("groups", groups)):
            changed[name] = getattr(columns, name).copy()
            changed[name][self.rows] = values
        return PhotoColumns(replace(columns, **changed), self.rows)

    @cached_property
    def contents(self) -> Contents:
        """The photos by what they contain."""
        count = len(self)
        keys = self.columns.hashes[self.rows].view("S32").ravel()
        order = np.argsort(keys, kind="stable")
        new = np.ones(count, bool)
        for start in range(1, count, _ROWS_PER_BLOCK):
            end = min(start + _ROWS_PER_BLOCK, count)
            new[start:end] = keys[order[start:end]] != keys[order[start - 1 : end - 1]]
        numbers = np.empty(count, np.int32)
        numbers[order] = np.cumsum(new, dtype=np.int32) - 1
        firsts = order[new].astype(np.int32)
        names = MadeWhenAsked(self.columns.name, self.rows[firsts])
        return Contents(numbers, firsts, names)


@dataclass(frozen=True)
class ColumnPhotoSet(PhotoSet):
    """A `PhotoSet` in columns."""

    photos: PhotoColumns

    def of(self, *parts: str) -> PhotoColumns:
        return self.photos.take(self.photos.within(*parts) & (self.photos.labels != NEGATIVE))

    def negatives(self, part: str) -> PhotoColumns:
        return self.photos.take(self.photos.within(part) & (self.photos.labels == NEGATIVE))

    @property
    def crop(self) -> Crop | None:
        return self.photos.columns.crop

    @cached_property
    def fingerprint(self) -> str:
        """As the function of this name, of all photos."""
        columns, rows = self.photos.columns, self.photos.rows
        crop = "" if columns.crop is None else f" {columns.crop}"
        texts = [f" {label} {part}{crop}" for label in range(NEGATIVE, len(self.labels)) for part in PARTS]
        rank = np.argsort(np.argsort(texts))
        kinds = (self.photos.labels - NEGATIVE) * np.int32(len(PARTS)) + columns.parts[rows]
        order = np.argsort(self.photos.contents.numbers * np.int64(len(texts)) + rank[kinds])
        whole, between = hashlib.sha256(), ""
        for start in range(0, len(order), _LINES_PER_UPDATE):
            some = order[start : start + _LINES_PER_UPDATE]
            lines = [f"{columns.name(rows[index])}{texts[kinds[index]]}" for index in some]
            whole.update((between + "\n".join(lines)).encode())
            between = "\n"
        return whole.hexdigest()


def as_columns(photos: PhotoSet) -> ColumnPhotoSet:
    """The same photos, in columns."""
    if isinstance(photos, ColumnPhotoSet):
        return photos
    writer = ColumnsWriter()
    for photo in photos.photos:
        place = photo.place if isinstance(photo.place, Place) else None
        writer.add(photo.path.as_posix(), photo.label, photo.sha256, PARTS.index(photo.part), place)
    numbers = {group: number for number, group in enumerate(sorted({photo.group for photo in photos.photos}))}
    count = len(photos.photos)
    columns = writer.columns()
    columns = replace(
        columns,
        parts=columns.parts.astype(np.int8),
        folds=np.fromiter((photo.fold for photo in photos.photos), np.int8, count),
        groups=np.fromiter((numbers[photo.group] for photo in photos.photos), np.int32, count),
        crop=photos.crop,
    )
    return in_columns(PhotoColumns(columns, np.arange(count, dtype=np.int32)), photos)


def in_columns(columns: PhotoColumns, photos: PhotoSet) -> ColumnPhotoSet:
    """These photos, with what else `photos` says."""
    others: dict[str, Any] = {
        field.name: getattr(photos, field.name) for field in fields(PhotoSet) if field.name != "photos"
    }
    return ColumnPhotoSet(photos=columns, **others)


def compact(photos: PhotoSet) -> ColumnPhotoSet:
    """The same photos without paths and places, for processes that read features only: 46 bytes for each."""
    whole = as_columns(photos)
    compacted = replace(whole, photos=replace(whole.photos, columns=replace(whole.photos.columns, origins=None)))
    vars(compacted)["fingerprint"] = whole.fingerprint  # as cached_property keeps it: none of the processes needs to
    return compacted


def sort_by_path(columns: Columns, kinds: np.ndarray) -> PhotoColumns:
    """The photos by kind, int (n,), then by path; of one path, by content."""
    rows = np.argsort(kinds, kind="stable").astype(np.int32)
    ends = np.flatnonzero(np.diff(kinds[rows])) + 1
    for own in np.split(rows, ends):
        own[:] = sorted(own.tolist(), key=lambda row: _path_key(columns, row))
    return PhotoColumns(columns, rows)


def _path_key(columns: Columns, row: int) -> bytes:
    """Sorts as `Path` does: by the parts, of which none is empty, one after another."""
    if columns.origins is None:
        return b""
    path = columns.origins.path(row).as_posix().encode(errors=_ANY_NAME)
    return path.replace(b"/", b"\0") + b"\0\0" + columns.hashes[row].tobytes()
