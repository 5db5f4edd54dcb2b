"""A password or token in a file of its own, where no list of processes shows it."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

from ..errors import DataError, explain_os_error

log = logging.getLogger(__name__)

_MAX_BYTES = 65536


def read_secret(path: str | Path, option: str) -> str:
    """What the file holds, without the line's end. No message ever shows it.

    option: what named the file, for messages.

    Raises DataError if it cannot be read, is empty, or is more than one line of text.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{option} {explain_os_error(error)}") from None
    try:
        secret = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        secret = "\0"
    if not secret.strip():
        raise DataError(f"{option} {path}: the file is empty: write the secret into it, in one line")
    if len(data) > _MAX_BYTES or not secret.isprintable():
        raise DataError(f"{option} {path}: expected one line of text, which is the secret")
    return secret


def warn_if_others_can_read(path: str | Path, option: str) -> None:
    """In one line, with what to do."""
    if Path(path).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        log.warning("%s %s: other users of this machine can read it: chmod 600 %s", option, path, path)
