"""The comment of a JPEG file: text that travels with the picture, whoever moves or renames it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# How a JPEG file begins.
JPEG = b"\xff\xd8"
_COMMENT = 0xFE
_SCAN = 0xDA
_APPLICATION = range(0xE0, 0xF0)
# A segment's length, which counts itself, has 16 bits.
MAX_COMMENT_BYTES = 0xFFFF - 2


def with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """The file with this comment, after what readers expect first. Raises ValueError if it is too long, or no JPEG."""
    if len(comment) > MAX_COMMENT_BYTES:
        raise ValueError(f"a comment of {len(comment)} bytes: a JPEG file takes {MAX_COMMENT_BYTES}")
    place = len(JPEG)
    for marker, _, end in _segments(jpeg):
        if marker not in _APPLICATION:
            break
        place = end
    return jpeg[:place] + struct.pack(">BBH", 0xFF, _COMMENT, len(comment) + 2) + comment + jpeg[place:]


def read_comment(jpeg: bytes) -> bytes | None:
    """The first comment of a JPEG file; None if it has none, is cut off before it, or is no JPEG."""
    try:
        for marker, start, end in _segments(jpeg):
            if marker == _COMMENT:
                return jpeg[start:end]
    except ValueError:
        pass
    return None


def _segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start of the data, end) of each segment before the picture itself. Raises ValueError where damaged."""
    if jpeg[: len(JPEG)] != JPEG:
        raise ValueError("no JPEG file")
    place = len(JPEG)
    while place + 4 <= len(jpeg):
        fill, marker, length = struct.unpack_from(">BBH", jpeg, place)
        end = place + 2 + length
        if fill != 0xFF or length < 2 or end > len(jpeg):
            raise ValueError("a damaged JPEG file")
        if marker == _SCAN:
            return
        yield marker, place + 4, end
        place = end
