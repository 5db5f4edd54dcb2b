"""Tables of photos: photos.csv or photos.parquet, with a column of addresses, one of classes, and perhaps a split.

Kaggle's lists are such tables: names, with or without a suffix, of photos that lie in some folder beside the list.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from edge_classify.errors import DataError, UsageError
from edge_classify.images.folder import find_pictures
from edge_classify.system.counted import counted
from edge_classify.system.packages import install_command

from ..place import Place, is_remote, open_stream, state_of
from .survey import Examined, Survey, examine

# What the columns are called, in any case: the first of these that there is.
_PHOTO = (
    *("uri", "url", "path", "filepath", "file_path", "file", "filename", "file_name"),
    *("image", "image_path", "image_name", "image_id", "img", "photo", "id"),
)
_LABEL = ("label", "class", "class_name", "label_name", "category", "target", "breed", "species")
_SPLIT = ("split", "set", "subset", "partition", "data_set")
_PARQUET = (".parquet", ".pq")
# Rows looked at in one piece of work.
_ROWS_PER_PART = 256
# Of a file that a table names many times, what was seen is kept, of so many.
_REMEMBERED = 4096


class Row(NamedTuple):
    """url: of the photo. path: as `Photo.path`. label: the class's name. split: "" if there is none."""

    url: str
    path: str
    label: str
    split: str


@dataclass(frozen=True)
class TablePart:
    """Rows that follow one another."""

    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return f"the photos from {self.rows[0].url} to {self.rows[-1].url}"

    def state(self) -> str:
        """Of files on this machine alone: to ask a store for each photo costs as much as to read them."""
        if any(is_remote(row.url) for row in self.rows):
            return ""
        try:
            return " ".join([*(state_of(url) for url in dict.fromkeys(row.url for row in self.rows)), str(self.rows)])
        except OSError:
            return ""

    def survey(self) -> Survey:
        found = Survey()
        for row in self.rows:
            if not row.label:
                found.add_bad(f"{row.url}: of no class (its label is empty)")
                continue
            examined = _examine(row.url)
            if isinstance(examined, str):
                found.add_bad(examined)
                continue
            found.add_examined(row.path, row.label, row.split, examined, Place(row.url))
        return found


@lru_cache(maxsize=_REMEMBERED)
def _examine(url: str) -> Examined | str:
    try:
        data = Place(url).read_bytes()
    except OSError as error:
        return f"{url}: {error.strerror or error}"
    return examine(data, url)


def is_table(url: str) -> bool:
    """Whether it is named like one."""
    return url.lower().endswith((".csv", ".tsv", *_PARQUET))


def read_table(url: str) -> Iterator[TablePart]:
    """The table's rows, as they are needed. Raises DataError, or UsageError if a package is missing."""
    try:
        rows = iter(_rows(url))
        while part := tuple(islice(rows, _ROWS_PER_PART)):
            yield TablePart(part)
    except OSError as error:
        raise DataError(f"{url}: {error.strerror or error}") from error


def _rows(url: str) -> Iterator[Row]:
    lines = _parquet_lines(url) if url.lower().endswith(_PARQUET) else _csv_lines(url)
    header = next(lines, [])
    photo, label = _column(header, _PHOTO), _column(header, _LABEL)
    if photo is None or label is None:
        what, name = ("photos", "uri") if photo is None else ("classes", "label")
        raise DataError(f"{url}: no column of {what} among {', '.join(header) or 'none'}: call it {name}")
    split = _column(header, _SPLIT)
    photos = _Photos(url)
    for number, line in enumerate(lines, 2):
        if not any(line):
            continue
        if len(line) != len(header):
            raise DataError(
                f"{url}: row {number} has {counted(len(line), 'value')}, its header {len(header)}: correct it"
            )
        found = photos.find(line[photo])
        yield Row(found, photos.relative(found), line[label].strip(), "" if split is None else line[split].strip())


def _column(header: Sequence[str], names: Iterable[str]) -> int | None:
    folded = [name.strip().casefold() for name in header]
    return next((folded.index(name) for name in names if name in folded), None)


def _csv_lines(url: str) -> Iterator[list[str]]:
    with open_stream(url) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        try:
            first = text.readline()
            delimiter = max(",;\t", key=first.count)
            yield from csv.reader([first], delimiter=delimiter)
            yield from csv.reader(text, delimiter=delimiter)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{url}: not a table in UTF-8 ({error}): save it as CSV, UTF-8") from error


def _parquet_lines(url: str) -> Iterator[list[str]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UsageError(f"{url}: to read Parquet files, run: {install_command('pyarrow')}") from None
    with open_stream(url) as stream:
        try:
            file = parquet.ParquetFile(stream)
            names = file.schema_arrow.names
            wanted = [names[place] for kind in (_PHOTO, _LABEL, _SPLIT) if (place := _column(names, kind)) is not None]
            yield wanted if len(wanted) > 1 else names
            for batch in file.iter_batches(batch_size=_ROWS_PER_PART, columns=wanted):
                columns = [batch.column(name).to_pylist() for name in wanted]
                yield from (
                    ["" if value is None else str(value) for value in row] for row in zip(*columns, strict=True)
                )
        except ArrowException as error:
            raise DataError(f"{url}: not a Parquet file that can be read ({error})") from error


class _Photos:
    """Finds the photos that a table names."""

    def __init__(self, table: str) -> None:
        self._remote = is_remote(table)
        self._base = table.rpartition("/")[0] if self._remote else str(Path(table).absolute().parent)

    def find(self, name: str) -> str:
        """The photo's address, or where it would be."""
        name = name.strip()
        if is_remote(name) or name.startswith("/"):
            return name
        if self._remote:
            return f"{self._base}/{name}"
        path = Path(self._base, name)
        if path.is_file():
            return str(path)
        named = self._by_name.get(name, ())
        if len(named) > 1:
            raise DataError(f"{name}: {named[0]} or {named[1]}? Write their folders into the table")
        return str(named[0] if named else path)

    def relative(self, url: str) -> str:
        if url.startswith(f"{self._base}/"):
            return url[len(self._base) + 1 :]
        return url.partition("://")[2] if is_remote(url) else url.lstrip("/")

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """The pictures in folders beside the table, by name with and without suffix."""
        found: dict[str, list[Path]] = {}
        for path in find_pictures(Path(self._base)).pictures:
            for name in {path.name, path.stem}:
                found.setdefault(name, []).append(path)
        return found
