"""Photos that a device took one right after another, as the files say themselves: never on both sides of the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...collect.record import read_record
from .photo_set import Photo


def join_bursts(root: Path, photos: Sequence[Photo], groups: Mapping[str, str]) -> dict[str, str]:
    """The groups of near-duplicates, joined where photos of one burst are in several.

    groups: for each photo its group, by sha256, named after the smallest in it; so are those returned.
    """
    joined: dict[str, str] = {}

    def find(group: str) -> str:
        while (other := joined.get(group, group)) != group:
            group = other
        return group

    first: dict[str, str] = {}
    for photo in photos:
        if burst := _read_burst(root, photo):
            group = find(groups[photo.sha256])
            other = find(first.setdefault(burst, group))
            if group != other:
                joined[max(group, other)] = min(group, other)
    return {sha256: find(group) for sha256, group in groups.items()}


def _read_burst(root: Path, photo: Photo) -> str:
    if photo.place is not None:
        return photo.place.burst
    record = read_record(root / photo.path)
    return record.burst if record is not None else ""
