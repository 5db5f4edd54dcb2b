"""What a shard, or a part of a table, holds: looked at once, photo by photo, on whatever machine."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edge_classify.collect.record import decode_record
from edge_classify.errors import DataError
from edge_classify.images.jpeg_comment import JPEG, read_comment
from edge_classify.learn.photos.facts import read_facts

from ..photo_facts import pack_facts
from ..place import Place
from ..still_camera import read_exif_time

# EXIF data and comments are within so many bytes.
_HEAD_BYTES = 132 * 1024


class FoundPhoto(NamedTuple):
    """A photo that can be read. path: as `Photo.path`. label: the class's name. split: as given, "" if it is not."""

    path: str
    label: str
    split: str
    sha256: str
    place: Place


@dataclass
class Survey:
    """What is in a shard or a part of a table.

    facts: of each photo, packed, by sha256. bad: one line for each photo, or shard, that cannot be read.
    lost: how many photos these are; of a shard that nobody has counted it is −1.
    """

    photos: list[FoundPhoto] = field(default_factory=list)
    facts: dict[str, bytes] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    lost: int = 0

    def add(self, path: str, label: str, split: str, data: bytes, place: Place) -> None:
        """Look at one photo; place: without burst and time, which are read here."""
        examined = examine(data, f"{place.url}: {path}")
        if isinstance(examined, str):
            self.add_bad(examined)
        else:
            self.add_examined(path, label, split, examined, place)

    def add_examined(self, path: str, label: str, split: str, examined: Examined, place: Place) -> None:
        found = Place(place.url, place.offset, place.size, examined.burst, examined.taken)
        self.photos.append(FoundPhoto(path, label, split, examined.sha256, found))
        self.facts[examined.sha256] = examined.facts

    def add_bad(self, line: str) -> None:
        self.bad.append(line)
        self.lost += 1


class Unit(Protocol):
    """A shard, or a part of a table: the unit of work."""

    def survey(self) -> Survey:
        """Look at all its photos. Raises UsageError if a package is missing."""

    def state(self) -> str:
        """A text that changes with what `survey` finds; "" if that cannot be told without reading all."""


class Examined(NamedTuple):
    """What is known from a photo's bytes. facts: packed."""

    sha256: str
    facts: bytes
    burst: str
    taken: str


def examine(data: bytes, name: str) -> Examined | str:
    """The photo's facts; or one line that says why it cannot be read."""
    if not data:
        return f"{name}: the file is empty (0 bytes)"
    try:
        facts = pack_facts(read_facts(data, name))
    except DataError as error:
        return str(error)
    head = data[:_HEAD_BYTES]
    record = decode_record(read_comment(head)) if head.startswith(JPEG) else None
    burst = "" if record is None else record.burst
    return Examined(hashlib.sha256(data).hexdigest(), facts, burst, read_exif_time(io.BytesIO(head)))


def survey(unit: Unit) -> Survey:
    """As `Unit.survey`, for a pool."""
    return unit.survey()
