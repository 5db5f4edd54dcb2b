"""Finding the pictures in a folder, and saying what in it is left out."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError
from ..system.counted import counted
from .formats import HEAD_BYTES, PICTURE_SUFFIXES, RAW_SUFFIXES, picture_format

log = logging.getLogger(__name__)

# Files of these kinds are not looked into: their name tells that they are no pictures.
_OTHER_SUFFIX = re.compile(
    r"\.(?:txt|json|jsonl|xml|csv|tsv|yaml|yml|toml|ini|cfg|log|md|html?|js|css|py|ipynb|sh|pdf|docx?|xlsx?|zip|tar|gz|"
    r"tgz|7z|rar|mp4|mov|avi|mkv|webm|m4v|3gp|mpg|mp3|wav|m4a|aae|thm|xmp|db|npy|npz|h5|pkl|pt|onnx|tflite|mat|"
    r"tfrecord|dvc)"
)
# What file managers, network drives and operating systems keep beside photos: thumbnails, what was deleted.
_HELPER_FOLDERS = frozenset(
    {
        "__macosx",
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__pycache__",
    }
)
# Kinds of files named in one line.
_MAX_KINDS = 12

# What is left out: a noun, and what follows it. The plural has an "s" after the noun.
Kind = tuple[str, str]


@dataclass(frozen=True)
class Contents:
    """What is in a folder.

    pictures: files that are pictures by their suffix, or by their content if the suffix does not tell.
    folders: those directly in it.
    left_out: how many of each kind are left out.
    """

    pictures: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    left_out: Counter[Kind] = field(default_factory=Counter)


def list_pictures(folder: Path) -> list[Path]:
    """The pictures below `folder`, sorted. Warns of what is left out. Raises DataError if it cannot be listed."""
    contents = find_pictures(folder)
    warn_of_left_out(folder, contents.left_out)
    return contents.pictures


def find_pictures(folder: Path) -> Contents:
    """The pictures in `folder` and all folders below it, sorted; links to folders are followed.

    Hidden files and folders are left out, as are those that helper programs keep. Raises DataError.
    """
    found = Contents()
    _walk(folder, found, frozenset(_identities_above(folder)))
    found.pictures.sort()
    return found


def list_folder(folder: Path) -> Contents:
    """The pictures and folders directly in `folder`, sorted. Raises DataError."""
    found = Contents()
    above = frozenset(_identities_above(folder))
    for entry in _scan(folder):
        path = folder / entry.name
        if _is_folder(entry):
            reason = _reason_to_skip(entry, above)
            if reason:
                found.left_out[reason] += 1
            else:
                found.folders.append(path)
        else:
            _sort_in(entry, path, found)
    found.pictures.sort()
    found.folders.sort()
    return found


def describe_left_out(left_out: Counter[Kind]) -> str:
    """In words, with counts: "2 .txt files, 1 broken link"; "" if there is nothing."""
    words = [counted(count, noun) + rest for (noun, rest), count in sorted(left_out.items())]
    if len(words) > _MAX_KINDS:
        words[_MAX_KINDS:] = [f"and {len(words) - _MAX_KINDS} more kinds"]
    return ", ".join(words)


def warn_of_left_out(folder: Path, left_out: Counter[Kind]) -> None:
    """One line, if there is anything to say."""
    words = describe_left_out(left_out)
    if words:
        log.warning("%s: left out: %s", folder, words)


def _walk(folder: Path, found: Contents, above: frozenset[tuple[int, int]]) -> None:
    for entry in _scan(folder):
        path = folder / entry.name
        if not _is_folder(entry):
            _sort_in(entry, path, found)
            continue
        reason = _reason_to_skip(entry, above)
        if reason is None:
            try:
                _walk(path, found, above | {_identity(path)})
            except DataError:
                reason = ("folder", f" that cannot be listed ({path})")
        if reason is not None:
            found.left_out[reason] += 1


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise DataError(f"{folder}: this folder cannot be listed: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _reason_to_skip(entry: os.DirEntry[str], above: frozenset[tuple[int, int]]) -> Kind | None:
    if entry.name.startswith("."):
        return ("hidden folder", f" {entry.name}")
    if entry.name.lower() in _HELPER_FOLDERS:
        return ("folder", f" named {entry.name}")
    if entry.is_symlink() and _identity(Path(entry.path)) in above:
        return ("link", " to a folder that it is in")
    return None


def _sort_in(entry: os.DirEntry[str], path: Path, found: Contents) -> None:
    """Add a file to the pictures, or to what is left out."""
    suffix = path.suffix.lower()
    if entry.name.startswith("."):
        if suffix in PICTURE_SUFFIXES:
            found.left_out["hidden file", ""] += 1
    elif not _is_file(entry):
        kind = ("broken link", " (to files that are not here)") if entry.is_symlink() else ("device", " or pipe")
        found.left_out[kind] += 1
    elif suffix in PICTURE_SUFFIXES:
        found.pictures.append(path)
    elif suffix in RAW_SUFFIXES:
        found.left_out[f"{suffix} file", " (raw photos: export them as JPEG)"] += 1
    elif not _OTHER_SUFFIX.fullmatch(suffix) and _is_picture_by_content(path):
        found.pictures.append(path)
    elif suffix:
        found.left_out[f"{suffix} file", ""] += 1
    else:
        found.left_out["file", " without a suffix"] += 1


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_picture_by_content(path: Path) -> bool:
    """Also if it cannot be read: then reading it will say why."""
    try:
        with path.open("rb") as file:
            return bool(picture_format(file.read(HEAD_BYTES)))
    except OSError:
        return True


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _identities_above(folder: Path) -> Iterator[tuple[int, int]]:
    """Of the folder and of all that it is in."""
    try:
        absolute = folder.resolve()
        for path in (absolute, *absolute.parents):
            yield _identity(path)
    except OSError as error:
        raise DataError(f"{folder}: this folder cannot be listed: {error.strerror}") from error
