"""What is wrong with the photos: the files, the classes, twins, and labels that their neighbours contradict."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge_classify.images.photo import read_photo
from edge_classify.system.atomic_write import write_atomic

from .backbone import Backbone
from .features import read_features
from .near_duplicates import read_photo_facts
from .photos import HELD_OUT, LEFT_OUT, TRAINING, VALIDATION, PhotoSet

# Fewer training photos than this in a class are said; so is a class with this many times fewer than the largest.
_FEW = 20
_IMBALANCE = 5
_NEIGHBORS = 10
# A label is suspected if at most one of the ten nearest photos has it and at least six agree on another. Of labels
# made wrong in Alien vs Predator, flowers and TrashNet that finds a third to three quarters, and 1 to 5 % of the
# right ones.
_MOST_OWN, _LEAST_OTHER = 1, 6
_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".bmp": "bmp", ".gif": "gif", ".webp": "webp"}
_FORMATS |= {".tif": "tiff", ".tiff": "tiff"}
_MOST_TILES = 48
_MOST_NAMED = 5


@dataclass(frozen=True)
class Suspect:
    """A photo whose neighbours have another label."""

    path: str
    label: str
    neighbors_label: str
    neighbors: int


@dataclass(frozen=True)
class PhotoCheck:
    """All findings; paths are relative to the photos' folder.

    wrong_suffix: (path, format by content). copies, twins, two_labels: pairs of paths. left_out: twins of training
        photos. small: narrower or lower than the smallest resolution.
    """

    classes: dict[str, int]
    skipped: tuple[str, ...]
    wrong_suffix: list[tuple[str, str]]
    copies: list[tuple[str, str]]
    twins: list[tuple[str, str]]
    two_labels: list[tuple[str, str]]
    left_out: list[str]
    few: list[str]
    imbalanced: list[str]
    small: list[str]
    suspects: list[Suspect]

    def summary(self) -> str:
        """A line for each kind of finding, or one that there is none."""
        found = [
            (self.skipped, "cannot be read, left out"),
            (self.wrong_suffix, "not of the format that their names say (used all the same)"),
            (self.copies, "copies of another"),
            (self.left_out, "held out, but twins of training photos: left out of all figures"),
            (self.two_labels, "in two classes at once: one label is wrong"),
            (self.small, "smaller than the smallest resolution"),
            (self.suspects, "whose nearest photos are of another class: look at photo_check.png"),
        ]
        lines = [f"  {len(items)} {what}" for items, what in found if items]
        if self.twins:
            lines.insert(0, f"  {len({path for pair in self.twins for path in pair})} are near twins of one another")
        for labels, what in (
            (self.few, f"fewer than {_FEW} photos to train on"),
            (self.imbalanced, f"{_IMBALANCE} times fewer photos than the largest"),
        ):
            if labels:
                named = ", ".join(f"{label} ({self.classes[label]})" for label in labels[:_MOST_NAMED])
                lines.append(f"  classes with {what}: {named}{', …' * (len(labels) > _MOST_NAMED)}")
        return "\n".join(["photo check:", *lines]) if lines else "photo check: nothing found"


def check_photos(
    database: sqlite3.Connection, photos: PhotoSet, twins: list[tuple[str, str]], suspects: list[Suspect], smallest: int
) -> PhotoCheck:
    """Put together what is known of the photos. smallest: the smallest resolution trained at."""
    paths: dict[str, list[str]] = defaultdict(list)
    labels: dict[str, set[int]] = defaultdict(set)
    wrong_suffix, small = [], []
    looks = read_photo_facts(database, (photo.sha256 for photo in photos.photos))
    for photo, look in zip(photos.photos, looks, strict=True):
        path = photo.path.as_posix()
        paths[photo.sha256].append(path)
        labels[photo.sha256].add(photo.label)
        if look.format and look.format != _FORMATS.get(photo.path.suffix.lower()):
            wrong_suffix.append((path, look.format))
        if min(look.width, look.height) < smallest:
            small.append(path)
    counts = Counter(photo.label for photo in photos.of(TRAINING))
    classes = {label: counts[index] for index, label in enumerate(photos.labels)}
    largest = max(classes.values())
    pairs = [(one[0], other) for one in paths.values() for other in one[1:]]
    copies_of_two = [(one[0], one[1]) for sha256, one in paths.items() if len(labels[sha256]) > 1]
    return PhotoCheck(
        classes=classes,
        skipped=photos.skipped,
        wrong_suffix=wrong_suffix,
        copies=pairs,
        twins=[(paths[one][0], paths[other][0]) for one, other in twins],
        two_labels=copies_of_two
        + [(paths[one][0], paths[other][0]) for one, other in twins if not labels[one] & labels[other]],
        left_out=[photo.path.as_posix() for photo in photos.photos if photo.part == LEFT_OUT],
        few=[label for label, count in classes.items() if count < _FEW],
        imbalanced=[label for label, count in classes.items() if count * _IMBALANCE <= largest],
        small=small,
        suspects=suspects,
    )


def find_suspected_labels(database: sqlite3.Connection, backbone: Backbone, photos: PhotoSet) -> list[Suspect]:
    """Photos whose nearest others, by the cosine of cached features, are of another class."""
    members = photos.of(TRAINING, VALIDATION, HELD_OUT)
    if len(members) <= _NEIGHBORS:
        return []
    labels = np.array([photo.label for photo in members])
    vectors = _project(database, backbone, [photo.sha256 for photo in members])
    suspects = []
    rows = max(1, 2_000_000 // len(members))
    for first in range(0, len(members), rows):
        cosines = vectors[first : first + rows] @ vectors.T
        cosines[np.arange(len(cosines)), first + np.arange(len(cosines))] = -2
        nearest = np.argpartition(cosines, -_NEIGHBORS, axis=1)[:, -_NEIGHBORS:]
        for row, neighbors in enumerate(labels[nearest]):
            votes = np.bincount(neighbors, minlength=len(photos.labels))
            own, other = labels[first + row], int(votes.argmax())
            if votes[own] <= _MOST_OWN and other != own and votes[other] >= _LEAST_OTHER:
                photo = members[first + row]
                found = Suspect(photo.path.as_posix(), photos.labels[own], photos.labels[other], int(votes[other]))
                suspects.append(found)
    return sorted(suspects, key=lambda suspect: -suspect.neighbors)


def write_check(folder: Path, root: Path, check: PhotoCheck) -> None:
    """Write `photo_check.json`, and `photo_check.png` if there is something to look at."""
    write_atomic(folder / "photo_check.json", json.dumps(asdict(check), indent=1, ensure_ascii=False))
    sheet = folder / "photo_check.png"
    tiles = [
        (suspect.path, f"{suspect.label}? {suspect.neighbors}/{_NEIGHBORS} {suspect.neighbors_label}")
        for suspect in check.suspects
    ]
    tiles += [(path, f"in two classes: {Path(path).parent.name}") for pair in check.two_labels for path in pair]
    tiles += [(path, "twin in train") for path in check.left_out]
    if tiles:
        from .plots import contact_sheet  # brings matplotlib

        shown = [(read_photo(root / name), name, text) for name, text in tiles[:_MOST_TILES]]
        write_atomic(sheet, contact_sheet(shown))
    else:
        sheet.unlink(missing_ok=True)


def _project(database: sqlite3.Connection, backbone: Backbone, photos: list[str]) -> np.ndarray:
    """Features in 128 random directions, of unit length: near enough for neighbours, a tenth of the memory."""
    width = len(read_features(database, backbone, photos[0]))
    directions = np.random.default_rng(0).normal(size=(width, 128)).astype(np.float32)
    mean = np.mean(
        [read_features(database, backbone, sha256) for sha256 in photos[:: max(1, len(photos) // 500)]], axis=0
    )
    vectors = np.stack([(read_features(database, backbone, sha256) - mean) @ directions for sha256 in photos])
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit
