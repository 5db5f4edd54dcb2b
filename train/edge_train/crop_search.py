"""The part of a still camera's photos in which the classes differ: what `--crop auto` finds.

Each photo is compared, small, with what the photos of a class show at each place (a range of values). Where the photos
of another class show something new more often than those of that class do, the classes differ. What is new in photos
of every class alike, such as passers-by or leaves in the wind, is no difference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from edge_classify.images.crop import Crop
from edge_classify.images.preprocessing import Image
from edge_classify.learn.photos.folds import FOLDS
from edge_classify.learn.photos.photo_set import TRAINING, Photo, PhotoSet

log = logging.getLogger(__name__)

# Photos are compared at this many pixels of their longer side.
_LONGER_SIDE = 192
# At most so many are, equally many of each class.
_MAX_PHOTOS = 600
_MAX_PHOTOS_PER_CLASS = 100
# What is less wide than this share of the picture is taken for a thing, what is wider for light.
_LIGHT_SCALE = 0.05
# The light is judged by one in so many pixels.
_LIGHT_STEP = 13
# Of the values that photos of a class have at a place, this share at either end may be odd.
_ODD_SHARE = 0.02
# New is what is outside of them by so many levels, and by this share of their range.
_NEW_LEVELS = 8
_NEW_SHARE = 0.5
# Something new counts for all places within this share of the picture's longer side.
_NEAR = 0.08
# There must be so many photos with something new, more than is usual by so many standard errors, and in so many folds:
# a shadow's edge that passes is new for a while. Around such places less is enough, since at the edges of where a thing
# may be it is seldom.
_MIN_PHOTOS = 3
_MIN_ERRORS = 3.0
_MIN_FOLDS = 3
_MIN_ERRORS_AROUND = 2.0
_MIN_FOLDS_AROUND = 2
# Room around what differs, as a share of the picture's longer side.
_ROOM = 0.04
# The part is at most so many times as wide as high, or as high as wide: it will be squashed to a square. That does less
# harm than what else is in the picture: of things a twentieth of its width that may lie along a wall, 99 % of later
# photos were right with a part of 3.5 : 1, 97 to 98 % with one of 4 : 3, 84 to 95 % with all of it (0.35@96, 0.5@160).
_MAX_ASPECT = 4.0
# A part that is more of the picture than this is not worth it.
_MAX_AREA = 0.75


class Box(NamedTuple):
    """Edges in pixels; right and lower ones exclusive."""

    left: float
    top: float
    right: float
    bottom: float


def find_crop(root: Path, photos: PhotoSet, side: int, report: Callable[[str], None]) -> Crop | None:
    """The part in which training photos of the classes differ, with room around it; None for the whole picture.

    side: pixels that the part has at least, if the photos have them.
    report: is handed a line that says which part it is. A warning says why it is the whole picture.
    """
    if not photos.still_camera:
        log.warning("--crop auto: the photos are not of one camera that does not move: using the whole picture")
        return None
    chosen = _choose(photos)
    first = chosen[0].read(root)
    height, width = first.shape[:2]
    scale = _LONGER_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures = np.stack([cv2.resize(photo.read(root), size, interpolation=cv2.INTER_AREA) for photo in chosen])
    labels, folds = (np.array([getattr(photo, name) for photo in chosen]) for name in ("label", "fold"))
    box = find_difference(pictures.astype(np.uint8), labels, folds)
    if box is None:
        log.warning("--crop auto: no part was found in which the classes differ: using the whole picture")
        return None
    crop = _with_room(box, (width, height), width / size[0], side)
    if crop.width * crop.height > _MAX_AREA:
        log.warning("--crop auto: the classes differ in most of the picture: using all of it")
        return None
    report(f"--crop auto: the classes differ in the part {crop} of the picture; to use it again: --crop {crop}")
    return crop


def _choose(photos: PhotoSet) -> list[Photo]:
    """Training photos, `unknown/` among them, evenly over the time of each class."""
    classes: dict[int, list[tuple[int, int]]] = {}
    for index, photo in enumerate(photos.photos):
        if photo.part == TRAINING:
            classes.setdefault(photo.label, []).append((photo.fold, index))
    most = min(_MAX_PHOTOS_PER_CLASS, _MAX_PHOTOS // len(classes))
    chosen = []
    for own in classes.values():
        own.sort()
        places = np.linspace(0, len(own) - 1, min(most, len(own))).astype(int)
        chosen += [photos.photos[own[place][1]] for place in places]
    return chosen


def find_difference(pictures: Image, labels: np.ndarray, folds: np.ndarray) -> Box | None:
    """The smallest box that has what differs between classes in nearly all pictures; None if nothing does.

    pictures: uint8 (n, height, width, 3), of one scene from one place. labels, folds: of each, int (n,); pictures of a
        fold follow one another in time.
    """
    changes = _find_changes(pictures)
    # Pictures are compared with those of the other half of the folds, of their own class as of others.
    half = folds % 2
    classes = [label for label in np.unique(labels).tolist() if len(set(half[labels == label])) == 2]
    ranges = {
        (label, part): _find_range(changes[(labels == label) & (half == part)]) for label in classes for part in (0, 1)
    }

    def news(label: int, other: int) -> np.ndarray:
        """Where each picture of `label` shows what pictures of `other` do not: uint8 0 or 1, (n, height, width)."""
        return np.stack(
            [_find_news(changes[index], *ranges[other, 1 - half[index]]) for index in np.flatnonzero(labels == label)]
        )

    usual = {label: _count_near(news(label, label), folds[labels == label]) for label in classes}
    boxes = []
    for label, other in permutations(classes, 2):
        new = news(label, other)
        differs = _differs(_count_near(new, folds[labels == label]), usual[other])
        found = [box for mask in new if (box := _box_of(mask, differs)) is not None]
        if len(found) >= _MIN_PHOTOS:
            boxes.append(_hull(found))
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


def _find_changes(pictures: Image) -> np.ndarray:
    """How each picture differs from the median of all, whatever the light: int16 (n, height, width, 3), −127 to 127."""
    scene = np.median(pictures[:: max(1, len(pictures) // 100)], axis=0).astype(np.float32)
    return np.stack([_even_out_light(picture.astype(np.float32), scene) for picture in pictures])


def _even_out_light(picture: np.ndarray, scene: np.ndarray) -> np.ndarray:
    change = np.empty_like(picture)
    for channel in range(3):
        values, expected = (image[..., channel].ravel()[::_LIGHT_STEP] for image in (picture, scene))
        gain, offset = 1.0, float(np.median(values - expected))
        for _ in range(3):  # each time without what is far off: the things, not the light
            far = np.abs(values - gain * expected - offset)
            near = far <= 3 * max(1.0, float(np.median(far)))
            spread = expected[near] - expected[near].mean()
            gain = float(spread @ values[near] / max(float(spread @ spread), 1.0)) if spread.any() else 1.0
            gain = min(max(gain, 0.25), 4.0)
            offset = float((values[near] - gain * expected[near]).mean())
        change[..., channel] = (picture[..., channel] - offset) / gain - scene[..., channel]
    # Slow changes over the picture, such as the edge of a soft shadow, are light too.
    sigma = _LIGHT_SCALE * max(picture.shape[:2])
    change -= cv2.GaussianBlur(np.clip(change, -40, 40), (0, 0), sigma)
    return np.clip(np.rint(cv2.blur(change, (3, 3))), -127, 127).astype(np.int16)


def _find_range(changes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The usual range of values at each place, int16 (height, width, 3), low and high."""
    ordered = np.sort(changes, axis=0)
    odd = round(_ODD_SHARE * (len(ordered) - 1))
    low, high = ordered[odd], ordered[len(ordered) - 1 - odd]
    tolerance = _NEW_LEVELS + (_NEW_SHARE * (high - low)).astype(np.int16)
    # A camera shakes by a pixel.
    around = np.ones((3, 3), np.uint8)
    return cv2.erode(low - tolerance, around), cv2.dilate(high + tolerance, around)


