"""The split: which photos are trained on, in which fold, and which are held out.

Photos are split by content, and near-duplicates together: a photo is on the same side on every machine, under any name,
and no picture is measured on that was trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from edge_classify.errors import DataError
from edge_classify.learn.photos.folds import deal_by_time, deal_folds
from edge_classify.learn.photos.photo_set import HELD_OUT, LEFT_OUT, TRAINING, Photo, PhotoSet

from .settings import HELD_OUT_SHARE, MIN_PHOTOS_PER_CLASS


def split_photos(found: PhotoSet, groups: Mapping[str, str], by_time: Sequence[Photo] = ()) -> PhotoSet:
    """Give each photo its part, fold and group.

    groups: for each photo its group of near-duplicates, by sha256.
    by_time: photos of a scene that is seen again and again, in the order they were taken. They are all alike, so of
        each class the last fifth is held out, and the rest is dealt into folds of photos that follow one another.

    Unless the user gave a split, a fifth of each class is held out, by content: the same photos on any machine.
    Near-duplicates and copies go together, to one side and one fold. In a split of the user's own, photos to be
    measured on that have a near-duplicate among the training photos are left out: they would make the figures better
    than they are. Of a scene only copies are, byte for byte.
    """
    scene = {photo.sha256 for photo in by_time}
    groups = {sha256: sha256 if sha256 in scene else group for sha256, group in groups.items()}
    if found.given_split:
        trained_on = {groups[photo.sha256] for photo in found.photos if photo.part == TRAINING}
        photos = [
            replace(photo, part=LEFT_OUT) if photo.part != TRAINING and groups[photo.sha256] in trained_on else photo
            for photo in found.photos
        ]
    else:
        groups = _break_up_groups(found.photos, groups)
        held_out = _choose_held_out([photo for photo in found.photos if photo.sha256 not in scene], groups)
        held_out |= {sha256 for run in _classes(by_time) for sha256 in run[len(run) - _count_held_out(len(run)) :]}
        photos = [
            replace(photo, part=HELD_OUT if groups[photo.sha256] in held_out else TRAINING) for photo in found.photos
        ]
    folds = deal_folds([photo for photo in photos if photo.part == TRAINING and photo.sha256 not in scene], groups)
    whiles = dict(groups)
    for run in _classes(photo for photo in _in_order(by_time, photos) if photo.part == TRAINING):
        own_folds, own_whiles = deal_by_time(run)
        folds |= own_folds
        whiles |= own_whiles
    photos = [replace(photo, group=whiles[photo.sha256]) for photo in photos]
    photos = [replace(photo, fold=folds[groups[photo.sha256]]) if photo.part == TRAINING else photo for photo in photos]
    return replace(found, photos=tuple(photos))


def _classes(photos: Iterable[Photo]) -> list[list[str]]:
    """The photos of each class, by sha256, each once, in the order given."""
    runs: dict[int, dict[str, None]] = defaultdict(dict)
    for photo in photos:
        runs[photo.label][photo.sha256] = None
    return [list(run) for _, run in sorted(runs.items())]


def _in_order(by_time: Sequence[Photo], photos: Iterable[Photo]) -> list[Photo]:
    """The photos of `by_time`, with the parts they have in `photos`."""
    now = {photo.path: photo for photo in photos}
    return [now[photo.path] for photo in by_time]


def _count_held_out(photos: int) -> int:
    return max(1, round(HELD_OUT_SHARE * photos))


def check_classes(photos: PhotoSet) -> None:
    """Raise DataError unless each class has a photo to hold out, and enough to train and to choose on."""
    for index, label in enumerate(photos.labels):
        if not any(photo.label == index for photo in photos.of(HELD_OUT)):
            raise DataError(f"class {label}: no readable picture left to hold out: add some")
        # Each group of near-duplicates is in one fold, so these are different pictures.
        different = len({photo.fold for photo in photos.of(TRAINING) if photo.label == index})
        if different < MIN_PHOTOS_PER_CLASS:
            raise DataError(
                f"class {label}: expected at least {MIN_PHOTOS_PER_CLASS} different pictures to train on (50 are "
                f"better), found {different} besides those held out to test it (copies count once): add some"
            )


def _break_up_groups(photos: Iterable[Photo], groups: Mapping[str, str]) -> dict[str, str]:
    """Take apart the groups of classes that have too few of them for both sides and all folds that are needed.

    No class is refused, or trained on next to nothing, because its photos are alike.
    """
    members: dict[int, set[str]] = defaultdict(set)
    for photo in photos:
        members[photo.label].add(photo.sha256)
    needed = MIN_PHOTOS_PER_CLASS + 1
    few = {sha256 for own in members.values() if len({groups[member] for member in own}) < needed for sha256 in own}
    return {sha256: sha256 if sha256 in few else group for sha256, group in groups.items()}


def _choose_held_out(photos: Iterable[Photo], groups: dict[str, str]) -> set[str]:
    """The groups to hold out: of each class a fifth of its pictures, in whole groups.

    In the order of a hash of the group's hash: somebody may have split the photos by their own hashes before.
    """
    held_out: set[str] = set()
    for pictures in _classes(photos):
        # The groups, with their numbers of pictures.
        own = Counter(groups[sha256] for sha256 in pictures)
        wanted = _count_held_out(len(pictures))
        taken = sum(count for group, count in own.items() if group in held_out)
        free = sorted((group for group in own if group not in held_out), key=_shuffled)
        for group in free[: len(own) - 1]:
            if taken + own[group] <= wanted:
                held_out.add(group)
                taken += own[group]
        if not taken and len(own) > 1:
            held_out.add(min((own[group], group) for group in free)[1])
    return held_out


def _shuffled(group: str) -> str:
    return hashlib.sha256(b"held out" + group.encode()).hexdigest()
