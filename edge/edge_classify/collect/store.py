"""The folder of photos that are kept on the device: bounded, and whole whenever the power fails.

    DIR/unlabelled/20261126T204512.123Z_uncertain.jpg    waits for somebody to say what it shows
    DIR/labelled/cup/...jpg                              for edge-train DIR/labelled
    DIR/today.json                                       how much was written today

Only what is unlabelled is ever removed to make room.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..images.preprocessing import Image
from ..system.atomic_write import remove_abandoned, write_atomic
from .folders import LABELLED, UNLABELLED, make_folders
from .likeness import REMEMBERED
from .limits import DEFAULT_LIMITS, Limits
from .photo_file import encode, stamp, write
from .reasons import BY_USE
from .record import Record, iso_time

_TODAY = "today.json"

_DAY_S = 86400.0


class _Kept(NamedTuple):
    path: Path
    reason: str
    taken: str
    size: int

    def use(self) -> tuple[int, str]:
        """The smallest makes room first: the least useful reason, then the oldest."""
        return -BY_USE.index(self.reason) if self.reason in BY_USE else 1, self.taken


class Store:
    """Keeps photos in a folder. Not for use from two threads at once; other programs may label and delete meanwhile.

    root: made if it is not there, for its owner alone. Raises OSError if that cannot be.
    clock: Unix seconds; for tests.
    """

    def __init__(self, root: Path, limits: Limits = DEFAULT_LIMITS, clock: Callable[[], float] = time.time) -> None:
        self.root = root
        self._limits = limits
        self._clock = clock
        make_folders(root)
        for folder in (root, self._folder):
            remove_abandoned(folder)

    @property
    def _folder(self) -> Path:
        return self.root / UNLABELLED

    def unlabelled(self) -> list[Path]:
        """The photos that wait for a label, oldest first."""
        return [kept.path for kept in sorted(self._list(), key=lambda kept: (kept.taken, kept.path.name))]

    def newest(self) -> list[Path]:
        """The last 500 photos, labelled ones too, oldest first."""
        labelled = [*(self.root / LABELLED).glob("*/*.jpg")]
        return sorted([*self.unlabelled(), *labelled], key=lambda path: path.name)[-REMEMBERED:]

    def add(self, image: Image, record: Record) -> Path | None:
        """Keep a picture (uint8 BGR, shape (height, width, 3)); None if that would exceed what may be written today.

        Raises OSError if it cannot be written, ECANCELED if less than `free_bytes` would be left.
        """
        data = encode(image, record)
        photos, written = self._written_today()
        if photos >= self._limits.photos_per_day or written + len(data) > self._limits.bytes_per_day:
            return None
        make_folders(self.root)  # somebody may have cleared it away
        if shutil.disk_usage(self._folder).free - len(data) < self._limits.free_bytes:
            raise OSError(errno.ECANCELED, "less would be left free than --collect-free-mb", str(self._folder))
        self._make_room(len(data))
        path = write(self._folder, data, record)
        self._note_today(photos + 1, written + len(data))
        return path

    def remove_old(self) -> int:
        """Remove what has waited longer than `days`; returns how many."""
        if self._limits.days is None:
            return 0
        oldest = stamp(self._clock() - self._limits.days * _DAY_S)
        old = [kept for kept in self._list() if kept.taken < oldest]
        for kept in old:
            kept.path.unlink(missing_ok=True)
        return len(old)

    def _list(self) -> list[_Kept]:
        found = []
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name.endswith(".jpg"):
                    taken, _, rest = entry.name.partition("_")
                    with suppress(FileNotFoundError):  # labelled a moment ago
                        reason = rest.removesuffix(".jpg").partition("-")[0]
                        found.append(_Kept(Path(entry.path), reason, taken, entry.stat().st_size))
        return found

    def _make_room(self, size: int) -> None:
        kept = sorted(self._list(), key=_Kept.use, reverse=True)
        total = sum(photo.size for photo in kept) + size
        while kept and (len(kept) >= self._limits.photos or total > self._limits.total_bytes):
            out = kept.pop()
            out.path.unlink(missing_ok=True)
            total -= out.size

    def _written_today(self) -> tuple[int, int]:
        """(photos, bytes)."""
        try:
            today = json.loads((self.root / _TODAY).read_text())
            if today["day"] == self._day():
                return int(today["photos"]), int(today["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, 0

    def _note_today(self, photos: int, written: int) -> None:
        write_atomic(self.root / _TODAY, json.dumps({"day": self._day(), "photos": photos, "bytes": written}))

    def _day(self) -> str:
        return iso_time(self._clock())[:10]
