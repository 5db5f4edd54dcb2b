"""Reading tables of a FlatBuffer without generated code: just enough to find a model file's metadata.

Offsets are checked against the data, so that a damaged file raises ValueError and nothing worse.
Format: the FlatBuffers "internals" documentation.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

# More than any vector of tables that is read.
_MAX_TABLES = 1000


class Table(NamedTuple):
    """A table at `position` in `data`. Its fields are addressed by slot, their number in the schema.

    Every method raises ValueError if an offset points outside the data.
    """

    data: bytes | memoryview
    position: int

    @classmethod
    def root(cls, data: bytes | memoryview) -> Table:
        return cls(data, _unsigned(data, 0))

    def _field(self, slot: int) -> int | None:
        vtable = self.position - _read("<i", self.data, self.position)
        entry = 4 + 2 * slot
        if entry >= _read("<H", self.data, vtable):
            return None
        offset = _read("<H", self.data, vtable + entry)
        return self.position + offset if offset else None

    def integer(self, slot: int, form: str = "<I") -> int:
        """A scalar field, 0 if it is not set; `form` is its `struct` format."""
        field = self._field(slot)
        return 0 if field is None else _read(form, self.data, field)

    def table(self, slot: int) -> Table | None:
        """A field that is a table, or None if it is not set."""
        field = self._field(slot)
        return None if field is None else Table(self.data, field + _unsigned(self.data, field))

    def table_at(self, slot: int, index: int) -> Table:
        """The table at `index` in a vector of tables. Raises ValueError if the vector is shorter."""
        start, length = self._vector(slot, 4)
        if index >= length:
            raise ValueError("an index points outside its vector")
        return Table(self.data, start + 4 * index + _unsigned(self.data, start + 4 * index))

    def tables(self, slot: int) -> list[Table]:
        """A vector of tables. Raises ValueError if it is so long that following it would take forever."""
        start, length = self._vector(slot, 4)
        if length > _MAX_TABLES:
            raise ValueError(f"a vector of {length} tables")
        entries = range(start, start + 4 * length, 4)
        return [Table(self.data, entry + _unsigned(self.data, entry)) for entry in entries]

    def raw(self, slot: int) -> memoryview:
        """A vector of bytes, not copied."""
        start, length = self._vector(slot, 1)
        return memoryview(self.data)[start : start + length]

    def integers(self, slot: int) -> list[int]:
        """A vector of int32."""
        start, length = self._vector(slot, 4)
        return list(struct.unpack_from(f"<{length}i", self.data, start))

    def vector_offset(self, slot: int) -> int | None:
        """Where in the data the offset to a vector stands, or None if the field is not set."""
        return self._field(slot)

    def floats(self, slot: int) -> list[float]:
        """A vector of float32."""
        start, length = self._vector(slot, 4)
        return list(struct.unpack_from(f"<{length}f", self.data, start))

    def string(self, slot: int) -> str:
        """A string; bytes that are not UTF-8 are replaced."""
        return bytes(self.raw(slot)).decode("utf-8", "replace")

    def _vector(self, slot: int, item_size: int) -> tuple[int, int]:
        """(position of the first item, number of items)."""
        field = self._field(slot)
        if field is None:
            return 0, 0
        start = field + _unsigned(self.data, field)
        length = _unsigned(self.data, start)
        if start + 4 + length * item_size > len(self.data):
            raise ValueError("a vector runs past the end of the data")
        return start + 4, length


def _unsigned(data: bytes | memoryview, position: int) -> int:
    return _read("<I", data, position)


def _read(form: str, data: bytes | memoryview, position: int) -> int:
    if not 0 <= position <= len(data) - struct.calcsize(form):
        raise ValueError("an offset points outside the data")
    return int(struct.unpack_from(form, data, position)[0])
