"""What is wrong with the photos: files, classes, near-duplicates, and labels that their neighbours contradict."""

from __future__ import annotations

import logging
import sqlite3
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from edge_classify.images.crop import Crop
from edge_classify.images.formats import FORMATS_BY_SUFFIX
from edge_classify.learn.photos.near_duplicates import MAX_COPIES, NearDuplicates, are_same_picture
from edge_classify.learn.photos.photo_set import HELD_OUT, LEFT_OUT, TRAINING, VALIDATION, Photo, PhotoSet
from edge_classify.system.atomic_write import write_atomic

from .backbone import Backbone
from .features import read_features
from .json_file import write_json
from .page import contact_sheet, escape, isolate, page
from .photo_columns import MadeWhenAsked, PhotoColumns, as_columns
from .photo_facts import read_cached_facts
from .training_run import TrainingRun

log = logging.getLogger(__name__)

# A class with fewer training photos than this is reported.
_MIN_RECOMMENDED_PHOTOS = 20
# So is one with this many times fewer than the largest.
_IMBALANCE = 5
# A label is suspected if at most MAX_SAME of its photo's nearest neighbours have it, and at least MIN_OTHER agree on
# another. Of labels made wrong in Alien vs Predator, flowers and TrashNet that finds a third to three quarters, and
# 1 to 5 % of the right ones.
_NEIGHBORS = 10
_MAX_SAME = 1
_MIN_OTHER = 6
# Neighbours are looked for among this many random directions of the features (Johnson & Lindenstrauss 1984).
_PROJECTED_DIMENSIONS = 128
# The features' mean is taken from about this many photos.
_PHOTOS_FOR_MEAN = 500
# Of up to so many photos each is compared with all; of more, with the second number of them, evenly spaced: time grows
# in step with the number of photos, and for each is a fraction of what its features take.
_MAX_COMPARED = 50_000
_COMPARED_WITH = 10_000
# Cosines are computed in blocks of about this many: memory stays bounded.
_COSINES_PER_BLOCK = 2_000_000
# Photos named of each scene.
_MAX_EXAMPLES = 3
_STILL_CAMERA = "a camera that does not move took all photos"
_STILL_CAMERA_SPLIT_BY_TIME = (
    f"{_STILL_CAMERA}, so they are split by time: accuracy is that of later photos of this scene, and says nothing of "
    "another place"
)
_STILL_CAMERA_GIVEN_SPLIT = (
    f"{_STILL_CAMERA}, in both parts of your split: accuracy is that of this scene, and says nothing of another place"
)
_HOW_TO_CORRECT = (
    "<p class=note>If a label is wrong, move the photo into the folder of its class and train again, "
    "with <code>--replace</code>. If it is right, "
    "leave the photo where it is.</p>"
)
# Photos on the contact sheet.
_MAX_TILES = 48
# Classes named in a line of the summary.
_MAX_NAMED = 5


@dataclass(frozen=True)
class Suspect:
    """A photo whose neighbours have another label: `neighbors` of the ten nearest agree on it."""

    path: str
    label: str
    neighbors_label: str
    neighbors: int


@dataclass(frozen=True)
class Scene:
    """A group of many photos that are alike: how many, and the paths of some."""

    photos: int
    examples: list[str]


