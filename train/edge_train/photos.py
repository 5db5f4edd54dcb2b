"""Finding the photos: which there are, of which class, and what each is used for."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edge_classify.errors import DataError
from edge_classify.model_file import UNKNOWN
from edge_classify.photo import PICTURE_SUFFIXES, list_pictures

log = logging.getLogger(__name__)

# What a photo is used for. Nothing is ever chosen on a photo that is held out: figures are reported on those.
TRAINING, VALIDATION, HELD_OUT, LEFT_OUT = "training", "validation", "held_out", "left_out"
STRANGER = -1
FOLDS = 5

_HELD_OUT_SHARE = 0.2
_TRAINING_FOLDER, _VALIDATION_FOLDER, _TEST_FOLDER = "train", "validation", "test"


@dataclass(frozen=True)
class Photo:
    """One photo file.

    path: relative to the photos' folder.
    label: index into the labels, or STRANGER for a picture of nothing in particular.
    sha256: of the file's bytes, in hex.
    part: TRAINING, VALIDATION (given for choosing), HELD_OUT, or LEFT_OUT: a twin of a training photo.
    fold: of training photos, 0 to 4: heads fitted without a fold are tried on it.
    """

    path: Path
    label: int
    sha256: str
    part: str = TRAINING
    fold: int = -1


@dataclass(frozen=True)
class PhotoSet:
    """All photos of a run.

    skipped: a line for each file that is empty or cannot be read.
    given: the user's own split, by `train/` with `validation/` or `test/`.
    held_out_name: what figures are measured on, in words.
    """

    labels: tuple[str, ...]
    photos: tuple[Photo, ...]
    skipped: tuple[str, ...]
    given: bool
    held_out_name: str

    def of(self, *parts: str) -> list[Photo]:
        """The photos of the classes in these parts."""
        return [photo for photo in self.photos if photo.label != STRANGER and photo.part in parts]

    def counts(self) -> str:
        """How many photos there are for what, in words."""
        words = [f"{len(self.labels)} classes", f"{len(self.of(TRAINING))} photos to train on"]
        if self.of(VALIDATION):
            words.append(f"{len(self.of(VALIDATION))} to choose on")
        return ", ".join([*words, f"{len(self.of(HELD_OUT))} held out"])

    def strangers(self, part: str) -> list[Photo]:
        """The pictures in `unknown/` of this part."""
        return [photo for photo in self.photos if photo.label == STRANGER and photo.part == part]


def find_photos(root: Path, *, with_unknown: bool) -> PhotoSet:
    """The classes and photos below `root`, in a fixed order, not yet split unless `root` gives the split.

    root: holds a folder for each class, or `train/` with `validation/` or `test/` or both, with one for each class.
        `unknown/` among the classes holds pictures of nothing in particular.
    with_unknown: else `unknown/` is a class like the others.

    Raises DataError.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder of photos")
    parts = _find_parts(root)
    labels = _find_labels(root, list(parts), with_unknown=with_unknown)
    photos: list[Photo] = []
    skipped: list[str] = []
    for folder, part in parts.items():
        for label in (*labels, UNKNOWN) if with_unknown and (folder / UNKNOWN).is_dir() else labels:
            pictures = list_pictures(folder / label)
            if not pictures:
                raise DataError(f"{folder / label}: no pictures in this folder: add some, or remove it")
            index = labels.index(label) if label in labels else STRANGER
            for path in pictures:
                try:
                    digest, size = file_sha256(path), path.stat().st_size
                except OSError as error:
                    skipped.append(f"{path}: {error.strerror}")
                    continue
                if size:
                    photos.append(Photo(path.relative_to(root), index, digest, part))
                else:
                    skipped.append(f"{path}: the file is empty (0 bytes)")
    given = len(parts) > 1
    name = "a fifth of the photos"
    if given:
        name = f"{next(folder.name for folder, part in parts.items() if part == HELD_OUT)}/"
    return PhotoSet(labels, tuple(photos), tuple(skipped), given, name)


def split_photos(found: PhotoSet, twins: Iterable[tuple[str, str]]) -> PhotoSet:
    """Give each photo its part and fold.

    twins: pairs of photos, by sha256, that show the same picture.

    Without a given split a fifth is held out by the content's hash: the same photos on any machine. Twins and
    copies go together, to one side and one fold. In a given split, photos to be measured on that have a twin
    among the training photos are left out: they would make the figures better than they are.
    """
    groups = _group(found.photos, twins)
    if found.given:
        seen = {groups[photo.sha256] for photo in found.photos if photo.part == TRAINING}
        photos = [
            replace(photo, part=LEFT_OUT) if photo.part != TRAINING and groups[photo.sha256] in seen else photo
            for photo in found.photos
        ]
    else:
        held_out = {group for group in groups.values() if int(group[:8], 16) / 2**32 < _HELD_OUT_SHARE}
        photos = [
            replace(photo, part=HELD_OUT if groups[photo.sha256] in held_out else TRAINING) for photo in found.photos
        ]
        for label in range(len(found.labels)):
            photos = _hold_out_one_group(photos, label, groups)
    folds = _fold_numbers(photos, groups)
    photos = [replace(photo, fold=folds[groups[photo.sha256]]) if photo.part == TRAINING else photo for photo in photos]
    return replace(found, photos=tuple(photos))


