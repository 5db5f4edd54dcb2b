"""Frames from files: a folder of pictures, one picture, or a video. None is left out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..errors import DataError
from ..images.folder import describe_left_out, find_pictures
from ..images.formats import FORMATS_BY_SUFFIX, HEAD_BYTES, describe_other, holds_several, picture_format
from ..images.photo import read_photo, without_library
from .frame import Frame, Transform
from .source import Source

log = logging.getLogger(__name__)

# A video file may claim any rate; beyond this one it is not believed, and the video read as fast as possible.
_MAX_VIDEO_FPS = 1000
# Picture formats that are played if they are animated.
_PLAYED = frozenset({"gif", "png"})


def open_folder(folder: Path, transform: Transform) -> Source:
    """All pictures below `folder`. Unreadable ones are skipped with a warning, and what is no picture is counted.

    Raises DataError if there are no pictures or the folder cannot be listed, or at the end if none could be read.
    """
    found = find_pictures(folder)
    left_out = describe_left_out(found.left_out)
    heic, install = without_library(found.pictures)
    if heic:
        words = f"{len(heic)} HEIC photo{'' if len(heic) == 1 else 's'} (to read them: {install})"
        left_out = f"{words}, {left_out}" if left_out else words
    pictures = sorted(set(found.pictures) - set(heic)) if heic else found.pictures
    if not pictures:
        raise DataError(f"{folder}: no pictures in this folder" + (f"; left out: {left_out}" if left_out else ""))
    if left_out:
        log.warning("%s: left out: %s", folder, left_out)
    return Source(_read_pictures(folder, pictures, transform), stream=False)


def open_file(path: Path, transform: Transform, *, fast: bool) -> Source:
    """A picture or a video, whichever the file's content is. Animated GIF and PNG files are played as videos.

    fast: ignore a video's frame rate.

    Raises DataError if it is neither, or at the end of a video without any frame.
    """
    head = _read_head(path)
    kind = picture_format(head)
    if kind and not _is_played(path, kind):
        return _open_picture(path, kind, transform)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        what = describe_other(head)
        raise DataError(f"{path}: {what if what and 'video' not in what else 'not a readable picture or video'}")
    return Source(_read_video(path, capture, transform, fast), stream=True, close=capture.release)


def is_picture(path: Path) -> bool:
    """Whether a file is one picture, by its content, or by its suffix if that cannot be read; opens no decoder."""
    try:
        head = _read_head(path)
    except DataError:
        head = b""
    if not head:
        return path.suffix.lower() in FORMATS_BY_SUFFIX
    kind = picture_format(head)
    return bool(kind) and not _is_played(path, kind)


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _is_played(path: Path, kind: str) -> bool:
    """Whether a picture file is animated, and of a format that the video reader plays."""
    return kind in _PLAYED and holds_several(path.read_bytes(), kind)


def _open_picture(path: Path, kind: str, transform: Transform) -> Source:
    image = transform(read_photo(path))
    if holds_several(path.read_bytes(), kind):
        log.warning("%s: holds several pictures: only the first is classified", path)

    def frames() -> Iterator[Frame]:
        # "Captured" when it is taken: how long that took after it was read means nothing.
        yield Frame(image, 0, time.perf_counter(), str(path))

    return Source(frames(), stream=False)


def _read_pictures(folder: Path, pictures: list[Path], transform: Transform) -> Iterator[Frame]:
    number = unreadable = 0
    for path in pictures:
        try:
            image = read_photo(path)
        except DataError as error:
            log.warning("skipped %s", error)
            unreadable += 1
            continue
        yield Frame(transform(image), number, time.perf_counter(), str(path))
        number += 1
    if unreadable:
        log.warning("skipped %d of %d pictures", unreadable, len(pictures))
    if not number:
        raise DataError(f"{folder}: none of its {len(pictures)} pictures can be read")


def _read_video(path: Path, capture: cv2.VideoCapture, transform: Transform, fast: bool) -> Iterator[Frame]:
    rate = capture.get(cv2.CAP_PROP_FPS)
    interval = 0.0 if fast or not 0 < rate < _MAX_VIDEO_FPS else 1 / rate
    number = 0
    due = time.perf_counter()
    while True:
        arrived, image = capture.read()
        if not arrived:
            break
        time.sleep(max(0.0, due - time.perf_counter()))
        # A frame that was taken late delays all later ones: no frame is left out.
        due = max(due, time.perf_counter() - interval) + interval
        yield Frame(transform(np.asarray(image, np.uint8)), number, time.perf_counter(), str(path))
        number += 1
    if not number:
        raise DataError(f"{path}: no frame of this video can be read")