@dataclass(frozen=True)
class PhotoCheck:
    """All findings, as `photo_check.json` has them; paths are relative to the photos' folder.

    crop: the part of the photos that was looked at; None: all of them.
    classes: training photos per class. skipped: one line per unreadable file. wrong_suffix: (path, format by content).
    copies, near_duplicates, two_labels: pairs of paths. scenes: groups of photos too many to be copies.
    still_camera: all photos show one scene from one place. given_split: the user has split the photos.
    left_out: near-duplicates of training photos, not measured on.
    few, imbalanced: classes. small: the part looked at is narrower or lower than the smallest resolution.
    suspects_by: the cell by whose features photos are similar.
    why_no_suspects: why photos with a wrong label could not be looked for; "" if they were.
    """

    classes: dict[str, int]
    skipped: tuple[str, ...]
    wrong_suffix: Sequence[tuple[str, str]]
    copies: Sequence[tuple[str, str]]
    near_duplicates: Sequence[tuple[str, str]]
    scenes: list[Scene]
    still_camera: bool
    two_labels: list[tuple[str, str]]
    left_out: Sequence[str]
    few: list[str]
    imbalanced: list[str]
    small: Sequence[str]
    suspects: list[Suspect]
    crop: Crop | None = None
    given_split: bool = False
    suspects_by: str = ""
    why_no_suspects: str = ""

    def summary(self) -> str:
        """One line for each kind of finding, or one that there are none."""
        duplicates = {path for pair in self.near_duplicates for path in pair}
        findings = [
            (0 if self.still_camera else len(duplicates), "near-duplicates of each other"),
            (
                0 if self.still_camera else sum(scene.photos for scene in self.scenes),
                f"alike in groups of more than {MAX_COPIES}, as of one scene"
                + ("" if self.given_split else ": split by time"),
            ),
            (len(self.skipped), "unreadable, skipped"),
            (len(self.wrong_suffix), "with a suffix that does not match the file's format (used anyway)"),
            (
                len(self.copies),
                "exact copy of another photo" if len(self.copies) == 1 else "exact copies of another photo",
            ),
            (len(self.left_out), "held out but like a training photo (near-duplicate): not measured on"),
            (len(self.two_labels), "in two classes at once: one of the labels is wrong"),
            (
                len(self.small),
                "smaller than the smallest resolution"
                if self.crop is None
                else f"whose part {self.crop} has fewer pixels than the smallest resolution",
            ),
            (
                len(self.suspects),
                f"possibly mislabelled (to {self.suspects_by} they look most like photos of another class)",
            ),
        ]
        lines = [f"  {count} {what}" for count, what in findings if count]
        if self.still_camera:
            lines.insert(0, f"  {_STILL_CAMERA_GIVEN_SPLIT if self.given_split else _STILL_CAMERA_SPLIT_BY_TIME}")
        if self.why_no_suspects:
            lines.append(f"  possibly mislabelled photos were not looked for: {self.why_no_suspects}")
        if self.few:
            lines.append(f"  fewer than {_MIN_RECOMMENDED_PHOTOS} training photos in: {self._name(self.few)}")
        if self.imbalanced:
            lines.append(
                f"  at most 1/{_IMBALANCE} as many photos as the largest class in: {self._name(self.imbalanced)}"
            )
        return "\n".join(["photo check:", *lines]) if lines else "photo check: no problems found"

    def _name(self, labels: list[str]) -> str:
        named = [f"{label} ({self.classes[label]})" for label in labels[:_MAX_NAMED]]
        more = len(labels) - len(named)
        return ", ".join([*named, f"and {more} more"] if more else named)


def check_photos(
    database: sqlite3.Connection, run: TrainingRun, near_duplicates: NearDuplicates, smallest: int
) -> PhotoCheck:
    """Find all problems; without a backbone, no suspects.

    smallest: the smallest resolution. The costliest backbone's features of all photos as they are must be in the cache.
    """
    photos = as_columns(run.photos)
    every, contents = photos.photos, photos.photos.contents
    copies = _Copies(contents.numbers)
    wrong_suffix, small = list[tuple[str, str]](), array("i")
    all_facts = read_cached_facts(database, (photo.sha256 for photo in every), photos.crop)
    for index, (photo, facts) in enumerate(zip(every, all_facts, strict=True)):
        if facts.format and photo.path.suffix and facts.format != FORMATS_BY_SUFFIX.get(photo.path.suffix.lower()):
            wrong_suffix.append((photo.path.as_posix(), facts.format))
        if min(facts.width, facts.height) < smallest:
            small.append(index)
    classes = dict(
        zip(photos.labels, np.bincount(photos.of(TRAINING).labels, minlength=len(photos.labels)).tolist(), strict=True)
    )
    largest = max(classes.values())
    return PhotoCheck(
        classes=classes,
        skipped=photos.skipped,
        wrong_suffix=wrong_suffix,
        copies=_pairs(every, copies.pairs),
        near_duplicates=_pairs(every, contents.firsts[np.array(near_duplicates.alike, np.intp).reshape(-1, 2)]),
        scenes=_describe_scenes(near_duplicates, every, copies),
        still_camera=photos.still_camera,
        two_labels=_find_two_labels(run, near_duplicates, every, copies),
        left_out=_paths(every, np.flatnonzero(every.within(LEFT_OUT))),
        few=[label for label, count in classes.items() if count < _MIN_RECOMMENDED_PHOTOS],
        imbalanced=[label for label, count in classes.items() if count * _IMBALANCE <= largest],
        small=_paths(every, np.array(small, np.int32)),
        # What is alike in one scene are light and time of day, not the classes.
        suspects=[] if photos.still_camera or not run.backbones else find_suspects(database, run.backbones[-1], photos),
        crop=photos.crop,
        given_split=photos.given_split,
        suspects_by=f"{run.backbones[-1].alpha} @ {run.backbones[-1].resolution}" if run.backbones else "",
    )


