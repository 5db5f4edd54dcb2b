"""Taking photos of one class on purpose: into its folder, with how many different ones there are, and hints."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from ..images.formats import FORMATS_BY_SUFFIX
from ..images.photo import read_photo
from ..images.preprocessing import Image
from ..system.atomic_write import remove_abandoned
from .burst import Bursts
from .likeness import BY_THUMBNAIL, Describe, Likeness, pack
from .photo_file import encode, write
from .quality import hint
from .reasons import ON_PURPOSE
from .record import Record, read_record

# So many in a row that are like others: the scene should change.
_ALIKE_IN_A_ROW = 8


class Taken(NamedTuple):
    """One photo. different: no other is like it. hint: what is wrong with it, in a word, or ""."""

    path: Path
    different: bool
    hint: str


class Taking:
    """Fills one class folder.

    describe: what pictures are compared by, the folder's own too.
    clock: Unix seconds; for tests.

    photos, different: how many the folder has, and how many of them are not like another, as far as is known.
    Raises DataError if the folder cannot be made.
    """

    def __init__(self, folder: Path, describe: Describe = BY_THUMBNAIL, clock: Callable[[], float] = time.time) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{error.filename or folder}: cannot be made: {error.strerror}") from error
        remove_abandoned(folder)
        self.folder = folder
        self._describe = describe
        self._clock = clock
        self._bursts = Bursts()
        self._likeness = Likeness()
        self._alike: deque[bool] = deque(maxlen=_ALIKE_IN_A_ROW)
        self.photos = self.different = 0
        for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMATS_BY_SUFFIX):
            self.photos += 1
            self._remember_earlier(path)

    def _remember_earlier(self, path: Path) -> None:
        """Count a photo of the folder among the different ones, unless one before it is like it."""
        record = read_record(path)
        description = record.description() if record is not None and record.features_by == self._describe.by else None
        if description is None:
            try:
                description = self._describe(read_photo(path))
            except DataError:
                return  # edge-train will say so
        self.different += self._likeness.is_new(description)
        self._likeness.remember(description)

    def add(self, image: Image) -> Taken:
        """Keep a picture (uint8 BGR, shape (height, width, 3)) in the folder. Raises OSError."""
        now = self._clock()
        description = self._describe(image)
        burst, by = self._bursts.at(now), self._describe.by
        record = Record(now, ON_PURPOSE, burst, features=pack(description), features_by=by)
        path = write(self.folder, encode(image, record), record)
        different = self._likeness.is_new(description)
        self._likeness.remember(description)
        self.photos += 1
        self.different += different
        self._alike.append(not different)
        return Taken(path, different, hint(image) or self._sameness())

    def _sameness(self) -> str:
        all_alike = len(self._alike) == _ALIKE_IN_A_ROW and all(self._alike)
        return "all alike: move the thing, turn it, change what is behind it" if all_alike else ""
