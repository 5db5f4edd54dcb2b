"""Folds: parts of the photos, each of which heads that were fitted on the others are tried on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from .photo_set import Photo

# Training photos are dealt into this many folds; heads fitted without a fold are tried on it.
FOLDS = 5
# Of a scene, photos that follow one another are one group: so many of a class are in a fold.
_WHILES_PER_FOLD = 4


def deal_folds(photos: Iterable[Photo], groups: Mapping[str, str]) -> dict[str, int]:
    """A fold, 0 to FOLDS − 1, for each group of photos, dealt evenly within each class.

    groups: for each photo its group of near-duplicates, by sha256: these are never in two folds.
    """
    dealt: dict[int, int] = defaultdict(int)
    folds: dict[str, int] = {}
    for group, label in sorted({(groups[photo.sha256], photo.label) for photo in photos}):
        if group not in folds:
            folds[group] = dealt[label] % FOLDS
            dealt[label] += 1
    return folds


def deal_by_time(run: Sequence[str]) -> tuple[dict[str, int], dict[str, str]]:
    """The folds of a class's photos of one scene, each a block of time, and their groups, each a while of it.

    run: their sha256, in the order they were taken.
    """
    count = FOLDS * _WHILES_PER_FOLD
    return (
        {sha256: place * FOLDS // len(run) for place, sha256 in enumerate(run)},
        {sha256: f"{run[0]} {place * count // len(run)}" for place, sha256 in enumerate(run)},
    )
