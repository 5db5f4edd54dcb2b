"""Class labels: reading them, and the one that means "none of these"."""

from __future__ import annotations

from pathlib import Path

from .errors import DataError

UNKNOWN = "unknown"


def parse_labels(text: str) -> tuple[str, ...]:
    """Labels from text with one per line; empty lines at the end do not count."""
    return tuple(line.strip() for line in text.rstrip().splitlines())


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Labels from a file, as `parse_labels`. Raises DataError."""
    try:
        return parse_labels(Path(path).read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: labels cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: labels cannot be read: expected UTF-8 text with one label per line") from error
