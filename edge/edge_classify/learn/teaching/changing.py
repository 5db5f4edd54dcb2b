"""Changing the classes of a model file when most of its photos are gone: adding, removing, renaming.

A class is removed by leaving out its column of the head; how photos are added: `learn.adding`. Either way `unknown` is
fitted anew, on what the file remembers (`learn.memory`) and the new photos. Renaming changes names and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...model.labels import UNKNOWN
from ...model.model_file import CARD_PART, CONTRACT_PART, LABELS_PART, MEMORY_PART, PICTURE_PART, read_part
from ...model.parts import attach, encode_labels
from ...system.counted import counted
from ..adding import Added, Known, add_photos
from ..head import Head
from ..memory import Memory, decode, encode, read_memory
from ..photos.photo_set import NEGATIVE
from ..votes import give_probabilities
from .base import Base, open_base
from .class_changes import Changed, ClassChanges
from .head_reading import counts_density, read_head
from .lesson import Lesson, Progress, read_added
from .taught_file import Content, check_output, photo_hashes, provenance, write_content, write_file

# A class is hard to tell from another that this share of its photos is taken for.
_CONFUSED = 0.2
# Photos are remembered already if this share of their numbers is: other machines round a few of them to the next step.
_SAME = 0.98


def change(
    base: Path, output: Path, changes: ClassChanges, *, memory: bool, replace: bool, progress: Progress
) -> Changed:
    """As `teach.change_classes`."""
    check_output(base, output, replace=replace)
    opened = open_base(base)
    labels = _rename(opened, changes.rename)
    if not changes.remove and not changes.add:
        write_file(output, _with_names(opened, labels, changes, memory=memory))
        return Changed(output, labels, ())
    head, remembered = _read_known(opened, labels)
    labels, head, remembered = _remove(opened, labels, head, remembered, changes.remove)
    names = (*labels, *sorted(changes.add.keys() - {*labels, UNKNOWN}))
    if len(names) < 2:
        raise DataError(f"--remove {' '.join(changes.remove)}: leaves {names[0]} alone: a file needs two classes")
    lesson = read_added(opened, changes.add, labels, output.parent, progress)
    rows, classes, notes = _leave_out_remembered(lesson, names, remembered)
    if not len(rows) and not changes.remove and not changes.rename:
        why = "remembers all of these photos already" if notes else "gets no photo that can be read"
        raise DataError(f"{output} is not written, for it would be as {base}, which {why}")
    known = Known(
        head,
        remembered,
        # Files of before have no votes.
        vote_weight=opened.contract["decision"].get("vote_weight", 0.0),
        keep=opened.contract["decision"]["keep"],
        balanced=opened.contract["provenance"].get("arguments", {}).get("class_weights", "balanced") == "balanced",
        blanks=lesson.blanks,
        one_scene=not counts_density(opened.model),
    )
    added = add_photos(known, rows, classes)
    figures = _figures(names, added)
    content = Content(
        labels=(*names, UNKNOWN),
        head=added.head,
        vote_weight=known.vote_weight,
        open_set=added.open_set,
        calibration=lesson.calibration if len(lesson.calibration) else _test_picture(opened),
        decision={"keep": known.keep},
        evaluation=_evaluation(figures),
        provenance=provenance(opened, [*lesson.photos, *lesson.negatives], _history(changes, lesson)),
        memory=added.memory if memory else None,
    )
    write_file(output, write_content(opened, content, output.stem))
    unknown = _report_unknown(known, added, rows, classes)
    return Changed(output, names, (*lesson.notes, *notes, *_report(figures), *unknown))


def _rename(base: Base, rename: Mapping[str, str]) -> tuple[str, ...]:
    """The base's classes by their new names. Raises DataError."""
    labels = base.classifier.labels
    labels = labels[:-1] if base.contract["decision"]["unknown"] else labels
    for old, new in rename.items():
        _check_there(base, labels, f"--rename {old}={new}", old)
        if new == UNKNOWN:
            raise DataError(f"--rename {old}={new}: unknown is the answer for none of the classes: take another name")
    renamed = tuple(rename.get(label, label) for label in labels)
    twice = next((label for label in renamed if renamed.count(label) > 1), None)
    if twice is not None:
        raise DataError(f"--rename: two classes would be called {twice}: remove one, or take another name")
    return renamed


