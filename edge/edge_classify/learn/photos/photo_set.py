"""Finding the photos: which there are, of which class, and in which part of a split the user gave."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ...errors import DataError
from ...images.crop import Crop, cut
from ...images.folder import Kind, describe_left_out, find_pictures, warn_of_left_out
from ...images.photo import decode_photo, without_library
from ...images.preprocessing import Image
from ...model.labels import UNKNOWN, name_classes
from ...system.checksum import file_sha256
from ...system.counted import counted
from ...system.nearest import or_nearest_path
from .layout import HELD_OUT as HELD_OUT
from .layout import TRAINING as TRAINING
from .layout import VALIDATION as VALIDATION
from .layout import check_one_class, read_layout

log = logging.getLogger(__name__)

# A near-duplicate of a training photo, in a split of the user's own.
LEFT_OUT = "left_out"
# The label of a negative: a picture of none of the classes.
NEGATIVE = -1


class Elsewhere(Protocol):
    """Where a photo's bytes are, if they are no file in the folder, and what was read of them.

    burst: as `Record.burst`. taken: when, in a text that sorts. `edge_train.place.Place` is such.
    """

    @property
    def burst(self) -> str: ...

    @property
    def taken(self) -> str: ...

    def read_bytes(self) -> bytes:
        """Raises OSError."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo.

    path: relative to the photos' folder, or what it was when shards were made of them.
    label: index into the labels, or NEGATIVE.
    sha256: of the file's bytes, in hex.
    part: TRAINING, VALIDATION (only in a split of the user's own), HELD_OUT or LEFT_OUT.
    fold: of training photos, 0 to FOLDS − 1: heads fitted without a fold are tried on it.
    group: the same for photos that show almost the same: near-duplicates, a burst, a while of one scene.
    crop: the part of it that is used, and that the device will use of its frames; None: all of it.
    place: where its bytes are, if not in a file at `path`.
    """

    path: Path
    label: int
    sha256: str
    part: str = TRAINING
    fold: int = -1
    group: str = ""
    crop: Crop | None = None
    place: Elsewhere | None = None

    def where(self, root: Path) -> Path | Elsewhere:
        """Where its bytes are. root: of `path`."""
        return root / self.path if self.place is None else self.place

    def read(self, root: Path) -> Image:
        """The part that is used, uint8 BGR. root: of `path`. Raises DataError."""
        return cut(read_picture(self.where(root)), self.crop)


def read_picture(where: Path | Elsewhere) -> Image:
    """The whole picture, as `decode_photo`. Raises DataError."""
    try:
        data = where.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: {error.strerror}") from error
    return decode_photo(data, str(where))


@dataclass(frozen=True)
class PhotoSet:
    """All photos of a run.

    skipped: one line for each file that is empty or cannot be read.
    given_split: whether the user split the photos, by `train/` with `validation/` or `test/`.
    held_out_name: what accuracy is measured on, in words.
    still_camera: whether all photos show one scene from one place.
    """

    labels: tuple[str, ...]
    photos: Sequence[Photo]
    skipped: tuple[str, ...]
    given_split: bool
    held_out_name: str
    still_camera: bool = False

    @property
    def crop(self) -> Crop | None:
        """The part that is used of every photo."""
        return self.photos[0].crop if self.photos else None

    @cached_property
    def fingerprint(self) -> str:
        """As the function of this name, of all photos."""
        return fingerprint(self.photos)

    def of(self, *parts: str) -> Sequence[Photo]:
        """The photos of the classes in these parts; no negatives."""
        return [photo for photo in self.photos if photo.label != NEGATIVE and photo.part in parts]

    def negatives(self, part: str) -> Sequence[Photo]:
        """The pictures in `unknown/` of this part."""
        return [photo for photo in self.photos if photo.label == NEGATIVE and photo.part == part]

    def counts(self) -> str:
        """How many photos there are for what, in words."""
        words = [name_classes(self.labels), counted(len(self.of(TRAINING)), "training photo")]
        if self.of(VALIDATION):
            words.append(counted(len(self.of(VALIDATION)), "validation photo"))
        words.append(counted(len(self.of(HELD_OUT)), "held-out photo"))
        return ", ".join(words) + ("" if self.crop is None else f"; of each the part {self.crop} (--crop)")


def check_folders(root: Path, *, with_unknown: bool) -> None:
    """Raise DataError unless `root` has the folders that `find_photos` takes; no photo is looked at."""
    read_layout(root, with_unknown=with_unknown)


def find_photos(root: Path, *, with_unknown: bool) -> PhotoSet:
    """The classes and photos below `root`, in a fixed order, not yet split unless `root` gives the split.

    root: has one folder per class, or `train/` with `validation/` or `test/` or both, each with one folder per class;
        other common names of these (`training`, `val`, `Test`, `train2017`, ...) are known.
        `unknown/` among the classes holds negatives: pictures of none of them.
    with_unknown: whether `unknown/` has that meaning; otherwise it is a class like the others.

    Warns of what is left out, and of what is assumed. Raises DataError.
    """
    layout = read_layout(root, with_unknown=with_unknown)
    left_out = Counter(layout.left_out)
    photos: list[Photo] = []
    skipped: list[str] = []
    for folder, part in layout.parts.items():
        for label, class_folder in sorted(
            layout.folders[folder].items(), key=lambda item: _order(item[0], layout.labels)
        ):
            index = layout.labels.index(label) if label in layout.labels else NEGATIVE
            paths = _pictures_of_class(class_folder, left_out)
            found = [_look_at(path, path.relative_to(root), index, part) for path in paths]
            photos += [photo for photo in found if isinstance(photo, Photo)]
            skipped += [why for why in found if isinstance(why, str)]
    for note in layout.notes:
        log.warning("%s", note)
    warn_of_left_out(root, left_out)
    given_split = len(layout.parts) > 1
    held_out_name = "a fifth of the photos"
    if given_split:
        held_out_name = f"{next(folder.name for folder, part in layout.parts.items() if part == HELD_OUT)}/"
    return PhotoSet(layout.labels, tuple(photos), tuple(skipped), given_split, held_out_name)


def find_photos_of_classes(folders: Mapping[str, Path], known: Iterable[str]) -> PhotoSet:
    """The photos of folders that hold one class each, by class; those of `unknown` are negatives.

    known: classes that there are already; a folder with folders of these is refused.
    Their paths are those of the folders and the files in them. Warns of what is left out. Raises DataError.
    """
    labels = tuple(sorted(label for label in folders if label != UNKNOWN))
    found: list[Photo | str] = []
    for label, folder in sorted(folders.items()):
        if not folder.is_dir():
            meant = or_nearest_path(folder, ": expected a folder of photos")
            raise DataError(f"{label}={folder}: no such folder{meant}")
        check_one_class(label, folder, known)
        left_out: Counter[Kind] = Counter()
        index = labels.index(label) if label in labels else NEGATIVE
        found += [_look_at(path, path, index, TRAINING) for path in _pictures_of_class(folder, left_out)]
        warn_of_left_out(folder, left_out)
    photos = tuple(photo for photo in found if isinstance(photo, Photo))
    return PhotoSet(labels, photos, tuple(why for why in found if isinstance(why, str)), False, "")


def _look_at(path: Path, name: Path, label: int, part: str) -> Photo | str:
    """The photo in this file, with `name` as its path, or why it is skipped."""
    try:
        sha256, size = file_sha256(path), path.stat().st_size
    except OSError as error:
        return f"{path}: {error.strerror}"
    return Photo(name, label, sha256, part) if size else f"{path}: the file is empty (0 bytes)"


def fingerprint(photos: Sequence[Photo]) -> str:
    """One SHA-256 for the set: contents, the part used of them, classes and split, whatever the files are called."""
    whole, between = hashlib.sha256(), ""
    # In sixteen parts, one after another: their lines are not all in memory at once.
    for digit in sorted({photo.sha256[:1] for photo in photos}):
        lines = sorted(_line(photo) for photo in photos if photo.sha256[:1] == digit)
        whole.update((between + "\n".join(lines)).encode())
        between = "\n"
    return whole.hexdigest()


def _line(photo: Photo) -> str:
    return f"{photo.sha256} {photo.label} {photo.part}{'' if photo.crop is None else f' {photo.crop}'}"


def _order(label: str, labels: tuple[str, ...]) -> tuple[bool, str]:
    """The classes as their labels are sorted, negatives last."""
    return label not in labels, label


def _pictures_of_class(folder: Path, left_out: Counter[Kind]) -> list[Path]:
    """The pictures below a class folder; what else is in it is added to `left_out`. Raises DataError if none is."""
    contents = find_pictures(folder)
    if not contents.pictures:
        others = describe_left_out(contents.left_out)
        raise DataError(
            f"{folder}: no pictures in this folder{f' ({others})' if others else ''}: add some, or move the folder away"
        )
    heic, install = without_library(contents.pictures)
    if heic:
        raise DataError(f"{folder}: {counted(len(heic), 'HEIC photo')}: to read them, install pillow-heif: {install}")
    left_out.update(contents.left_out)
    return contents.pictures
