"""Arrays too large for memory: rows of one shape in a file, of which only those being used are in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

# Files of up to this many bytes are read at once, and kept in memory.
_SMALL_FILE_BYTES = 64_000_000


class Readable(Protocol):
    """Rows that are read by their indices."""

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The rows with these indices, (len(indices), *shape), in any order and as often as wanted."""


@dataclass(frozen=True)
class EveryNth:
    """Of some rows each `step`-th, from the first on."""

    rows: Readable
    step: int

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """As `Readable.read`."""
        return self.rows.read(np.asarray(indices, np.intp) * self.step)


class Rows:
    """An array (n, *shape) in an unnamed file: it grows by `append`, and is gone with the process, however that ends.

    folder: which disk the file is on. shape, dtype: of a row.

    Rows are read by `pread` and not through a memory map, whose pages would count as the process's memory. A small
    file is kept in memory once it has been read.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self.shape = shape
        self._dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(shape)) * self._dtype.itemsize
        self._count = 0
        self._whole: np.ndarray | None = None
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the object

    def __len__(self) -> int:
        return self._count

    def append(self, row: np.ndarray) -> None:
        """Add one row. Raises OSError, of the folder, on a full disk."""
        with self._named():
            self._file.write(np.ascontiguousarray(row, self._dtype).data)
        self._count += 1
        self._whole = None

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The rows with these indices, (len(indices), *shape), in any order and as often as wanted."""
        if self._count * self._row_bytes <= _SMALL_FILE_BYTES:
            if self._whole is None:
                with self._named():
                    self._file.seek(0)  # writes what is buffered
                self._whole = np.frombuffer(self._file.read(), self._dtype).reshape(-1, *self.shape)
            return self._whole[np.asarray(indices, np.intp)]
        with self._named():
            self._file.flush()
        rows = np.empty((len(indices), *self.shape), self._dtype)
        descriptor = self._file.fileno()
        for row, index in zip(rows, indices, strict=True):
            os.preadv(descriptor, [row.data], int(index) * self._row_bytes)
        return rows

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors name the folder: the file has no name."""
        try:
            yield
        except OSError as error:
            error.filename = str(self._folder)
            raise