def _paths(photos: PhotoColumns, indices: np.ndarray) -> Sequence[str]:
    """Paths of photos. indices: which, int (n,)."""
    return MadeWhenAsked(photos.path, indices)


def _pairs(photos: PhotoColumns, indices: np.ndarray) -> Sequence[tuple[str, str]]:
    """Pairs of paths. indices: int (n, 2)."""
    return MadeWhenAsked(lambda pair: (photos.path(pair[0]), photos.path(pair[1])), indices)


class _Copies:
    """Which photos have which content. numbers: of each photo, as `Contents` has them."""

    def __init__(self, numbers: np.ndarray) -> None:
        self._by_content = np.argsort(numbers, kind="stable").astype(np.int32)
        self._ends = np.cumsum(np.bincount(numbers), dtype=np.int64)

    def photos(self, content: int) -> np.ndarray:
        """The photos of one content, by index, in order."""
        return self._by_content[self._ends[content - 1] if content else 0 : self._ends[content]]

    @property
    def copied(self) -> list[int]:
        """The contents of several photos, in the photos' order."""
        counts = np.diff(self._ends, prepend=0)
        several = np.flatnonzero(counts > 1)
        firsts = self._by_content[self._ends[several] - counts[several]]
        return several[np.argsort(firsts)].tolist()

    @property
    def pairs(self) -> np.ndarray:
        """The first photo of each content with each of its copies, by index, (n, 2)."""
        found = [np.empty((0, 2), np.int32)]
        for content in self.copied:
            own = self.photos(content)
            found.append(np.stack([np.repeat(own[:1], len(own) - 1), own[1:]], axis=1))
        return np.concatenate(found)


def _find_two_labels(
    run: TrainingRun, near_duplicates: NearDuplicates, photos: PhotoColumns, copies: _Copies
) -> list[tuple[str, str]]:
    """Pairs of photos of one picture that are of different classes."""
    labels = photos.labels

    def first_two(content: int, other: int) -> tuple[str, str]:
        own = copies.photos(content)
        return photos.path(own[0]), photos.path(own[1] if other == content else copies.photos(other)[0])

    found = [
        first_two(content, content) for content in copies.copied if len(np.unique(labels[copies.photos(content)])) > 1
    ]
    # Photos of two classes may well be alike, such as faces with a mask and without. Of a still scene all are.
    for a, b in () if run.photos.still_camera else near_duplicates.alike:
        own, others = copies.photos(a), copies.photos(b)
        if not np.isin(labels[own], labels[others]).any():
            one, other = (photos[int(same[0])].where(run.root) for same in (own, others))
            if are_same_picture(one, other, run.photos.crop):
                found.append(first_two(a, b))
    return found


def _describe_scenes(near_duplicates: NearDuplicates, photos: PhotoColumns, copies: _Copies) -> list[Scene]:
    alike = np.flatnonzero(near_duplicates.in_scene)
    alike = alike[np.argsort(near_duplicates.first[alike], kind="stable")]
    scenes = []
    for own in np.split(alike, np.flatnonzero(np.diff(near_duplicates.first[alike])) + 1) if len(alike) else ():
        members = [copies.photos(content) for content in own.tolist()]
        examples = np.concatenate(members[:_MAX_EXAMPLES])[:_MAX_EXAMPLES].tolist()
        scenes.append(Scene(sum(map(len, members)), [photos.path(index) for index in examples]))
    return scenes


