"""The story of teaching: the base's features of all photos → a head and `unknown` → a new model file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DataError

if TYPE_CHECKING:
    from .class_changes import Changed, ClassChanges
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
    memory: bool = True,
    replace: bool = False,
    progress: Progress | None = None,
) -> Taught:
    """Make `output`, a model file with the backbone of `base` and a head for the classes in `photos`.

    base: a file of edge-convert or edge-teach; it stays as it is.
    photos: a folder with a folder of photos for each class, and maybe `unknown/`: pictures of none of them.
    keep: the share of own photos that should not be called unknown; None: 0.95, or 0.99 of a camera that does not move.
    memory: whether the file remembers features of some photos, so that its classes can be changed later.
    replace: whether `output` may be there already.
    progress: called with the number of pictures done and that of all.

    Raises ModelFileError, SelfTestError, DataError, or OSError if it cannot be written.
    """
    with _runtime_needed():
        from .advice import advise
        from .base import open_base
        from .fitting import fit, measure
        from .lesson import read_lesson
        from .taught_file import check_output, make_file, write_file

    base, photos, output = Path(base), Path(photos), Path(output)
    check_output(base, output, replace=replace)
    opened = open_base(base)
    lesson = read_lesson(opened, photos, output.parent, progress or (lambda _done, _total: None))
    fitted = fit(lesson, keep)
    content = make_file(opened, lesson, fitted, output.stem, memory=memory)
    write_file(output, content)
    return Taught(output, lesson.labels, measure(lesson, fitted), (*lesson.notes, *advise(lesson, fitted)))


def change_classes(
    base: Path | str,
    output: Path | str,
    changes: ClassChanges,
    *,
    memory: bool = True,
    replace: bool = False,
    progress: Progress | None = None,
) -> Changed:
    """Make `output`, a model file with the classes of `base` changed, for which the old photos are not needed.

    base: a file of edge-convert or edge-teach; it stays as it is.
    memory: whether the file remembers features of some photos, so that its classes can be changed again.
    replace: whether `output` may be there already.
    progress: called with the number of pictures done and that of all.

    Raises ModelFileError, SelfTestError, DataError, or OSError if it cannot be written.
    """
    with _runtime_needed():
        from .changing import change

    quiet: Progress = progress or (lambda _done, _total: None)
    return change(Path(base), Path(output), changes, memory=memory, replace=replace, progress=quiet)


@contextmanager
def _runtime_needed() -> Iterator[None]:
    """Raises DataError where LiteRT's schema cannot be imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DataError(
            f"edge-teach needs ai-edge-litert ({error.name} is missing), of which there is no 32-bit build: teach on "
            "another machine, and copy the file"
        ) from error
