"""Giving collected photos a class: by moving their files, so that there is nothing else to keep in step.

Any number of people and programs may do so at once: whoever comes later finds the file gone, and is told.
"""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from .class_folder import class_folder
from .folders import LABELLED, REMOVED, UNLABELLED, make_private
from .record import Record, read_record

_KEPT_REMOVED_S = 86400.0
# What `photo_file.write` calls its files, and nothing with a way out of the folder.
_NAME = re.compile(r"[0-9TZ.]{1,30}_[a-z]{1,20}(-[0-9]{1,6})?\.jpg")
_UNDOABLE = 100
# Cosine distance within a group. What is kept is further apart than 0.1; 240 frames of 24 scenes differ by 0.24 or more
# between scenes.
_ALIKE = 0.2


class Move(NamedTuple):
    """A file that has changed its folder."""

    before: Path
    after: Path


@dataclass(frozen=True)
class Done:
    """What one request has moved. missing: names of photos that were no longer there. number: for `undo`."""

    number: str
    moves: tuple[Move, ...]
    missing: tuple[str, ...]


class Unlabelled(NamedTuple):
    """A photo that waits for a class."""

    name: str
    record: Record | None


class Labelling:
    """The photos of a store's folder, as people sort them. Owns what can be undone."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._done: OrderedDict[str, Done] = OrderedDict()

    def groups(self) -> list[list[Unlabelled]]:
        """The photos without a class, those alike together, the largest group first."""
        photos = [Unlabelled(path.name, read_record(path)) for path in sorted((self._root / UNLABELLED).glob("*.jpg"))]
        leaders: list[tuple[np.ndarray, str, list[Unlabelled]]] = []
        groups: list[list[Unlabelled]] = []
        for photo in photos:
            description = photo.record.description() if photo.record is not None else None
            if description is None or photo.record is None:
                groups.append([photo])
                continue
            near = [group for leader, by, group in leaders if _alike(leader, by, description, photo.record)]
            if near:
                near[0].append(photo)
            else:
                groups.append([photo])
                leaders.append((description, photo.record.features_by, groups[-1]))
        return sorted(groups, key=lambda group: (-len(group), group[0].name))

    def classes(self) -> dict[str, int]:
        """How many photos each class has."""
        folder = self._root / LABELLED
        folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        return {path.name: sum(1 for _ in path.glob("[!.]*")) for path in folders if not path.name.startswith(".")}

    def path(self, name: str) -> Path:
        """The file of a photo without a class. Raises UsageError for what is no such name."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name[:80]!r} is no photo")
        return self._root / UNLABELLED / name

    def picture(self, name: str) -> Path:
        """Where that photo is now: whoever looked at it just before it was moved still sees it. Raises UsageError."""
        path = self.path(name)
        moves = (move for done in reversed(self._done.values()) for move in done.moves)
        return next((move.after for move in moves if move.before == path and not path.exists()), path)

    def label(self, names: Iterable[str], label: str) -> Done:
        """Give these photos the class. Raises UsageError, or OSError with nothing lost."""
        return self._move(names, class_folder(self._root / LABELLED, label))

    def remove(self, names: Iterable[str]) -> Done:
        """Take these photos away; for a day that can be undone."""
        self._forget_old()
        return self._move(names, self._root / REMOVED)

    def undo(self, number: str) -> Done:
        """Move back what this request has moved. Raises UsageError if it is not known, or undone already."""
        done = self._done.get(number)
        if done is None:
            raise UsageError("there is nothing to undo")
        undone = self._carry_out([Move(move.after, _free(move.before)) for move in done.moves])
        del self._done[number]
        for folder in {move.after.parent for move in done.moves}:
            with suppress(OSError):  # it has other photos
                folder.rmdir()
        return undone

    def _move(self, names: Iterable[str], folder: Path) -> Done:
        paths = [self.path(name) for name in dict.fromkeys(names)]
        done = self._carry_out([Move(path, _free(folder / path.name)) for path in paths])
        self._done[done.number] = done
        while len(self._done) > _UNDOABLE:
            self._done.popitem(last=False)
        return done

    def _carry_out(self, moves: Iterable[Move]) -> Done:
        """All moves of files that are still there; none if one fails. Raises OSError."""
        moved: list[Move] = []
        missing = []
        for move in moves:
            try:
                make_private(move.after.parent)
                move.before.rename(move.after)
                moved.append(move)
            except FileNotFoundError:  # somebody else was faster
                missing.append(move.before.name)
            except OSError:
                for done in reversed(moved):
                    with suppress(OSError):  # then it stays, whole, where it is
                        done.after.rename(done.before)
                raise
        return Done(secrets.token_hex(8), tuple(moved), tuple(missing))

    def _forget_old(self) -> None:
        folder = self._root / REMOVED
        if folder.is_dir() and time.time() - folder.stat().st_mtime > _KEPT_REMOVED_S:
            shutil.rmtree(folder, ignore_errors=True)


def _alike(leader: np.ndarray, by: str, description: np.ndarray, record: Record) -> bool:
    return by == record.features_by and leader.shape == description.shape and float(leader @ description) > 1 - _ALIKE


def _free(path: Path) -> Path:
    """A name that no file in that folder has."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