def _check_there(base: Base, labels: Sequence[str], option: str, name: str) -> None:
    if name == UNKNOWN and name not in labels:
        raise DataError(f"{option}: unknown is the answer for none of the classes, and no class")
    if name not in labels:
        raise DataError(f"{option}: {base.path} has no class {name}: it has {', '.join(labels)}")


def _with_names(base: Base, labels: tuple[str, ...], changes: ClassChanges, *, memory: bool) -> bytes:
    """The base with other names, and everything else as it is."""
    contract = json.loads(json.dumps(base.contract))
    names = (*labels, UNKNOWN) if contract["decision"]["unknown"] else labels
    contract["test_card"]["labels"] = list(names)
    if "per_class" in contract["evaluation"]:
        per_class = contract["evaluation"]["per_class"]
        contract["evaluation"]["per_class"] = {changes.rename.get(old, old): each for old, each in per_class.items()}
    taught = provenance(base, (), _history(changes, None))["taught"]
    contract["provenance"]["taught"] = {**contract["provenance"].get("taught", {}), **taught}
    kept = [CARD_PART, PICTURE_PART, MEMORY_PART]
    if not memory:
        kept.remove(MEMORY_PART)
        contract.pop("memory", None)
    text = json.dumps(contract, indent=1, ensure_ascii=False).encode()
    parts = {LABELS_PART: encode_labels(names), CONTRACT_PART: text}
    found = {name: read_part(base.path, name) for name in kept}
    return attach(base.model, {**parts, **{name: data for name, data in found.items() if data is not None}})


def _read_known(base: Base, labels: Sequence[str]) -> tuple[Head, Memory]:
    """What the base knows. Raises DataError if it remembers no photos."""
    memory = read_memory(base.classifier.model_file)
    if memory is None or not base.contract["decision"]["unknown"]:
        raise DataError(
            f"{base.path}: remembers none of its photos, without which classes cannot be added or removed (it is of an "
            "older version, of `edge-convert imagenet`, or made with --no-memory): teach all classes anew, from photos "
            f"of all: edge-teach {base.path} PHOTOS -o FILE"
        )
    head = read_head(base.model)
    missing = set(range(len(labels))) - set(memory.labels.tolist())
    if missing or not len(labels) == len(head.bias) == len(memory.counts) or memory.features != len(head.kernel):
        raise DataError(f"{base.path}: what it remembers is not of its classes: copy it again, or convert it again")
    return head, memory


def _remove(
    base: Base, labels: tuple[str, ...], head: Head, memory: Memory, remove: Sequence[str]
) -> tuple[tuple[str, ...], Head, Memory]:
    for label in remove:
        _check_there(base, labels, f"--remove {label}", label)
    kept = [index for index, label in enumerate(labels) if label not in remove]
    place = np.full(len(labels) + 1, NEGATIVE)  # the last is that of NEGATIVE itself
    place[kept] = np.arange(len(kept))
    stays = np.isin(memory.labels, [NEGATIVE, *kept])
    left = Memory(memory.rows[stays], memory.features, place[memory.labels[stays]], memory.counts[kept])
    return tuple(labels[index] for index in kept), Head(head.kernel[:, kept], head.bias[kept]), left


