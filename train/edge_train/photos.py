"""Finding the photos: which there are, of which class, and in which part of a split the user gave."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_classify.errors import DataError
from edge_classify.images.photo import PICTURE_SUFFIXES, list_pictures
from edge_classify.labels import UNKNOWN
from edge_classify.system.checksum import file_sha256

log = logging.getLogger(__name__)

# What a photo is used for. Nothing is ever chosen on a photo that is held out: figures are reported on those.
TRAINING = "training"
VALIDATION = "validation"
HELD_OUT = "held_out"
# A near-duplicate of a training photo, in a split of the user's own.
LEFT_OUT = "left_out"
# The label of a negative: a picture of none of the classes.
NEGATIVE = -1

_TRAINING_FOLDER = "train"
_VALIDATION_FOLDER = "validation"
_TEST_FOLDER = "test"


@dataclass(frozen=True)
class Photo:
    """One photo file.

    path: relative to the photos' folder.
    label: index into the labels, or NEGATIVE.
    sha256: of the file's bytes, in hex.
    part: TRAINING, VALIDATION (only in a split of the user's own), HELD_OUT or LEFT_OUT.
    fold: of training photos, 0 to FOLDS − 1: heads fitted without a fold are tried on it.
    """

    path: Path
    label: int
    sha256: str
    part: str = TRAINING
    fold: int = -1


@dataclass(frozen=True)
class PhotoSet:
    """All photos of a run.

    skipped: one line for each file that is empty or cannot be read.
    given_split: whether the user split the photos, by `train/` with `validation/` or `test/`.
    held_out_name: what accuracy is measured on, in words.
    still_camera: whether all photos show one scene from one place.
    """

    labels: tuple[str, ...]
    photos: tuple[Photo, ...]
    skipped: tuple[str, ...]
    given_split: bool
    held_out_name: str
    still_camera: bool = False

    def of(self, *parts: str) -> list[Photo]:
        """The photos of the classes in these parts; no negatives."""
        return [photo for photo in self.photos if photo.label != NEGATIVE and photo.part in parts]

    def negatives(self, part: str) -> list[Photo]:
        """The pictures in `unknown/` of this part."""
        return [photo for photo in self.photos if photo.label == NEGATIVE and photo.part == part]

    def counts(self) -> str:
        """How many photos there are for what, in words."""
        words = [f"{len(self.labels)} classes", f"{len(self.of(TRAINING))} training photos"]
        if self.of(VALIDATION):
            words.append(f"{len(self.of(VALIDATION))} validation photos")
        return ", ".join([*words, f"{len(self.of(HELD_OUT))} held-out photos"])


def check_folders(root: Path, *, with_unknown: bool) -> None:
    """Raise DataError unless `root` has the folders that `find_photos` takes; no photo is looked at."""
    _find_labels(_find_parts(root), with_unknown=with_unknown)


def find_photos(root: Path, *, with_unknown: bool) -> PhotoSet:
    """The classes and photos below `root`, in a fixed order, not yet split unless `root` gives the split.

    root: has one folder per class, or `train/` with `validation/` or `test/` or both, each with one folder per class.
        `unknown/` among the classes holds negatives: pictures of none of them.
    with_unknown: whether `unknown/` has that meaning; otherwise it is a class like the others.

    Raises DataError.
    """
    parts = _find_parts(root)
    labels = _find_labels(parts, with_unknown=with_unknown)
    _warn_of_other_files(root)
    photos: list[Photo] = []
    skipped: list[str] = []
    for folder, part in parts.items():
        has_negatives = with_unknown and (folder / UNKNOWN).is_dir()
        for label in (*labels, UNKNOWN) if has_negatives else labels:
            pictures = list_pictures(folder / label)
            if not pictures:
                raise DataError(f"{folder / label}: no pictures in this folder: add some, or remove the folder")
            index = labels.index(label) if label in labels else NEGATIVE
            for path in pictures:
                try:
                    sha256, size = file_sha256(path), path.stat().st_size
                except OSError as error:
                    skipped.append(f"{path}: {error.strerror}")
                    continue
                if size:
                    photos.append(Photo(path.relative_to(root), index, sha256, part))
                else:
                    skipped.append(f"{path}: the file is empty (0 bytes)")
    given_split = len(parts) > 1
    held_out_name = "a fifth of the photos"
    if given_split:
        held_out_name = f"{next(folder.name for folder, part in parts.items() if part == HELD_OUT)}/"
    return PhotoSet(labels, tuple(photos), tuple(skipped), given_split, held_out_name)


def fingerprint(photos: Iterable[Photo]) -> str:
    """One SHA-256 for the set: contents, classes and split, whatever the files are called."""
    lines = sorted(f"{photo.sha256} {photo.label} {photo.part}" for photo in photos)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _find_parts(root: Path) -> dict[Path, str]:
    """The folders that hold class folders, each with the part its photos belong to; the training part first."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of photos")
    train, validation, test = root / _TRAINING_FOLDER, root / _VALIDATION_FOLDER, root / _TEST_FOLDER
    if not train.is_dir() or not (validation.is_dir() or test.is_dir()):
        return {root: TRAINING}
    if not test.is_dir():
        return {train: TRAINING, validation: HELD_OUT}
    if not validation.is_dir():
        return {train: TRAINING, test: HELD_OUT}
    return {train: TRAINING, validation: VALIDATION, test: HELD_OUT}


def _find_labels(parts: Iterable[Path], *, with_unknown: bool) -> tuple[str, ...]:
    """The classes' names, sorted: those of the folders in each part."""
    folders = list(parts)
    found = [
        {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
        - ({UNKNOWN} if with_unknown else set())
        for folder in folders
    ]
    labels = tuple(sorted(found[0]))
    if not labels:
        raise DataError(f"{folders[0]}: no class folders: put the photos of each class in a folder named after it")
    for folder, names in zip(folders[1:], found[1:], strict=True):
        odd = sorted(names ^ set(labels))
        if odd:
            raise DataError(
                f"{odd[0]}: a class in only one of {folders[0]} and {folder}: both must have the same classes"
            )
    if len(labels) < 2:
        raise DataError(f"{folders[0]}: expected at least two classes, found one ({labels[0]}): add another folder")
    for label in labels:
        if label != label.strip() or "\n" in label:
            raise DataError(
                f"{folders[0] / label}: a class name cannot start or end with a space or contain a line break: "
                "rename the folder"
            )
    return labels


def _warn_of_other_files(root: Path) -> None:
    ignored = Counter(
        path.suffix.lower() or "without suffix"
        for path in root.rglob("*")
        if path.suffix.lower() not in PICTURE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if ignored:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(ignored.items()))
        log.warning("%s: ignored files that are not pictures: %s", root, kinds)
