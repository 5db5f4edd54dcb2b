"""The photos of a run as processes that fit heads need them: 42 bytes for each, in place of ten times as many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import overload

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

_PARTS = (TRAINING, VALIDATION, HELD_OUT, LEFT_OUT)
_NOWHERE = Path()


@dataclass(frozen=True)
class _Columns(Sequence[Photo]):
    """Photos that are made when they are asked for. They have no path and no place: nobody can read them.

    hashes: SHA-256, uint8 (n, 32). labels: int32 (n,). parts: indices of _PARTS, int8 (n,). folds: int8 (n,).
    groups: int32 (n,), in the order of the groups' names.
    """

    hashes: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    folds: np.ndarray
    groups: np.ndarray
    crop: Crop | None

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice) -> _Columns: ...
    def __getitem__(self, index: int | slice) -> Photo | _Columns:
        if isinstance(index, slice):
            return self.take(index)
        return Photo(
            _NOWHERE,
            int(self.labels[index]),
            self.hashes[index].tobytes().hex(),
            _PARTS[self.parts[index]],
            int(self.folds[index]),
            f"{self.groups[index]:010d}",
            self.crop,
        )

    def __iter__(self) -> Iterator[Photo]:
        return (self[index] for index in range(len(self)))

    def take(self, rows: slice | np.ndarray) -> _Columns:
        """Those of the photos. rows: a slice, or bool (n,)."""
        arrays = {name: getattr(self, name)[rows] for name in ("hashes", "labels", "parts", "folds", "groups")}
        return replace(self, **arrays)


@dataclass(frozen=True)
class CompactPhotoSet(PhotoSet):
    """A `PhotoSet` whose photos have no paths, and groups of other names in the same order."""

    photos: _Columns

    def of(self, *parts: str) -> Sequence[Photo]:
        wanted = np.isin(self.photos.parts, [_PARTS.index(part) for part in parts])
        return self.photos.take(wanted & (self.photos.labels != NEGATIVE))

    def negatives(self, part: str) -> Sequence[Photo]:
        return self.photos.take((self.photos.parts == _PARTS.index(part)) & (self.photos.labels == NEGATIVE))


def compact(photos: PhotoSet) -> CompactPhotoSet:
    """The same photos, for processes that read features only."""
    count = len(photos.photos)
    numbers = {group: number for number, group in enumerate(sorted({photo.group for photo in photos.photos}))}
    hashes = b"".join(bytes.fromhex(photo.sha256) for photo in photos.photos)
    columns = _Columns(
        hashes=np.frombuffer(hashes, np.uint8).reshape(-1, 32),
        labels=np.fromiter((photo.label for photo in photos.photos), np.int32, count),
        parts=np.fromiter((_PARTS.index(photo.part) for photo in photos.photos), np.int8, count),
        folds=np.fromiter((photo.fold for photo in photos.photos), np.int8, count),
        groups=np.fromiter((numbers[photo.group] for photo in photos.photos), np.int32, count),
        crop=photos.crop,
    )
    others = {field.name: getattr(photos, field.name) for field in fields(PhotoSet) if field.name != "photos"}
    compacted = CompactPhotoSet(photos=columns, **others)
    vars(compacted)["fingerprint"] = photos.fingerprint  # as cached_property keeps it: none of the processes needs to
    return compacted
