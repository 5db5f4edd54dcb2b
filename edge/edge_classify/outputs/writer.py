"""Text to a file descriptor, behind a queue: a file, a pipe, a terminal that somebody has stopped."""

from __future__ import annotations

import errno
import os
import select
import sys
from pathlib import Path
from typing import TextIO

from .queue import BoundedQueue, ConsumerGone

# Nobody will ever read what is written: the pipe's reader, or the terminal, has gone.
_GONE = (errno.EPIPE, errno.EIO, errno.ECONNRESET)


def open_text(path: str | Path, *, live: bool) -> BoundedQueue[str]:
    """A queue of text for programs, in UTF-8: appended to a file, or to standard output if `path` is "-".

    Raises OSError.
    """
    if str(path) == "-":
        return _queue(_copy(sys.stdout), "standard output", live)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    return _queue(descriptor, str(path), live)


def standard_output(*, live: bool) -> BoundedQueue[str]:
    """A queue of text for people, in standard output's own encoding."""
    return _queue(_copy(sys.stdout), "standard output", live, _encoding(sys.stdout))


def standard_error() -> BoundedQueue[str]:
    return _queue(_copy(sys.stderr), "standard error", live=True, encoding=_encoding(sys.stderr))


class Writer:
    """Writes text to a file descriptor, and blocks for as long as its reader does."""

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._line_cut = False

    def write(self, text: str) -> None:
        """Write all of it. Raises OSError, or ConsumerGone if nobody will ever read it."""
        # In UTF-8 only a file name that is not UTF-8 itself is escaped, the way JSON does it.
        data = text.encode(self._encoding, "backslashreplace")
        if self._line_cut:
            # A full disk cut the line before; that must not spoil this one.
            data = b"\n" + data
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
                self._line_cut = bool(data)
            except BlockingIOError:  # another program that shares the terminal has made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                if error.errno in _GONE:
                    raise ConsumerGone from error
                raise

    def is_ready(self) -> bool:
        """Whether something can be written without blocking."""
        return bool(select.select([], [self._descriptor], [], 0)[1])

    def close(self) -> None:
        os.close(self._descriptor)


def _queue(descriptor: int, name: str, live: bool, encoding: str = "utf-8") -> BoundedQueue[str]:
    writer = Writer(descriptor, encoding)
    return BoundedQueue(writer.write, name, live=live, is_ready=writer.is_ready, close=writer.close)


def _encoding(stream: TextIO | None) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _copy(stream: TextIO | None) -> int:
    """A descriptor of our own for a standard stream, which may have been closed before the program started."""
    return os.open(os.devnull, os.O_WRONLY) if stream is None else os.dup(stream.fileno())
