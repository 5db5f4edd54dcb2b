"""Photos that a device took one right after another, as the files say themselves: never on both sides of the split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ...collect.record import read_record
from .photo_set import Photo

# Groups of near-duplicates, by the smallest sha256 in them, or by its number.
Group = TypeVar("Group", str, int)


def join_bursts(root: Path, photos: Sequence[Photo], groups: Mapping[str, str]) -> dict[str, str]:
    """The groups of near-duplicates, joined where photos of one burst are in several.

    groups: for each photo its group, by sha256, named after the smallest in it; so are those returned.
    """
    joined = join_groups((read_burst(root, photo), groups[photo.sha256]) for photo in photos)
    return {sha256: joined.get(group, group) for sha256, group in groups.items()}


def join_groups(photos: Iterable[tuple[str, Group]]) -> dict[Group, Group]:
    """The groups that bursts join to others, each with the smallest of these. photos: burst and group of each."""
    joined: dict[Group, Group] = {}

    def find(group: Group) -> Group:
        while (other := joined.get(group, group)) != group:
            group = other
        return group

    first: dict[str, Group] = {}
    for burst, own in photos:
        if burst:
            group = find(own)
            other = find(first.setdefault(burst, group))
            if group != other:
                joined[max(group, other)] = min(group, other)
    return {group: find(group) for group in joined}


def read_burst(root: Path, photo: Photo) -> str:
    """The burst that a photo is of; "" if it does not say. root: of its path."""
    if photo.place is not None:
        return photo.place.burst
    record = read_record(root / photo.path)
    return record.burst if record is not None else ""