def _find_news(change: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    outside = np.asarray(((change < low) | (change > high)).any(axis=2), np.uint8)
    return np.asarray(cv2.medianBlur(outside, 3), np.uint8)


class _Counts(NamedTuple):
    """pictures: in each fold, (FOLDS,). near: in how many of them something is new near each place, (FOLDS, h, w)."""

    pictures: np.ndarray
    near: np.ndarray


def _count_near(news: np.ndarray, folds: np.ndarray) -> _Counts:
    radius = round(_NEAR * max(news.shape[1:]))
    around = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    near = np.zeros((FOLDS, *news.shape[1:]))
    for mask, fold in zip(news, folds, strict=True):
        near[fold] += cv2.dilate(mask, around)
    return _Counts(np.bincount(folds, minlength=FOLDS), near)


def _differs(new: _Counts, usual: _Counts) -> np.ndarray:
    """Where something new is more frequent than usual, by more than chance (two proportions, pooled): bool.

    Of connected places where it may be so, those are taken that have one where it surely is.
    """
    count, usual_count = new.near.sum(axis=0), usual.near.sum(axis=0)
    pictures, usual_pictures = new.pictures.sum(), usual.pictures.sum()
    share = (count + usual_count) / (pictures + usual_pictures)
    error = np.sqrt(np.maximum(share * (1 - share), 1e-9) * (1 / pictures + 1 / usual_pictures))
    excess = count / pictures - usual_count / usual_pictures
    shares, usual_shares = (counts.near / np.maximum(counts.pictures, 1)[:, None, None] for counts in (new, usual))
    folds = (shares > usual_shares).sum(axis=0)
    maybe = (count >= _MIN_PHOTOS) & (excess > _MIN_ERRORS_AROUND * error) & (folds >= _MIN_FOLDS_AROUND)
    surely = maybe & (excess > _MIN_ERRORS * error) & (folds >= _MIN_FOLDS)
    _, regions = cv2.connectedComponents(maybe.astype(np.uint8))
    return np.isin(regions, np.unique(regions[surely]))


def _box_of(mask: np.ndarray, differs: np.ndarray) -> Box | None:
    """Around all patches of a mask whose centre lies where the classes differ."""
    _, _, patches, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = [
        (x, y, x + w, y + h)
        for (x, y, w, h, _), (column, row) in zip(patches[1:].tolist(), centres[1:].tolist(), strict=True)
        if differs[round(row), round(column)]
    ]
    if not kept:
        return None
    lefts, tops, rights, bottoms = zip(*kept, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


def _hull(boxes: Sequence[Box]) -> Box:
    """Around nearly all boxes, with room: one or two odd ones do not count."""
    odd = min(max(1, round(_ODD_SHARE * len(boxes))), (len(boxes) - 1) // 2)
    lefts, tops, rights, bottoms = (sorted(edges) for edges in zip(*boxes, strict=True))
    room = _ROOM * _LONGER_SIDE
    return Box(lefts[odd] - room, tops[odd] - room, rights[-1 - odd] + room, bottoms[-1 - odd] + room)


def _with_room(box: Box, size: tuple[int, int], scale: float, side: int) -> Crop:
    """As fractions of a picture of this size (width, height), at least `side` pixels, and not too oblong.

    scale: of the box, pixels of the picture for each of its own.
    """
    width, height = ((end - start) * scale for start, end in ((box.left, box.right), (box.top, box.bottom)))
    width, height = max(width, side), max(height, side)
    width, height = max(width, height / _MAX_ASPECT), max(height, width / _MAX_ASPECT)
    middles = ((box.left + box.right) / 2 * scale, (box.top + box.bottom) / 2 * scale)
    x, y = _fractions(middles[0], width, size[0]), _fractions(middles[1], height, size[1])
    return Crop(x[0], y[0], x[1], y[1])


def _fractions(middle: float, length: float, whole: int) -> tuple[float, float]:
    """Start and length, rounded, of this many pixels around `middle`, moved into 0 to `whole`."""
    length = min(length, whole)
    start = min(max(middle - length / 2, 0), whole - length)
    first = np.floor(1000 * start / whole) / 1000
    return float(first), float(round(min(np.ceil(1000 * (start + length) / whole) / 1000, 1) - first, 3))
