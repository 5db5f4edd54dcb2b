"""Finding the photos: which there are, of which class, and which are held out."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from edge_classify.errors import DataError
from edge_classify.model_file import UNKNOWN
from edge_classify.photo import PICTURE_SUFFIXES, list_pictures

log = logging.getLogger(__name__)

_HELD_OUT_SHARE = 0.2
_SPLIT_FOLDERS = ("train", "validation")


@dataclass(frozen=True)
class Photo:
    """One photo file.

    path: relative to the photos' folder.
    label: index into the labels.
    sha256: of the file's bytes, in hex.
    held_out: never trained or calibrated on.
    """

    path: Path
    label: int
    sha256: str
    held_out: bool


def find_photos(root: Path, *, with_unknown: bool) -> tuple[tuple[str, ...], list[Photo], list[str]]:
    """The classes and photos below `root`, in a fixed order.

    root: holds a folder for each class, or `train/` and `validation/` with one for each class. Without
        those, a fifth is held out by the content's hash: the same photos on any machine, and a photo that
        is there twice lies on one side of the split.
    with_unknown: the label `unknown` is the model's own and may not be a class.

    Returns (labels, photos, skipped): `skipped` has a line for each empty or unreadable file.
    Raises DataError.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder of photos")
    split = [root / name for name in _SPLIT_FOLDERS]
    given_split = all(folder.is_dir() for folder in split)
    folders = split if given_split else [root]
    labels = _find_labels(root, folders, with_unknown=with_unknown)
    photos: list[Photo] = []
    skipped: list[str] = []
    for folder in folders:
        for index, label in enumerate(labels):
            pictures = list_pictures(folder / label)
            if not pictures:
                raise DataError(f"{folder / label}: no pictures in this folder: add some, or remove it")
            for path in pictures:
                try:
                    data = path.read_bytes()
                except OSError as error:
                    skipped.append(f"{path}: {error.strerror}")
                    continue
                if not data:
                    skipped.append(f"{path}: the file is empty (0 bytes)")
                    continue
                digest = hashlib.sha256(data).hexdigest()
                held_out = folder.name == "validation" if given_split else int(digest[:8], 16) / 2**32 < _HELD_OUT_SHARE
                photos.append(Photo(path.relative_to(root), index, digest, held_out))
    if not given_split:
        photos = _hold_out_one_each(photos, len(labels))
    return labels, photos, skipped


def check_classes(labels: tuple[str, ...], photos: list[Photo]) -> None:
    """Raise DataError unless each class has a photo on both sides of the split."""
    for held_out, needed in ((False, "to train on"), (True, "to hold out")):
        counts = Counter(photo.label for photo in photos if photo.held_out == held_out)
        for index, label in enumerate(labels):
            if not counts[index]:
                raise DataError(
                    f"class {label}: no picture that can be read {needed}: at least 2 different ones are needed"
                )


def fingerprint(photos: list[Photo]) -> str:
    """One sha256 for the set: contents, classes and split, whatever the files are called."""
    lines = sorted(f"{photo.sha256} {photo.label} {photo.held_out:d}" for photo in photos)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _find_labels(root: Path, folders: list[Path], *, with_unknown: bool) -> tuple[str, ...]:
    found = [
        {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
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
    if with_unknown and UNKNOWN in labels:
        raise DataError(
            f"{folders[0] / UNKNOWN}: the model has an output of that name of its own: rename the folder, "
            "or train with --no-unknown to make it a class like the others"
        )
    _report_ignored(root)
    return labels


def _report_ignored(root: Path) -> None:
    ignored = Counter(
        path.suffix.lower() or "no suffix"
        for path in root.rglob("*")
        if path.is_file() and path.suffix.lower() not in PICTURE_SUFFIXES and not path.name.startswith(".")
    )
    if ignored:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(ignored.items()))
        log.warning("%s: files that are not read as pictures are left out: %s", root, kinds)


def _hold_out_one_each(photos: list[Photo], classes: int) -> list[Photo]:
    """Where chance put a small class wholly on one side, move the photo nearest to the border."""
    for label in range(classes):
        members = [photo for photo in photos if photo.label == label]
        if len({photo.sha256 for photo in members}) < 2:
            continue  # check_classes says so, once it is known which of them can be read
        for held_out, border in ((True, min), (False, max)):
            if not any(photo.held_out == held_out for photo in members):
                moved = border(photo.sha256 for photo in members)
                photos = [
                    replace(photo, held_out=held_out) if photo.label == label and photo.sha256 == moved else photo
                    for photo in photos
                ]
    return photos