def find_suspects(database: sqlite3.Connection, backbone: Backbone, photos: PhotoSet) -> list[Suspect]:
    """Photos whose nearest neighbours, by the cosine of cached features, are of another class; surest first."""
    members = as_columns(photos).of(TRAINING, VALIDATION, HELD_OUT)
    if len(members) <= _NEIGHBORS:
        return []
    labels = members.labels
    step = 1 if len(members) <= _MAX_COMPARED else -(-len(members) // _COMPARED_WITH)
    among = np.arange(0, len(members), step)
    if step > 1:
        log.warning(
            "%d photos are too many to compare each with every other: those with a wrong label are looked for by "
            "comparison with %d of them, and some may be missed",
            len(members),
            len(among),
        )
    project = _make_projection(database, backbone, members)
    others = project(members[::step])
    suspects = []
    rows = max(1, _COSINES_PER_BLOCK // len(among))
    for first in range(0, len(members), rows):
        block = np.arange(first, min(first + rows, len(members)))
        own = others[block] if len(among) == len(members) else project(members[first : first + rows])
        cosines = own @ others.T
        cosines[block[:, None] == among] = -2  # no photo is its own neighbour
        nearest = among[np.argpartition(cosines, -_NEIGHBORS, axis=1)[:, -_NEIGHBORS:]]
        for row, neighbors in enumerate(labels[nearest]):
            votes = np.bincount(neighbors, minlength=len(photos.labels))
            own, other = labels[first + row], int(votes.argmax())
            if votes[own] <= _MAX_SAME and other != own and votes[other] >= _MIN_OTHER:
                path = members.path(first + row)
                suspects.append(Suspect(path, photos.labels[own], photos.labels[other], int(votes[other])))
    return sorted(suspects, key=lambda suspect: -suspect.neighbors)


def write_check(run: TrainingRun, check: PhotoCheck) -> Path | None:
    """Write `photo_check.json`, and `photo_check.html` if there is something to look at; returns the latter."""
    write_json(run.folder / "photo_check.json", {field.name: getattr(check, field.name) for field in fields(check)})
    sheet = run.folder / "photo_check.html"
    body = photos_to_look_at(run, check)
    if not body:
        sheet.unlink(missing_ok=True)
        return None
    title = f"{run.root.name}: photos to look at"
    how = _HOW_TO_CORRECT if check.suspects or check.two_labels else ""
    write_atomic(sheet, page(title, [f"<h1>{escape(title)}</h1>", how, body]))
    return sheet


def photos_to_look_at(run: TrainingRun, check: PhotoCheck) -> str:
    """Suspects, photos in two classes, those not measured on, and unreadable files, as HTML; "" if there are none."""
    tiles = [
        (
            suspect.path,
            f"in {isolate(suspect.label)}, but {suspect.neighbors} of the {_NEIGHBORS} most similar photos in "
            f"{isolate(suspect.neighbors_label)}",
        )
        for suspect in check.suspects
    ]
    tiles += [
        (path, f"in two classes: {isolate(Path(path).parent.name)}") for pair in check.two_labels for path in pair
    ]
    count = len(tiles) + len(check.left_out)
    if not count and not check.skipped:
        return ""
    tiles += [(path, "near-duplicate of a training photo") for path in check.left_out[:_MAX_TILES]]
    shown = {path for path, _ in tiles[:_MAX_TILES]}
    every = as_columns(run.photos).photos
    photos = {path: every[index] for index in range(len(every)) if (path := every.path(index)) in shown}
    sheet = contact_sheet((photos[path].read(run.root), path, words) for path, words in tiles[:_MAX_TILES])
    return sheet + _more(count) + _unreadable(check.skipped)


def _unreadable(files: Sequence[str]) -> str:
    """files: one line for each. As HTML; "" if there are none."""
    if not files:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in files[:_MAX_TILES])
    return f"<h3>Unreadable, skipped</h3><ul>{lines}</ul>{_more(len(files))}"


def _more(count: int) -> str:
    """How many there are beyond those that are shown, as HTML; "" if none."""
    return f"<p class=note>And {count - _MAX_TILES} more, see photo_check.json.</p>" if count > _MAX_TILES else ""


def _make_projection(
    database: sqlite3.Connection, backbone: Backbone, photos: Sequence[Photo]
) -> Callable[[Sequence[Photo]], np.ndarray]:
    """From photos to features in random directions, of unit length, (n, 128): near enough for neighbours, a tenth of
    the memory. photos: all of them.
    """
    length = len(read_features(database, backbone, photos[0]))
    directions = np.random.default_rng(0).normal(size=(length, _PROJECTED_DIMENSIONS)).astype(np.float32)
    some = photos[:: max(1, len(photos) // _PHOTOS_FOR_MEAN)]
    mean = np.mean([read_features(database, backbone, photo) for photo in some], axis=0)

    def project(chosen: Sequence[Photo]) -> np.ndarray:
        vectors = np.stack([(read_features(database, backbone, photo) - mean) @ directions for photo in chosen])
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    return project
