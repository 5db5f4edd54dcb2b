"""What is learnt from: photos, pictures of nothing and drawn negatives, as the backbone of the base sees them."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...collect.quality import hint
from ...errors import DataError
from ...images.crop import cut
from ...images.photo import read_photo
from ...images.preprocessing import Image, preprocess
from ..open_set import MAX_PHOTOS
from ..photos.bursts import join_bursts
from ..photos.facts import PhotoFacts, describe_picture
from ..photos.folds import deal_by_time, deal_folds
from ..photos.made_negatives import BLANKS, TRIAL, draw
from ..photos.near_duplicates import find_near_duplicates
from ..photos.photo_set import NEGATIVE, TRAINING, Photo, PhotoSet, find_photos, find_photos_of_classes
from ..photos.scene import natural_key, shows_one_scene
from ..photos.views import Augmentation, show_view
from ..rows import Rows
from .base import Base

log = logging.getLogger(__name__)

# Fewer different photos of a class are refused: each is in a fold of its own.
MIN_PHOTOS = 5
# Drawings that `unknown` is tried on: the first ten of each kind, as drawing takes longer than looking.
TRIED = tuple(picture for picture in TRIAL if int(picture.sha256.split()[-1]) < 10)
# Photos whose mean the self-test's picture may hold.
_CALIBRATION_PHOTOS = 64

# (pictures done, pictures in all)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Lesson:
    """Rows are float32 (F + M,), of the base's backbone.

    labels: the K classes. photos: of the classes, by class and content, each content once, with its fold and group.
    negatives: those in unknown/, as `photos`.
    rows: of all views of each photo, consecutively, the photo as it is first. views: how many.
    negative_rows, blanks, trial: of the negatives, of pictures that show nothing, and of TRIED.
    features: F.
    calibration: some of the photos, prepared, uint8 RGB [m, R, R, 3].
    still_camera: whether all photos show one scene from one place.
    notes: what was found out about the photos, a line each.
    """

    labels: tuple[str, ...]
    photos: tuple[Photo, ...]
    negatives: tuple[Photo, ...]
    rows: Rows
    views: int
    negative_rows: np.ndarray
    blanks: np.ndarray
    trial: np.ndarray
    features: int
    calibration: Image
    still_camera: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """A photo that could be read, and what is known of it without a network. hint: of `collect.quality`."""

    photo: Photo
    facts: PhotoFacts
    hint: str


def read_lesson(base: Base, root: Path, work: Path, progress: Progress) -> Lesson:
    """Read the photos in `root`, which has a folder for each class as for edge-train.

    work: a folder on a disk with room for the features, 20 kB a photo; they are gone with the process.
    Raises DataError.
    """
    return _read(base, find_photos(root, with_unknown=True), root, work, Augmentation().keys(), progress)


def read_added(base: Base, folders: Mapping[str, Path], known: Sequence[str], work: Path, progress: Progress) -> Lesson:
    """Read the photos in folders that hold one class each, as they are, without other views. Raises DataError.

    known: classes of which there are photos enough already. work: as for `read_lesson`.
    """
    found = find_photos_of_classes(folders, known)
    return _read(base, found, Path(), work, [""], progress, grown=frozenset(known))


def _read(
    base: Base,
    found: PhotoSet,
    root: Path,
    work: Path,
    keys: Sequence[str],
    progress: Progress,
    *,
    grown: frozenset[str] = frozenset(),
) -> Lesson:
    """keys: of the views. grown: classes that may have few photos here."""
    for line in found.skipped:
        log.warning("skipped %s", line)
    photos, notes = _each_once(found)
    _refuse_few(found.labels, photos, grown)
    backbone = base.backbone()
    total = len(photos) + len(BLANKS) + len(TRIED)
    rows = Rows(work, (backbone.row,), np.float32)
    negative_rows: list[np.ndarray] = []
    seen: list[_Seen] = []
    prepared = _Spread(_CALIBRATION_PHOTOS, sum(photo.label != NEGATIVE for photo in photos))
    for number, photo in enumerate(photos):
        progress(number, total)
        try:
            picture = cut(read_photo(root / photo.path), base.classifier.model_file.crop)
        except DataError as error:
            log.warning("skipped %s", error)
            continue
        seen.append(_Seen(photo, describe_picture(picture), hint(picture)))
        if photo.label == NEGATIVE:
            negative_rows.append(backbone(_prepare(picture, base.resolution)))
            continue
        for key in keys:
            view = show_view(picture, key, photo.sha256, base.resolution)
            rows.append(backbone(view))
            if not key:
                prepared.offer(view)
    drawn = []
    for number, blank in enumerate([*BLANKS, *TRIED], len(photos)):
        progress(number, total)
        drawn.append(backbone(_prepare(draw(blank.sha256), base.resolution)))
    progress(total, total)
    dealt, still, more = _deal(root, found.labels, seen, grown)
    return Lesson(
        labels=found.labels,
        photos=tuple(photo for photo in dealt if photo.label != NEGATIVE),
        negatives=tuple(photo for photo in dealt if photo.label == NEGATIVE),
        rows=rows,
        views=len(keys),
        negative_rows=np.array(negative_rows, np.float32).reshape(-1, backbone.row),
        blanks=np.stack(drawn[: len(BLANKS)]),
        trial=np.stack(drawn[len(BLANKS) :]),
        features=backbone.features,
        calibration=np.array(prepared.kept, np.uint8).reshape(-1, base.resolution, base.resolution, 3),
        still_camera=still,
        notes=(*notes, *more),
    )


def _prepare(picture: Image, resolution: int) -> Image:
    return preprocess(picture, np.empty((resolution, resolution, 3), np.uint8))


class _Spread:
    """Keeps every n-th of the pictures offered, such that of `count` at most `most` are kept."""

    def __init__(self, most: int, count: int) -> None:
        self._step = max(1, -(-count // most))
        self._offered = 0
        self.kept: list[Image] = []

    def offer(self, picture: Image) -> None:
        if self._offered % self._step == 0:
            self.kept.append(picture)
        self._offered += 1


def _each_once(found: PhotoSet) -> tuple[list[Photo], list[str]]:
    """Each content once, by class and content, whatever the files are called; and what was left out.

    Raises DataError for a photo in two classes.
    """
    others = Counter(photo.path.parts[0] for photo in found.photos if photo.part != TRAINING)
    notes = [
        f"{folder}/: {_count(photos, 'photo', 'photos')} left out, since accuracy is cross-validated: to learn from "
        "them too, put them into the classes' folders"
        for folder, photos in sorted(others.items())
    ]
    first: dict[str, Photo] = {}
    copies = 0
    for photo in sorted(found.photos, key=lambda photo: photo.path):
        if photo.part != TRAINING:
            continue
        other = first.setdefault(photo.sha256, photo)
        if other.label != photo.label:
            raise DataError(f"{other.path} and {photo.path}: the same photo in two classes: remove the wrong one")
        copies += other is not photo
    if copies:
        notes.append(f"{_count(copies, 'exact copy', 'exact copies')} of other photos, left out")
    order = sorted(first.values(), key=lambda photo: (photo.label == NEGATIVE, photo.label, photo.sha256))
    classes = sum(photo.label != NEGATIVE for photo in order)
    if len(order) - classes > MAX_PHOTOS:
        notes.append(f"unknown/: {MAX_PHOTOS} of {len(order) - classes} pictures are taken: more do not fit in memory")
    return order[: classes + MAX_PHOTOS], notes


def _refuse_few(
    labels: Sequence[str], photos: Sequence[Photo], grown: frozenset[str], groups: Mapping[str, str] | None = None
) -> None:
    """Raise DataError for a class with too few different photos, unless it is of `grown`.

    groups: of near-duplicates, by sha256.
    """
    different: dict[int, set[str]] = defaultdict(set)
    for photo in photos:
        different[photo.label].add(groups[photo.sha256] if groups else photo.sha256)
    for index, label in enumerate(labels):
        if len(different[index]) < MIN_PHOTOS and label not in grown:
            raise DataError(
                f"class {label}: expected at least {MIN_PHOTOS} different photos (20 are better), found "
                f"{len(different[index])} (near-identical ones count once): add some"
            )


def _deal(
    root: Path, labels: Sequence[str], seen: Sequence[_Seen], grown: frozenset[str]
) -> tuple[list[Photo], bool, list[str]]:
    """The photos, each with its fold and group; whether a camera that does not move took them; and notes about them.

    Near-duplicates and bursts go together into one fold. Of a scene seen again and again all are alike: these are dealt
    in the order of their names, so that a fold is a block of time.
    """
    if not seen:
        return [], False, []
    photos = [item.photo for item in seen]
    by_name = sorted(seen, key=lambda item: item.photo.sha256)
    own = [item for item in by_name if item.photo.label != NEGATIVE]
    still = shows_one_scene([item.facts.thumbnail for item in own])
    alike = find_near_duplicates([item.photo.sha256 for item in by_name], [item.facts for item in by_name])
    scene = {name for name, group in alike.groups.items() if still or group in alike.scenes}
    different = {name: name if name in scene else group for name, group in alike.groups.items()}
    of_classes = [photo for photo in photos if photo.label != NEGATIVE]
    _refuse_few(labels, of_classes, grown, different)
    notes = [*_describe_hints(own), *_describe_alike(of_classes, different)]
    bursts = join_bursts(root, photos, alike.groups) | {name: name for name in scene}
    few = _of_few_bursts(of_classes, different, bursts)
    notes += [
        f"{labels[label]}: taken in {_count(number, 'burst', 'bursts')}, so its figures are too good: take photos at "
        f"{MIN_PHOTOS} different times"
        for label, number in sorted(few.items())
    ]
    # A burst stays in one fold, unless a class would then be in fewer folds than it takes.
    apart = {photo.sha256 for photo in of_classes if photo.label in few}
    groups = {name: different[name] if name in apart else group for name, group in bursts.items()}
    if still:
        notes.append("a camera that does not move took all photos: cross-validated by blocks of them, by name")
    folds = deal_folds([photo for photo in photos if photo.sha256 not in scene], groups)
    whiles = dict(groups)
    runs: dict[int, list[str]] = defaultdict(list)
    for photo in sorted(photos, key=lambda photo: natural_key(photo.path.name)):
        if photo.sha256 in scene:
            runs[photo.label].append(photo.sha256)
    for run in runs.values():
        own_folds, own_whiles = deal_by_time(run)
        folds |= own_folds
        whiles |= own_whiles
    dealt = [replace(photo, fold=folds[groups[photo.sha256]], group=whiles[photo.sha256]) for photo in photos]
    return dealt, still, notes


def _of_few_bursts(photos: Sequence[Photo], different: Mapping[str, str], bursts: Mapping[str, str]) -> dict[int, int]:
    """The classes with enough different photos, but from fewer bursts than MIN_PHOTOS; and from how many."""

    def count(groups: Mapping[str, str]) -> dict[int, int]:
        found: dict[int, set[str]] = defaultdict(set)
        for photo in photos:
            found[photo.label].add(groups[photo.sha256])
        return {label: len(names) for label, names in found.items()}

    enough = count(different)
    return {label: number for label, number in count(bursts).items() if number < MIN_PHOTOS <= enough[label]}


def _describe_hints(seen: Sequence[_Seen]) -> Iterator[str]:
    for word in ("blurred", "dark"):
        paths = [str(item.photo.path) for item in seen if item.hint == word]
        if paths:
            yield f"{_count(len(paths), 'photo is', 'photos are')} {word}, for instance {min(paths)}"


def _describe_alike(photos: Sequence[Photo], groups: Mapping[str, str]) -> Iterator[str]:
    """Photos that are nearly identical, and those of them that are in different classes."""
    members: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        members[groups[photo.sha256]].append(photo)
    several = [group for group in members.values() if len(group) > 1]
    if several:
        more = sum(len(group) - 1 for group in several)
        yield f"{_count(more, 'photo is', 'photos are')} nearly identical to others: more of the same teaches little"
    for group in several:
        other = next((photo for photo in group if photo.label != group[0].label), None)
        if other is not None:
            yield f"{group[0].path} and {other.path} are nearly identical, but in two classes: is one label wrong?"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
