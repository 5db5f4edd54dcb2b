"""Errors that a user can cause or must know about: one line each, one exit code per kind."""

from __future__ import annotations


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


class BudgetError(EdgeClassifyError):
    """A time budget that no model file meets."""

    exit_code = 8
    meaning = "no model file fits the time budget"


def first_line(error: BaseException) -> str:
    """The first line of a third-party library's error, or its type if it has no message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
