"""The story of teaching: the base's features of all photos → a head and `unknown` → a new model file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lesson import Progress


@dataclass(frozen=True)
class Taught:
    """What was made.

    path: the new file. labels: its classes, without `unknown`.
    evaluation: the figures in it, cross-validated (`metrics.evaluate`).
    notes: what is worth knowing about the photos and the classes, a line each.
    """

    path: Path
    labels: tuple[str, ...]
    evaluation: dict[str, Any]
    notes: tuple[str, ...]


def teach(
    base: Path | str,
    photos: Path | str,
    output: Path | str,
    *,
    keep: float | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Taught:
    """Make `output`, a model file with the backbone of `base` and a head for the classes in `photos`.

    base: a file of edge-convert or edge-teach; it stays as it is.
    photos: a folder with a folder of photos for each class, and maybe `unknown/`: pictures of none of them.
    keep: the share of own photos that should not be called unknown; None: 0.95, or 0.99 of a camera that does not move.
    replace: whether `output` may be there already.
    progress: called with the number of pictures done and that of all.

    Raises ModelFileError, SelfTestError, DataError, or OSError if it cannot be written.
    """
    from ...errors import DataError
    from .advice import advise
    from .base import open_base
    from .fitting import fit, measure
    from .lesson import read_lesson
    from .taught_file import make_file, write_file

    base, photos, output = Path(base), Path(photos), Path(output)
    if output.exists() and base.exists() and output.samefile(base):
        raise DataError(f"{output}: is the base itself, which is kept: give another name with -o")
    if output.exists() and not replace:
        raise DataError(f"{output}: there is such a file already: give another name with -o, or use --replace")
    opened = open_base(base)
    lesson = read_lesson(opened, photos, output.parent, progress or (lambda _done, _total: None))
    fitted = fit(lesson, keep)
    content = make_file(opened, lesson, fitted, output.stem)
    write_file(output, content)
    return Taught(output, lesson.labels, measure(lesson, fitted), (*lesson.notes, *advise(lesson, fitted)))
