"""The split: which photos are trained on, in which fold, and which are held out.

Photos are split by content, and near-duplicates together: a photo is on the same side on every machine, under any name,
and no picture is measured on that was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from edge_classify.errors import DataError
from edge_classify.learn.photos.folds import FOLDS, deal_by_time, deal_groups
from edge_classify.learn.photos.photo_set import HELD_OUT, LEFT_OUT, TRAINING

from .photo_columns import PARTS, ColumnPhotoSet, PhotoColumns, in_columns
from .settings import HELD_OUT_SHARE, MIN_PHOTOS_PER_CLASS

_NOBODY = np.empty(0, np.intp)
# The whiles of a scene, in the order of their names.
_WHILES = {name: place for place, name in enumerate(sorted(map(str, range(99))), 1)}


def split_photos(found: ColumnPhotoSet, groups: np.ndarray, by_time: np.ndarray = _NOBODY) -> ColumnPhotoSet:
    """Give each photo its part, fold and group.

    groups: for each of the photos' contents the first in its group of near-duplicates, int (contents,).
    by_time: photos of a scene that is seen again and again, by index, in the order they were taken. They are all alike,
        so of each class the last fifth is held out, and the rest is dealt into folds of photos that follow one another.

    Unless the user gave a split, a fifth of each class is held out, by content: the same photos on any machine.
    Near-duplicates and copies go together, to one side and one fold. In a split of the user's own, photos to be
    measured on that have a near-duplicate among the training photos are left out: they would make the figures better
    than they are. Of a scene only copies are, byte for byte.
    """
    photos, contents = found.photos, found.photos.contents.numbers
    scene = np.zeros(len(groups), bool)
    scene[contents[by_time]] = True
    groups = np.where(scene, np.arange(len(groups)), groups)
    chosen = np.zeros(len(groups), bool)
    if found.given_split:
        chosen[groups[contents[photos.within(TRAINING)]]] = True
        seen = chosen[groups[contents]] & ~photos.within(TRAINING)
        parts = np.where(seen, PARTS.index(LEFT_OUT), photos.columns.parts[photos.rows])
    else:
        groups = _break_up_groups(photos, groups)
        _hold_out(chosen, photos, groups, ~scene[contents])
        for run in _classes(photos, by_time):
            chosen[run[len(run) - _count_held_out(len(run)) :]] = True
        parts = np.where(chosen[groups[contents]], PARTS.index(HELD_OUT), PARTS.index(TRAINING))
    training = parts == PARTS.index(TRAINING)
    dealt = training & ~scene[contents]
    folds = deal_groups(groups[contents[dealt]], photos.labels[dealt], len(groups))
    # Groups are numbered in the order of their names: that of a while is its scene's first photo, and a number.
    whiles = groups.astype(np.int64) * (len(_WHILES) + 1)
    for run in _classes(photos, by_time[training[by_time]]):
        names = [str(content) for content in run.tolist()]
        own_folds, own_whiles = deal_by_time(names)
        folds[run] = [own_folds[name] for name in names]
        scene_number = int(run[0]) * (len(_WHILES) + 1)
        whiles[run] = [scene_number + _WHILES[own_whiles[name].rpartition(" ")[2]] for name in names]
    fold = np.where(training, folds[groups[contents]], photos.folds)
    return in_columns(photos.split(parts, fold, np.unique(whiles[contents], return_inverse=True)[1]), found)


def _classes(photos: PhotoColumns, chosen: np.ndarray) -> Iterator[np.ndarray]:
    """The contents of each class's photos, each once, in the order given. chosen: photos, by index."""
    labels = photos.labels[chosen]
    order = np.argsort(labels, kind="stable")
    for own in np.split(photos.contents.numbers[chosen[order]], np.flatnonzero(np.diff(labels[order])) + 1):
        if len(own):
            yield own[np.sort(np.unique(own, return_index=True)[1])]


def _count_held_out(photos: int) -> int:
    return max(1, round(HELD_OUT_SHARE * photos))


def check_classes(photos: ColumnPhotoSet) -> None:
    """Raise DataError unless each class has a photo to hold out, and enough to train and to choose on."""
    training, classes = photos.of(TRAINING), len(photos.labels)
    held_out = np.bincount(photos.of(HELD_OUT).labels, minlength=classes)
    # Each group of near-duplicates is in one fold, so these are different pictures.
    pictures = np.bincount(np.unique(training.labels * FOLDS + training.folds) // FOLDS, minlength=classes)
    for label, held_out_photos, different in zip(photos.labels, held_out, pictures, strict=True):
        if not held_out_photos:
            raise DataError(f"class {label}: no readable picture left to hold out: add some")
        if different < MIN_PHOTOS_PER_CLASS:
            raise DataError(
                f"class {label}: expected at least {MIN_PHOTOS_PER_CLASS} different pictures to train on (50 are "
                f"better), found {different} besides those held out to test it (copies count once): add some"
            )


def _break_up_groups(photos: PhotoColumns, groups: np.ndarray) -> np.ndarray:
    """Take apart the groups of classes that have too few of them for both sides and all folds that are needed.

    No class is refused, or trained on next to nothing, because its photos are alike.
    """
    few = np.zeros(len(groups), bool)
    for own in _classes(photos, np.arange(len(photos))):
        few[own] |= len(np.unique(groups[own])) < MIN_PHOTOS_PER_CLASS + 1
    return np.where(few, np.arange(len(groups)), groups)


def _hold_out(held_out: np.ndarray, photos: PhotoColumns, groups: np.ndarray, chosen: np.ndarray) -> None:
    """Choose the groups to hold out, bool (contents,): of each class a fifth of its pictures, in whole groups.

    In the order of a hash of the group's hash: somebody may have split the photos by their own hashes before.
    chosen: the photos that count, bool (n,).
    """
    names = photos.contents.names
    for pictures in _classes(photos, np.flatnonzero(chosen)):
        own, counts = np.unique(groups[pictures], return_counts=True)
        wanted = _count_held_out(len(pictures))
        taken = int(counts[held_out[own]].sum())
        free = np.flatnonzero(~held_out[own])
        hashes = b"".join(hashlib.sha256(b"held out" + names[group].encode()).digest() for group in own[free])
        for place in free[np.argsort(np.frombuffer(hashes, "S32"))][: len(own) - 1]:
            if taken + counts[place] <= wanted:
                held_out[own[place]] = True
                taken += int(counts[place])
        if not taken and len(own) > 1:
            held_out[own[free[counts[free].argmin()]]] = True
