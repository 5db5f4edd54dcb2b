"""Rows of one shape on disk: as many as there are, in memory only those being looked at."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Files up to this size are read at once.
_SMALL = 64_000_000


class Rows:
    """An array [n, *shape] in an unnamed file: it grows by `append`, and is gone with the process, however that ends.

    Rows are read by `pread` and not through a memory map, whose pages would count as the process's memory. A small
    file is kept in memory from the first reading on.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self.shape = shape
        self._dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(shape)) * self._dtype.itemsize
        self._count = 0
        self._whole: np.ndarray | None = None
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the object

    def __len__(self) -> int:
        return self._count

    def append(self, row: np.ndarray) -> None:
        """Add one row. Raises OSError on a full disk."""
        self._file.write(np.ascontiguousarray(row, self._dtype).data)
        self._count += 1
        self._whole = None

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The rows of these indices, [len(indices), *shape]."""
        if self._count * self._row_bytes <= _SMALL:
            if self._whole is None:
                self._file.seek(0)
                self._whole = np.frombuffer(self._file.read(), self._dtype).reshape(-1, *self.shape)
            chosen: np.ndarray = self._whole[np.asarray(indices, np.intp)]
            return chosen
        self._file.flush()
        rows = np.empty((len(indices), *self.shape), self._dtype)
        descriptor = self._file.fileno()
        for row, index in zip(rows, indices, strict=True):
            os.preadv(descriptor, [row.data], int(index) * self._row_bytes)
        return rows