def file_sha256(path: Path) -> str:
    """Of the file's bytes, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_classes(photos: PhotoSet) -> None:
    """Raise DataError unless each class has a photo on both sides of the split."""
    for part, needed in ((TRAINING, "to train on"), (HELD_OUT, "to hold out")):
        counts = Counter(photo.label for photo in photos.of(part))
        for index, label in enumerate(photos.labels):
            if not counts[index]:
                raise DataError(
                    f"class {label}: no picture that can be read {needed}: at least 2 different ones are needed"
                )


def fingerprint(photos: Iterable[Photo]) -> str:
    """One sha256 for the set: contents, classes and split, whatever the files are called."""
    lines = sorted(f"{photo.sha256} {photo.label} {photo.part}" for photo in photos)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _find_parts(root: Path) -> dict[Path, str]:
    train, validation, test = (root / name for name in (_TRAINING_FOLDER, _VALIDATION_FOLDER, _TEST_FOLDER))
    if not train.is_dir() or not (validation.is_dir() or test.is_dir()):
        return {root: TRAINING}
    if not test.is_dir():
        return {train: TRAINING, validation: HELD_OUT}
    return {train: TRAINING, **({validation: VALIDATION} if validation.is_dir() else {}), test: HELD_OUT}


def _find_labels(root: Path, folders: list[Path], *, with_unknown: bool) -> tuple[str, ...]:
    found = [
        {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
        - ({UNKNOWN} if with_unknown else set())
        for folder in folders
    ]
    labels = tuple(sorted(found[0]))
    if not labels:
        raise DataError(
            f"{folders[0]}: no class folders in it: put the photos of each class in a folder named after it"
        )
    for folder, names in zip(folders[1:], found[1:], strict=True):
        odd = sorted(names ^ set(labels))
        if odd:
            raise DataError(
                f"{odd[0]}: a class in only one of {folders[0]} and {folder}: both must have the same classes"
            )
    if len(labels) < 2:
        raise DataError(f"{folders[0]}: only one class ({labels[0]}): at least two are needed to tell apart")
    for label in labels:
        if label != label.strip() or "\n" in label:
            raise DataError(f"{folders[0] / label}: the folder's name starts or ends with a space: rename it")
    _report_ignored(root)
    return labels


def _report_ignored(root: Path) -> None:
    ignored = Counter(
        path.suffix.lower() or "no suffix"
        for path in root.rglob("*")
        if path.suffix.lower() not in PICTURE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if ignored:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(ignored.items()))
        log.warning("%s: files that are not read as pictures are left out: %s", root, kinds)


def _group(photos: Iterable[Photo], twins: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For each photo, by sha256, the smallest sha256 of those that it is linked to by twins."""
    smallest = {photo.sha256: photo.sha256 for photo in photos}

    def find(sha256: str) -> str:
        while smallest[sha256] != sha256:
            smallest[sha256] = smallest[smallest[sha256]]
            sha256 = smallest[sha256]
        return sha256

    for pair in twins:
        low, high = sorted(map(find, pair))
        smallest[high] = low
    return {sha256: find(sha256) for sha256 in smallest}


def _hold_out_one_group(photos: list[Photo], label: int, groups: dict[str, str]) -> list[Photo]:
    """Where chance put a small class wholly on one side, move the group nearest to the border."""
    members = [photo for photo in photos if photo.label == label]
    names = {groups[photo.sha256] for photo in members}
    if len(names) < 2:
        # All show the same picture. To go on at all, the split goes through the group.
        groups = {photo.sha256: photo.sha256 for photo in members}
        names = set(groups)
        if len(names) < 2:
            return photos  # check_classes says so, once it is known which of them can be read
    for part, border in ((HELD_OUT, min), (TRAINING, max)):
        if not any(photo.part == part for photo in members):
            moved = border(names)
            return [
                replace(photo, part=part) if photo.label == label and groups[photo.sha256] == moved else photo
                for photo in photos
            ]
    return photos


def _fold_numbers(photos: Iterable[Photo], groups: dict[str, str]) -> dict[str, int]:
    """A fold for each group of training photos, dealt out evenly in each class."""
    dealt: dict[int, int] = defaultdict(int)
    folds: dict[str, int] = {}
    for group, label in sorted({(groups[photo.sha256], photo.label) for photo in photos if photo.part == TRAINING}):
        if group not in folds:
            folds[group] = dealt[label] % FOLDS
            dealt[label] += 1
    return folds
