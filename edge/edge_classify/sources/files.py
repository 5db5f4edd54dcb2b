"""Frames from files: a folder of pictures, one picture, or a video. None is left out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..errors import DataError
from ..images.photo import list_pictures, read_photo
from .frame import Frame, Transform
from .source import Source

log = logging.getLogger(__name__)

# A video file may claim any rate; beyond this one it is not believed, and the video read as fast as possible.
_MAX_VIDEO_FPS = 1000


def open_folder(folder: Path, transform: Transform) -> Source:
    """All pictures below `folder`. Unreadable ones are skipped with a warning.

    Raises DataError if there are no pictures, or at the end if none could be read.
    """
    pictures = list_pictures(folder)
    if not pictures:
        raise DataError(f"{folder}: no pictures in this folder")
    return Source(_read_pictures(folder, pictures, transform), stream=False)


def open_file(path: Path, transform: Transform, *, fast: bool) -> Source:
    """A picture or a video, whichever the file's content is. `fast` ignores a video's frame rate.

    Raises DataError if it is neither, or at the end of a video without any frame.
    """
    if cv2.haveImageReader(str(path)):
        return _open_picture(path, transform)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        raise DataError(f"{path}: not a readable picture or video")
    return Source(_read_video(path, capture, transform, fast), stream=True, close=capture.release)


def _open_picture(path: Path, transform: Transform) -> Source:
    image = transform(read_photo(path))

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
