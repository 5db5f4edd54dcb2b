"""Standard output and error that take any text, whatever their encoding, and may be closed."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress

# For `errors=`: what an encoding lacks is written as the nearest ASCII, or else as its number.
READABLE = "edge_classify.readable"
_NEAREST = {"→": "->", "…": "...", "×": "x", "–": "-", "µ": "u", "≤": "<=", "≥": ">=", "−": "-"}


def prepare() -> None:
    """Let every command print what it likes. Streams that are closed lead nowhere from now on.

    Otherwise the first file that is opened would get their place, and what is printed.
    """
    codecs.register_error(READABLE, _make_readable)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=READABLE)


def drop_output() -> None:
    """From now on drop what is printed, also what is in the buffer: it cannot be written."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _make_readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    ascii_text = "".join(_NEAREST.get(letter, letter).encode("ascii", "backslashreplace").decode() for letter in text)
    return ascii_text, error.end