def _leave_out_remembered(
    lesson: Lesson, names: Sequence[str], memory: Memory
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Rows and classes of the photos that are new, and notes. Raises DataError for one remembered as another class."""
    count = len(lesson.photos)
    rows = np.concatenate([lesson.rows.read(np.arange(count) * lesson.views), lesson.negative_rows])
    photos = [*lesson.photos, *lesson.negatives]
    named = [NEGATIVE if photo.label == NEGATIVE else names.index(lesson.labels[photo.label]) for photo in photos]
    classes = np.array(named, np.intp)
    if not len(rows):
        return rows, classes, []
    added = np.ones(len(names), np.intp)
    as_remembered = decode(encode(Memory(rows, memory.features, classes, added)), added, memory.features, memory.middle)
    cosines = _unit(as_remembered.rows) @ _unit(memory.rows).T
    nearest = cosines.argmax(axis=1)
    same = np.isclose(as_remembered.rows, memory.rows[nearest], rtol=0.01).mean(axis=1) > _SAME
    for index in np.flatnonzero(same & (memory.labels[nearest] != classes)):
        label = memory.labels[nearest[index]]
        other = UNKNOWN if label == NEGATIVE else names[label]
        raise DataError(f"{photos[index].path}: is remembered as {other}: the same photo in two classes: leave it out")
    count = int(same.sum())
    are = "is" if count == 1 else "are"
    notes = [f"{count} of the photos {are} remembered already, and left out"] if count else []
    return rows[~same], classes[~same], notes


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny))


@dataclass(frozen=True)
class _Figure:
    """What can be said of a class that got photos, each judged by a head that had not seen it.

    photos: new ones. recognised: of them. others: remembered photos of other classes. taken: of them, for this class.
    rivals: classes that it can hardly be told from; of each the number of photos taken for it, of its own remembered
        ones, and of these taken for this class.
    """

    label: str
    photos: int
    recognised: int
    others: int
    taken: int
    rivals: tuple[tuple[str, int, int, int], ...]


def _figures(names: Sequence[str], added: Added) -> list[_Figure]:
    answers, labels, remembered = added.logits.argmax(axis=1), added.labels, added.remembered
    found = []
    for index in np.unique(labels[remembered:]).tolist():
        own = answers[remembered:][labels[remembered:] == index]
        before, true = answers[:remembered], labels[:remembered]
        rivals = []
        for other in np.flatnonzero(np.bincount(true, minlength=len(names))).tolist():
            lost, of = int((own == other).sum()), int((true == other).sum())
            taken = int((before[true == other] == index).sum())
            if other != index and max(lost / len(own), taken / of) >= _CONFUSED:
                rivals.append((names[other], lost, of, taken))
        others = before[true != index]
        counts = len(own), int((own == index).sum()), len(others), int((others == index).sum())
        found.append(_Figure(names[index], *counts, tuple(rivals)))
    return found


def _evaluation(figures: Sequence[_Figure]) -> dict[str, Any]:
    """Nothing is said of the classes that got no photos: their photos are gone."""
    per_class = {
        figure.label: {"photos": figure.photos, "recall": figure.recognised / figure.photos} for figure in figures
    }
    return {
        "photos": sum(figure.photos for figure in figures),
        "held_out": "the photos added, each judged by a class fitted without it",
        "per_class": per_class,
    }


def _report(figures: Sequence[_Figure]) -> Iterator[str]:
    for figure in figures:
        yield (
            f"{figure.label}: {figure.recognised} of {figure.photos} added photos recognised, each by a head that had "
            f"not seen it; {figure.taken} of {figure.others} remembered photos of other classes mistaken for it"
        )
        for rival, lost, of, taken in figure.rivals:
            yield (
                f"{figure.label} can hardly be told from {rival}: {lost} of its {figure.photos} photos are mistaken "
                f"for {rival}, and {taken} of {of} remembered ones of {rival} for it: give photos that show what "
                "differs, or join the two"
            )


def _report_unknown(known: Known, added: Added, rows: np.ndarray, classes: np.ndarray) -> Iterator[str]:
    """What the negatives among the new photos have changed. rows, classes: of the new photos."""
    negative = classes == NEGATIVE
    if not negative.any():
        return
    before = add_photos(known, rows[~negative], classes[~negative])
    own = known.memory.rows[known.memory.labels != NEGATIVE]
    added_before, added_now, own_before, own_now = (
        _count_unknown(fit, known.vote_weight, part) for part in (rows[negative], own) for fit in (before, added)
    )
    yield (
        f"unknown: {counted(int(negative.sum()), 'picture')} added, of which {added_now} are called unknown now, and "
        f"{added_before} before; of {len(own)} remembered photos of the classes {own_now} now, and {own_before} before"
    )


def _count_unknown(fit: Added, vote_weight: float, rows: np.ndarray) -> int:
    """How many of the rows, (n, F + M), are called unknown."""
    answers = give_probabilities(fit.head, vote_weight, fit.open_set, rows).argmax(axis=1)
    return int((answers == len(fit.head.bias)).sum())


def _history(changes: ClassChanges, lesson: Lesson | None) -> dict[str, Any]:
    """What edge.json says of it under provenance.taught."""
    history: dict[str, Any] = {}
    if changes.rename:
        history["renamed"] = dict(sorted(changes.rename.items()))
    if changes.remove:
        history["removed"] = sorted(changes.remove)
    if lesson is not None and changes.add:
        history["added"] = photo_hashes(lesson)
    return history


def _test_picture(base: Base) -> np.ndarray:
    """What to mix test cards with where no photo is left: the base's own test picture, uint8 RGB [1, R, R, 3]."""
    card = base.classifier.model_file.test_card
    assert card is not None  # a file with a contract has one
    return card.picture[None]
