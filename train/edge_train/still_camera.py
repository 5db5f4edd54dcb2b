"""Photos of a camera that does not move: recognizing them, and their order in time.

All of them are alike, so random ones held out are twins of those trained on, and say nothing. Later ones tell how it
goes on: they are split by time.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edge_classify.images.crop import Crop
from edge_classify.learn.photos.photo_set import Photo
from edge_classify.learn.photos.scene import natural_key, shows_one_scene

from .photo_facts import read_cached_facts

# Of more photos than these, evenly spaced ones are looked at: memory stays bounded.
_MAX_PHOTOS = 20_000

_EXIF_IFD = 0x8769
_DATE_TIME_ORIGINAL = 0x9003
_SUBSECONDS_ORIGINAL = 0x9291
# Files copied or unpacked together have times that say nothing: fewer seconds per photo than this, on average.
_MIN_SECONDS_PER_PHOTO = 0.5


def is_still_camera(database: sqlite3.Connection, names: Sequence[str], crop: Crop | None = None) -> bool:
    """Whether all photos, or this part of them, show one scene, from one place.

    names: their sha256, sorted, each once. The facts must be in the cache.
    """
    facts = read_cached_facts(database, names[:: -(-len(names) // _MAX_PHOTOS) or 1], crop)
    return shows_one_scene([fact.thumbnail for fact in facts])


def sort_by_time(root: Path, photos: Sequence[Photo]) -> tuple[list[int], str]:
    """The order in which they were taken, as indices; and what it was read from: EXIF, else file times, else names."""
    times = [read_exif_time(root / photo.path) if photo.place is None else photo.place.taken for photo in photos]
    if all(times):
        return _sorted(photos, times), "EXIF times"
    # A shard keeps no times of files: it is made of their contents alone.
    if any(photo.place is not None for photo in photos):
        return _sorted(photos), "file names"
    changed = [(root / photo.path).stat().st_mtime_ns for photo in photos]
    if (max(changed) - min(changed)) / 1e9 >= _MIN_SECONDS_PER_PHOTO * len(photos):
        return _sorted(photos, changed), "file times"
    return _sorted(photos), "file names"


def _sorted(photos: Sequence[Photo], times: Sequence[str] | Sequence[int] | None = None) -> list[int]:
    # Names decide between photos of one second.
    keys = [(*([times[index]] if times else []), natural_key(photo.path.name)) for index, photo in enumerate(photos)]
    return sorted(range(len(keys)), key=keys.__getitem__)


def read_exif_time(file: Path | IO[bytes]) -> str:
    """When a photo was taken, by its camera's clock: a text that sorts; "" if it does not say."""
    from PIL import Image, UnidentifiedImageError  # the command's --help works without it

    try:
        with Image.open(file) as picture:
            exif = picture.getexif().get_ifd(_EXIF_IFD)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return ""
    time = str(exif.get(_DATE_TIME_ORIGINAL, "")).strip("\0 ")
    # A camera without a clock writes zeros or spaces.
    return f"{time}.{exif.get(_SUBSECONDS_ORIGINAL, '')}" if re.match(r"[12]\d{3}:", time) else ""
