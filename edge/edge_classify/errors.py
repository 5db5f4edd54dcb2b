"""Errors that a user can cause or must know about: one line each, one exit code per kind."""

from __future__ import annotations

import errno
import re
from pathlib import Path

# What to do if a file cannot be written, by the system's reason.
_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space on it, and run this again",
    errno.EDQUOT: "your quota on this disk is used up: free some of it, and run this again",
    errno.EFBIG: "the file became larger than is allowed here (ulimit -f): allow more, and run this again",
    errno.EROFS: "the disk is read-only: write to another folder",
}


class EdgeClassifyError(Exception):
    """A message for the user, in one line: what is wrong, with what, and what to do.

    exit_code: the exit code of a command that ends with it.
    meaning: what that code means, for --help and the docs.
    """

    exit_code = 1
    meaning = "unexpected error"


class UsageError(EdgeClassifyError):
    """An option or argument that cannot be used, alone or with others."""

    exit_code = 2
    meaning = "usage error"


class CameraError(EdgeClassifyError):
    """A camera that cannot be opened, or stops."""

    exit_code = 3
    meaning = "camera error"


class ModelFileError(EdgeClassifyError):
    """A model file that is missing, damaged, not a classifier, or too new."""

    exit_code = 4
    meaning = "model file error"


class SelfTestError(EdgeClassifyError):
    """A model file that does not reproduce, on this machine, the results recorded in it."""

    exit_code = 5
    meaning = "the model file fails its self-test"


class DataError(EdgeClassifyError):
    """Photos, videos, run folders or other files that are missing, or cannot be read or written."""

    exit_code = 6
    meaning = "photo, video or file error"


class FolderError(DataError):
    """A folder that is missing or may not be written to, where an output would write a file.

    folder: its path.
    """

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder


class BudgetError(EdgeClassifyError):
    """A time budget that no model file meets."""

    exit_code = 8
    meaning = "no model file fits the time budget"


def first_line(error: BaseException) -> str:
    """The first line of a third-party library's error, or its type if it has no message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def explain_os_error(error: OSError) -> str:
    """What happened to which file, and what to do if that is known, in one line."""
    number, name, text = error.errno, error.filename, str(error)
    if number is None:  # HDF5 gives both in its message alone
        found = re.search(r"errno = (\d+)", text)
        number = int(found[1]) if found else None
        found = re.search(r"filename = '([^']+)'", text)
        name = found[1] if found else name
    return f"{name or 'writing failed'}: {_REMEDIES.get(number or 0) or error.strerror or first_line(error)}"
