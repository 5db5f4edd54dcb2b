"""Class labels, and the one that means "none of these"."""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = "unknown"
# More are only counted.
_MAX_NAMED = 12


def name_classes(labels: Sequence[str]) -> str:
    """ "2 classes (cup, key)"; of many only their number. labels: without UNKNOWN."""
    return f"{len(labels)} classes" + (f" ({', '.join(labels)})" if len(labels) <= _MAX_NAMED else "")


def parse_labels(text: str) -> tuple[str, ...]:
    """Labels from text with one per line, taken as they are; empty lines at the end do not count."""
    return tuple(line.strip() for line in text.rstrip().splitlines())


def label_count_error(labels: int, outputs: int) -> str:
    """What is wrong, and what to do, if there is not one label per output."""
    if labels + 1 == outputs:
        hint = 'if its first output means background, put the label "background" first'
    elif labels == outputs + 1:
        hint = "if the first label is background or a heading, remove it: the model has no output for it"
    else:
        hint = "expected one label per output"
    return f"{labels} labels for {outputs} outputs: {hint}"
