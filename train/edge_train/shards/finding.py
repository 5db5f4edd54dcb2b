"""From shards or a table to the photos of a run: the same photos, in the same order, as from the folder."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace

import numpy as np

from edge_classify.errors import DataError
from edge_classify.learn.photos.layout import TEST, check_differ, check_label, part_of
from edge_classify.learn.photos.photo_set import HELD_OUT, NEGATIVE, TRAINING, VALIDATION
from edge_classify.model.labels import UNKNOWN
from edge_classify.system.counted import counted

from ..photo_columns import PARTS, ColumnPhotoSet, ColumnsWriter, sort_by_path
from ..photo_facts import keep_facts
from ..place import Place
from ..progress import show_progress
from ..workers import Pool
from .source import PhotoSource
from .survey import FoundPhoto, Survey, Unit, survey

log = logging.getLogger(__name__)

# Part of the keys of surveys that are kept: to be raised when a survey finds something else.
_VERSION = 1
_MAX_NAMED = 3


def find_listed_photos(
    database: sqlite3.Connection, source: PhotoSource, pool: Pool, *, with_unknown: bool
) -> ColumnPhotoSet:
    """The classes and photos of `source`, in the order of `find_photos`; their facts are in the cache then.

    Raises DataError, also if more photos are missing or unreadable than `source` allows.
    """
    found, losses = ColumnsWriter(), _Losses()
    given: dict[str, int] = {}
    words: dict[str, int] = {}

    def take(part: Survey) -> None:
        losses.add(part)
        for path, label, split, sha256, place in part.photos:
            number, word = given.setdefault(label, len(given)), words.setdefault(split, len(words))
            found.add(path, number, sha256, word, place)

    _survey_all(database, source, pool, take)
    columns = found.columns()
    _check_bad(source, losses, len(columns.labels))
    parts, held_out_name = _parts(source, sorted(words))
    names = {name: _label(source, name, with_unknown) for name in given}
    labels = tuple(sorted({name for name in names.values() if name}))
    _check_labels(source, labels)
    numbers = [labels.index(name) if name else NEGATIVE for name in names.values()]
    columns = replace(
        columns,
        labels=np.array(numbers, np.int32)[columns.labels],
        parts=np.array([PARTS.index(parts[word]) for word in words], np.int8)[columns.parts],
    )
    # By part and class, negatives last, as `find_photos` has them.
    classes = np.where(columns.labels == NEGATIVE, len(labels), columns.labels)
    photos = sort_by_path(columns, columns.parts * np.int32(len(labels) + 1) + classes)
    return ColumnPhotoSet(labels, photos, tuple(losses.bad), len(set(parts.values())) > 1, held_out_name)


def _survey_all(database: sqlite3.Connection, source: PhotoSource, pool: Pool, take: Callable[[Survey], None]) -> None:
    """Hand over what each unit holds: kept from an earlier run, or looked at now."""
    with database:
        database.execute("CREATE TABLE IF NOT EXISTS surveys (key TEXT PRIMARY KEY, survey BLOB NOT NULL)")
    waiting: deque[str] = deque()

    def unknown() -> Iterator[Unit]:
        for unit in source.units():
            key = _key(unit)
            row = key and database.execute("SELECT survey FROM surveys WHERE key = ?", (key,)).fetchone()
            if row:
                kept = _decode(row[0])
                take(kept)
                progress.update(len(kept.photos))
            else:
                waiting.append(key)
                yield unit

    bad = 0
    with show_progress("reading", source.count(), "photo") as progress:
        for found in pool(survey, unknown(), describe=str):
            key = waiting.popleft()
            with database:
                keep_facts(database, found.facts.items())
                if key and not found.bad:
                    database.execute("INSERT OR REPLACE INTO surveys VALUES (?, ?)", (key, _encode(found)))
            found.facts.clear()
            progress.update(len(found.photos))
            bad += len(found.bad)
            if found.bad:
                progress.set_postfix_str(counted(bad, "failure"))
            take(found)


def _key(unit: Unit) -> str:
    state = unit.state()
    return hashlib.sha256(f"{_VERSION} {unit} {state}".encode()).hexdigest() if state else ""


def _encode(found: Survey) -> bytes:
    rows = [[*photo[:4], *astuple(photo.place)] for photo in found.photos]
    return zlib.compress(json.dumps(rows).encode(), 1)


def _decode(blob: bytes) -> Survey:
    rows = json.loads(zlib.decompress(blob))
    intern = sys.intern
    return Survey(
        [
            FoundPhoto(path, intern(label), intern(split), sha256, Place(intern(url), *rest))
            for path, label, split, sha256, url, *rest in rows
        ]
    )


@dataclass
class _Losses:
    """What cannot be read.

    units: the shards, or parts of the table, looked at. whole: of which nothing can be read. uncounted: of these, how
    many photos nobody knows. photos: lost, those of uncounted shards left aside. bad: a line for each failure.
    """

    units: int = 0
    damaged: int = 0
    whole: int = 0
    uncounted: int = 0
    photos: int = 0
    bad: list[str] = field(default_factory=list)

    def add(self, part: Survey) -> None:
        self.units += 1
        self.damaged += bool(part.lost)
        self.whole += bool(part.lost and not part.photos)
        self.uncounted += part.lost < 0
        self.photos += max(0, part.lost)
        self.bad += part.bad


def _check_bad(source: PhotoSource, losses: _Losses, found: int) -> None:
    bad = losses.bad
    if not found:
        why = f": {bad[0]}" if bad else ""
        raise DataError(f"{source}: no photos that can be read{why}")
    # A shard that nobody has counted is taken for as large as the whole ones are on average.
    average = max(1, round(found / max(1, losses.units - losses.damaged)))
    lost = losses.photos + losses.uncounted * average
    if 100 * lost <= source.max_bad * (found + lost):
        return
    about = "about " if losses.uncounted else ""
    what = f"{about}{lost} of {counted(found + lost, 'photo')} cannot be read"
    if losses.whole and not source.is_table:
        what = f"nothing can be read of {losses.whole} of {counted(losses.units, 'shard')}: in all, {what}"
    more = f"; and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else ""
    raise DataError(f"{source}: {what}, and --max-bad allows {source.max_bad:g}%: {'; '.join(bad[:_MAX_NAMED])}{more}")


def _parts(source: PhotoSource, words: Sequence[str]) -> tuple[dict[str, str], str]:
    """The part that each word of the split means, and what accuracy is measured on, in words."""
    meant = {word: part_of(word) if word else TRAINING for word in words}
    if strange := [word for word, part in meant.items() if not part]:
        raise DataError(f"{source}: split {strange[0]!r}: expected train, validation or test")
    if len(set(meant.values())) < 2:
        return dict.fromkeys(words, TRAINING), "a fifth of the photos"
    if TRAINING not in meant.values():
        raise DataError(f"{source}: no photos to train on: its split has {', '.join(words)} only")
    held_out = TEST if TEST in meant.values() else VALIDATION
    parts = {word: HELD_OUT if part == held_out else part for word, part in meant.items()}
    return parts, f"{next(word for word, part in parts.items() if part == HELD_OUT)}/"


def _label(source: PhotoSource, name: str, with_unknown: bool) -> str:
    """The label of a class's name; "" for negatives."""
    label = check_label(name, f"{source}: class {name!r}", "rename it")
    return "" if with_unknown and label.casefold() == UNKNOWN else label


def _check_labels(source: PhotoSource, labels: Sequence[str]) -> None:
    if len(labels) < 2:
        raise DataError(f"{source}: expected at least two classes, found {' '.join(labels) or 'none'}")
    check_differ(labels, str(source))
