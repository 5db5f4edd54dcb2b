"""What a mistyped word or path was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

# Endings such as .tflite make other names look alike.
_LIKE_ENOUGH, _LIKE_ENOUGH_PATH = 0.6, 0.8
# A folder full of files must not hold up an error message.
_MAX_ENTRIES = 2000


def nearest(word: str, words: Iterable[str], like_enough: float = _LIKE_ENOUGH) -> str | None:
    """The most similar of these words, if one is similar at all."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(words), 1, like_enough)
    return found[0] if found else None


def or_nearest_path(path: Path, otherwise: str = "") -> str:
    """The end of a line which says that a path does not exist: the one that was meant; `otherwise` if none is alike."""
    try:
        found = _nearest_path(path)
    except OSError:
        found = None
    return otherwise if found is None else f": did you mean {found}?"


def _nearest_path(path: Path) -> Path | None:
    here = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        if (here / part).exists():
            here /= part
            continue
        found = nearest(part, (entry.name for entry in islice(here.iterdir(), _MAX_ENTRIES)), _LIKE_ENOUGH_PATH)
        if found is None:
            return None
        here /= found
    return here
