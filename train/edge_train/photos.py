"""Finding the photos: which there are, of which class, and what each is used for."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edge_classify.errors import DataError
from edge_classify.images.photo import PICTURE_SUFFIXES, list_pictures
from edge_classify.labels import UNKNOWN

log = logging.getLogger(__name__)

# What a photo is used for. Nothing is ever chosen on a photo that is held out: figures are reported on those.
TRAINING, VALIDATION, HELD_OUT, LEFT_OUT = "training", "validation", "held_out", "left_out"
STRANGER = -1
FOLDS = 5
_LEAST_TO_TRAIN = 3

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

    Without a given split a fifth of each class is held out, by content: the same photos on any machine. Twins and
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
        groups = _split_lone_groups(found.photos, groups)
        held_out = _choose_held_out(found.photos, groups)
        photos = [
            replace(photo, part=HELD_OUT if groups[photo.sha256] in held_out else TRAINING) for photo in found.photos
        ]
    folds = _fold_numbers(photos, groups)
    photos = [replace(photo, fold=folds[groups[photo.sha256]]) if photo.part == TRAINING else photo for photo in photos]
    return replace(found, photos=tuple(photos))


def file_sha256(path: Path) -> str:
    """Of the file's bytes, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_classes(photos: PhotoSet) -> None:
    """Raise DataError unless each class has a photo to hold out, and enough to train and to choose on."""
    for index, label in enumerate(photos.labels):
        if not any(photo.label == index for photo in photos.of(HELD_OUT)):
            raise DataError(f"class {label}: no picture that can be read to hold out: add some")
        # Each group of twins is in one fold, so these are different pictures.
        different = len({photo.fold for photo in photos.of(TRAINING) if photo.label == index})
        if different < _LEAST_TO_TRAIN:
            raise DataError(
                f"class {label}: {different} different pictures that can be read to train on (twins count once): "
                f"at least {_LEAST_TO_TRAIN} are needed, and 50 are better: add some"
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


def _split_lone_groups(photos: Iterable[Photo], groups: dict[str, str]) -> dict[str, str]:
    """Where all photos of a class show the same picture, the split goes through the group, to go on at all."""
    members: dict[int, set[str]] = defaultdict(set)
    for photo in photos:
        members[photo.label].add(photo.sha256)
    lone = {sha256 for own in members.values() if len({groups[sha256] for sha256 in own}) == 1 for sha256 in own}
    return {sha256: sha256 if sha256 in lone else group for sha256, group in groups.items()}


def _choose_held_out(photos: Iterable[Photo], groups: dict[str, str]) -> set[str]:
    """The groups to hold out: of each class a fifth of its pictures, in whole groups.

    In the order of a hash of the group's own: by the photos' hashes others may have split them before.
    """
    members: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for photo in photos:
        members[photo.label][groups[photo.sha256]].add(photo.sha256)
    held_out: set[str] = set()
    for _, own in sorted(members.items()):
        wanted = max(1, round(_HELD_OUT_SHARE * sum(map(len, own.values()))))
        taken = sum(len(own[group]) for group in own if group in held_out)
        free = sorted((group for group in own if group not in held_out), key=_shuffled)
        for group in free[: len(own) - 1]:
            if taken + len(own[group]) <= wanted:
                held_out.add(group)
                taken += len(own[group])
        if not taken and len(own) > 1:
            held_out.add(min((len(own[group]), group) for group in free)[1])
    return held_out


def _shuffled(group: str) -> str:
    return hashlib.sha256(b"held out" + group.encode()).hexdigest()


def _fold_numbers(photos: Iterable[Photo], groups: dict[str, str]) -> dict[str, int]:
    """A fold for each group of training photos, dealt out evenly in each class."""
    dealt: dict[int, int] = defaultdict(int)
    folds: dict[str, int] = {}
    for group, label in sorted({(groups[photo.sha256], photo.label) for photo in photos if photo.part == TRAINING}):
        if group not in folds:
            folds[group] = dealt[label] % FOLDS
            dealt[label] += 1
    return folds
