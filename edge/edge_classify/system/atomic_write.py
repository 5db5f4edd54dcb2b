"""Writing a file whole or not at all: whoever stops the program leaves the old one or the new one, never a half.

What is being written is `.NAME.PID.partial` beside it, which its writer holds locked. A power cut or a kill leaves it
there, and the lock is gone: whichever of our programs writes into that folder next removes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where nothing is removed
    fcntl = None  # type: ignore[assignment]

_PARTIAL = re.compile(r"\..+\.\d+\.partial")
# The folders that this process has looked through, by device and inode.
_seen: set[tuple[int, int]] = set()


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when it is whole; folders are made.

    Raises OSError, with `path` as its file name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _clear_once(path.parent)
        with open(partial, "wb", opener=_open_locked) as file:
            try:
                yield file
                file.flush()
                # A network file system may find only at closing that there is no room. A copy is closed, for the lock
                # is held until the file has its name.
                os.close(os.dup(file.fileno()))
                if fcntl is None:
                    file.close()  # an open file keeps its name there
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.filename in (None, str(partial)):  # writing and closing name no file
            error.filename = str(path)
        raise


def write_atomic(path: Path, content: str | bytes) -> None:
    r"""Text is written as UTF-8.

    A file name that is not UTF-8 has surrogates in its text. They are written as \udcxx, which JSON reads back as they
    were.
    """
    with atomic_file(path) as file:
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def remove_abandoned(folder: Path) -> None:
    """Remove from a folder what was being written when its writer was stopped. What cannot be removed stays."""
    if fcntl is None:
        return
    with suppress(OSError):
        for path in [Path(entry) for entry in os.scandir(folder) if _PARTIAL.fullmatch(entry.name)]:
            with suppress(OSError), path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_named(file.fileno(), path):
                    path.unlink()


def _clear_once(folder: Path) -> None:
    state = folder.stat()
    if (state.st_dev, state.st_ino) not in _seen:
        _seen.add((state.st_dev, state.st_ino))
        remove_abandoned(folder)


def _open_locked(path: str, flags: int) -> int:
    """Open a file for writing, and hold it until it is closed, where the file system has locks."""
    while True:
        descriptor = os.open(path, flags & ~os.O_TRUNC, 0o666)
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Another thread may have put it in its place meanwhile, or another program may have removed it.
        if _is_named(descriptor, Path(path)):
            os.ftruncate(descriptor, 0)
            return descriptor
        os.close(descriptor)


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
