"""Secrets come from files: a command line is shown to everybody by `ps`."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import DataError

# More than any password or token.
_MAX_BYTES = 4096


def read_secret(path: Path, option: str) -> str:
    """The one line of the file, without its line end. Raises DataError, in which `option` names the file's purpose."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{option} {path}: no such file: write the secret alone into it") from None
    except OSError as error:
        raise DataError(f"{option} {path}: {error.strerror}") from error
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise DataError(f"{option} {path}: not a text file: write the secret alone into it") from None
    if not text or len(data) > _MAX_BYTES or not text.isprintable():
        raise DataError(f"{option} {path}: expected one line, the secret alone")
    return text


def why_not_secret(path: Path) -> str | None:
    """A warning if others than its owner and group may read the file."""
    try:
        readable = path.stat().st_mode & stat.S_IROTH
    except OSError:
        return None
    return f"{path}: every user of this machine can read it: chmod 600 {path}" if readable else None
