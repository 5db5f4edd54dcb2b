"""Photos that are never listed: shards by a pattern of their names, or a table that names each photo."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_classify.errors import DataError, UsageError

from ..place import is_remote, open_stream
from .survey import Unit
from .table import Row, is_table, read_table
from .tar_shard import Shard

# Beside the shards: how many photos each has, its checksum, and the classes' names.
INDEX = "index.json"
INDEX_FORMAT = 1
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
# Percent of the photos.
MAX_BAD = 1.0
_MAX_SHARDS = 1_000_000


@dataclass(frozen=True)
class PhotoSource:
    """Shards or a table.

    text: their address or path, as on the command line: photos.csv, s3://bucket/shards-{0000..0999}.tar.
    max_bad: percent of the photos that may be missing or unreadable.
    """

    text: str
    max_bad: float = MAX_BAD

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """What a run of it is called."""
        last = self.text.rstrip("/").rpartition("/")[2]
        if self.is_table:
            return Path(last).stem
        return _RANGE.sub("", last).partition(".")[0].strip("-_") or "shards"

    @property
    def is_table(self) -> bool:
        return is_table(self.text)

    def count(self) -> int | None:
        """How many photos the index counts in these shards; None if there is none, or if it is a table."""
        if self.is_table:
            return None
        known = {shard["name"]: shard["photos"] for shard in read_index(self.text.rpartition("/")[0]).get("shards", [])}
        counts = [known.get(url.rpartition("/")[2]) for url in expand(self.text)]
        return None if None in counts else sum(count for count in counts if count)

    def rows(self) -> Iterator[Row]:
        """Of a table. Raises DataError or UsageError."""
        for part in read_table(self.text):
            yield from part.rows

    def units(self) -> Iterator[Unit]:
        """The shards, or the parts of the table, in order. Raises DataError or UsageError."""
        if self.is_table:
            yield from read_table(self.text)
            return
        index = read_index(self.text.rpartition("/")[0])
        known = {shard["name"]: shard for shard in index.get("shards", [])}
        labels = tuple(index.get("labels", ()))
        for url in expand(self.text):
            shard = known.get(url.rpartition("/")[2], {})
            yield Shard(url, shard.get("photos", -1), shard.get("sha256", ""), labels)


def parse_photos(text: str) -> Path | PhotoSource:
    """What the command line says: a folder, shards or a table. Raises UsageError for a folder in a store."""
    if is_table(text) or _RANGE.search(text) or text.lower().endswith(".tar"):
        return PhotoSource(text)
    if is_remote(text):
        raise UsageError(
            f"{text}: a folder in a store would have to be listed, which takes hours for millions of photos: give a "
            "table of its photos (photos.csv or photos.parquet), or shards (edge-train make-shards, then "
            f"'{text.rstrip('/')}/shards-{{0000..0099}}.tar')"
        )
    folder = Path(text)
    if (folder / INDEX).is_file() and (shards := read_index(text).get("shards")):
        return PhotoSource(f"{text.rstrip('/')}/{pattern([shard['name'] for shard in shards])}")
    return folder


def pattern(names: list[str]) -> str:
    """One pattern for the names of all shards, which `ShardWriter` numbers."""
    first, last = (re.sub(r"\D", "", name) for name in (names[0], names[-1]))
    return names[0] if len(names) == 1 else names[0].replace(first, f"{{{first}..{last}}}")


def expand(text: str) -> Iterator[str]:
    """All addresses that a pattern stands for: {0000..0999} counts, with as many digits. Raises UsageError."""
    match = _RANGE.search(text)
    if match is None:
        yield text
        return
    first, last = int(match[1]), int(match[2])
    if not first <= last < first + _MAX_SHARDS:
        raise UsageError(f"{text}: expected a range from a lower to a higher number, as {{0000..0999}}")
    for number in range(first, last + 1):
        yield from expand(f"{text[: match.start()]}{number:0{len(match[1])}d}{text[match.end() :]}")


def read_index(folder: str) -> dict[str, Any]:
    """The index of the shards in a folder; {} if there is none. Raises DataError for one of another version."""
    url = f"{folder}/{INDEX}" if folder else INDEX
    try:
        with open_stream(url) as stream:
            index = json.loads(stream.read())
    except (OSError, ValueError):
        return {}
    if not isinstance(index, dict) or "shards" not in index:
        return {}
    if index.get("format") != INDEX_FORMAT:
        raise DataError(f"{url}: of format {index.get('format')}, and this edge-train reads {INDEX_FORMAT}: update it")
    return index
