"""What a user can do wrong, or what can go wrong for them: one line each, one exit code a kind."""

from __future__ import annotations


class EdgeClassifyError(Exception):
    """A message for the user: what was wrong, with what, and what to do. `exit_code` is the command's."""

    exit_code = 1


class UsageError(EdgeClassifyError):
    """An option or argument that cannot be."""

    exit_code = 2


class CameraError(EdgeClassifyError):
    """A camera that does not open, or stops."""

    exit_code = 3


class ModelFileError(EdgeClassifyError):
    """A model file that is missing, damaged, no classifier, or too new."""

    exit_code = 4


class SelfTestError(EdgeClassifyError):
    """A model file that does not give, on this machine, the results recorded in it."""

    exit_code = 5


class DataError(EdgeClassifyError):
    """Photos, videos or run folders that are missing or cannot be read."""

    exit_code = 6


class ComparisonError(EdgeClassifyError):
    """Two measurements that cannot be compared."""

    exit_code = 7


class BudgetError(EdgeClassifyError):
    """A time budget that no model file fits."""

    exit_code = 8


def first_line(error: Exception) -> str:
    """The start of what an error of another library says, or its kind where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
