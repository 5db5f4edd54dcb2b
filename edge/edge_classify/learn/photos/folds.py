"""Folds: parts of the photos, each of which heads that were fitted on the others are tried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .photo_set import Photo

# Training photos are dealt into this many folds; heads fitted without a fold are tried on it.
FOLDS = 5
# Of a scene, photos that follow one another are one group: so many of a class are in a fold.
_WHILES_PER_FOLD = 4


def deal_folds(photos: Sequence[Photo], groups: Mapping[str, str]) -> dict[str, int]:
    """As `deal_groups`, the fold of each group by its name. groups: of the photos, by sha256."""
    names, numbers = np.unique(np.array([groups[photo.sha256] for photo in photos], str), return_inverse=True)
    folds = deal_groups(numbers, np.array([photo.label for photo in photos], np.int64), len(names))
    return dict(zip(names.tolist(), folds.tolist(), strict=True))


def deal_groups(groups: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """A fold, 0 to FOLDS − 1, for each group of near-duplicates, which are never in two, dealt evenly in each class.

    groups, labels: of each photo its group and its class, −1 or more, int (n,). A group of several classes is dealt
        with the first.
    count: of groups. Returns int8 (count,), −1 for a group without a photo.
    """
    folds = np.full(count, -1, np.int8)
    classes = labels.max(initial=-1) + 2
    pairs = np.unique(groups.astype(np.int64) * classes + labels + 1)
    own, firsts = np.unique(pairs // classes, return_index=True)
    own_labels = pairs[firsts] % classes
    for label in np.unique(own_labels):
        of_label = own[own_labels == label]
        folds[of_label] = np.arange(len(of_label)) % FOLDS
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
