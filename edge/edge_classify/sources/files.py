"""Frames from files: a folder of pictures, one picture, or a video. None is left out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeVar

import cv2
import numpy as np

from ..errors import DataError
from ..images.folder import describe_left_out, find_pictures
from ..images.formats import FORMATS_BY_SUFFIX, HEAD_BYTES, describe_other, holds_several, picture_format
from ..images.photo import decode_photo, read_photo, without_library
from ..images.preprocessing import Image
from ..system.counted import counted
from .device import pixel_format
from .frame import Frame, Transform
from .source import Apply, Source

Outcome = TypeVar("Outcome")

log = logging.getLogger(__name__)

# A video file may claim any rate; beyond this one it is not believed, and the video read as fast as possible.
_MAX_VIDEO_FPS = 1000
# Nor a video of more frames, four days at 30 a second.
_MAX_COUNT = 10**7
# Reads that fail one after another before that is the end of a video.
_MIN_ATTEMPTS = 300
_MAX_ATTEMPTS = 10_000
# What may be missing at a video's end, in seconds and as a fraction; its length is often an estimate.
_MIN_MISSING_S = 1.0
_MIN_MISSING = 0.05

MJPEG_SUFFIXES = frozenset({".mjpeg", ".mjpg"})
# Of a file of another name, how much is searched for a second JPEG.
_MJPEG_BYTES = 2**24
# FourCC codes, with names that people know, of what OpenCV's FFmpeg leaves to hardware.
_UNSUPPORTED_CODECS = {"AV01": "AV1", "VVC1": "VVC"}
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
        words = f"{counted(len(heic), 'HEIC photo')} (to read them: {install})"
        left_out = f"{words}, {left_out}" if left_out else words
    pictures = sorted(set(found.pictures) - set(heic)) if heic else found.pictures
    if not pictures:
        raise DataError(f"{folder}: no pictures in this folder" + (f"; left out: {left_out}" if left_out else ""))
    if left_out:
        log.warning("%s: left out: %s", folder, left_out)
    read = partial(_read_pictures, folder, pictures, transform)
    frames = (frame for frame, _ in read(lambda _: None, map))
    return Source(frames, stream=False, map_frames=read)


def open_file(path: Path, transform: Transform, *, fast: bool) -> Source:
    """A picture or a video, whichever the file's content is. Animated GIF and PNG files are played as videos.

    fast: ignore a video's frame rate.

    Raises DataError if it is neither, or at the end of a video without any frame.
    """
    head = _read_head(path)
    kind = picture_format(head)
    if kind and not _is_played(path, kind):
        return _open_picture(path, kind, transform)
    with _name_for_opencv(path) as name:
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        what = describe_other(head)
        raise DataError(f"{path}: {what if what and 'video' not in what else 'not a readable picture or video'}")
    return open_video(str(path), capture, transform, fast=fast)


def open_video(name: str, capture: cv2.VideoCapture, transform: Transform, *, fast: bool) -> Source:
    """The frames of an open video until its end."""
    video = _Video(name, capture, transform, fast)
    return Source(video.frames(), stream=True, close=video.close, undecodable=lambda: video.undecodable)


@contextmanager
def _name_for_opencv(path: Path) -> Iterator[str]:
    """A name by which native code finds the file, which must exist, while the context lasts.

    OpenCV takes names in UTF-8, and crashes on others; FFmpeg takes what stands before a colon for a protocol.
    """
    name = str(path.absolute())
    try:
        utf8 = name.encode("utf-8") == os.fsencode(name)
    except UnicodeEncodeError:
        utf8 = False
    if utf8:
        yield name
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    with file:
        yield f"/dev/fd/{file.fileno()}"


def _is_mjpeg(path: Path) -> bool:
    """Whether the file is a row of JPEGs, as `rpicam-vid --codec mjpeg` writes it.

    A phone's photo may hold more pictures too (MPF), of which the first is the photo.
    """
    suffix = path.suffix.lower()
    if suffix in FORMATS_BY_SUFFIX:
        return False
    if suffix in MJPEG_SUFFIXES:
        return True
    start = _read_head(path, _MJPEG_BYTES)
    return b"\xff\xd9\xff\xd8" in start and b"MPF\0" not in start


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


def _read_head(path: Path, count: int = HEAD_BYTES) -> bytes:
    """How the file begins; nothing of a named pipe, which can be read once only."""
    if path.is_fifo():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _is_played(path: Path, kind: str) -> bool:
    """Whether a picture file is animated, and of a format that the video reader plays."""
    if kind == "jpeg":
        return _is_mjpeg(path)
    return kind in _PLAYED and holds_several(path.read_bytes(), kind)


def _open_picture(path: Path, kind: str, transform: Transform) -> Source:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    image = transform(decode_photo(data, str(path)))
    if holds_several(data, kind):
        log.warning("%s: holds several pictures: only the first is classified", path)

    def frames() -> Iterator[Frame]:
        # "Captured" when it is taken: how long that took after it was read means nothing.
        yield Frame(image, 0, time.perf_counter(), str(path))

    return Source(frames(), stream=False)


def _read_pictures(
    folder: Path, pictures: list[Path], transform: Transform, work: Callable[[Frame], Outcome], apply: Apply
) -> Iterator[tuple[Frame, Outcome]]:
    """As `Source.map`. Whatever is said, and the numbers of frames, follow the order of the pictures."""

    def read(path: Path) -> tuple[Frame, Outcome] | DataError:
        try:
            image = transform(read_photo(path))
        except DataError as error:
            return error
        frame = Frame(image, 0, time.perf_counter(), str(path))
        return frame, work(frame)

    number = unreadable = 0
    for done in apply(read, pictures):
        if isinstance(done, DataError):
            log.warning("skipped %s", done)
            unreadable += 1
            continue
        frame, outcome = done
        yield frame._replace(number=number), outcome
        number += 1
    if unreadable:
        log.warning("skipped %d of %d pictures", unreadable, len(pictures))
    if not number:
        raise DataError(f"{folder}: none of its {counted(len(pictures), 'picture')} can be read")


class _Video:
    """Reads an open video to its end. undecodable: how many of its frames were left out.

    It may be closed while another thread reads it, which is then at its end.
    """

    def __init__(self, name: str, capture: cv2.VideoCapture, transform: Transform, fast: bool) -> None:
        self.undecodable = 0
        self._name = name
        self._capture = capture
        self._in_use = Lock()
        self._closed = False
        self._transform = transform
        rate = capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if 0 < rate < _MAX_VIDEO_FPS else 0.0
        self._interval = 0.0 if fast or not self._rate else 1 / self._rate
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Negative or beyond any length if unknown.
        self._count = int(count) if 0 < count < _MAX_COUNT else 0
        # When its last frame is shown first, in seconds.
        self._end = 0.0

    def frames(self) -> Iterator[Frame]:
        number = 0
        due = time.perf_counter()
        while (found := self._read_next(number)) is not None:
            number, image = found
            # A sleep of no time takes 50 µs and more, too: the timer slack.
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            # A frame that was taken late delays all later ones: no frame is left out.
            due = max(due, time.perf_counter() - self._interval) + self._interval
            yield Frame(self._transform(image), number, time.perf_counter(), self._name)
            number += 1
        if self._closed:
            return
        if not number:
            raise DataError(self._why_no_frame())
        self._warn_if_cut_off()

    def close(self) -> None:
        with self._in_use:
            self._closed = True
            self._capture.release()

    def _read_next(self, number: int) -> tuple[int, Image] | None:
        """The next frame that can be decoded, and its number; None at the end.

        To OpenCV a frame that cannot be decoded and the end are the same, but behind the end all reads fail.
        """
        attempts = min(max(self._count - number, _MIN_ATTEMPTS), _MAX_ATTEMPTS)
        for failures in range(attempts):
            with self._in_use:
                if self._closed:
                    return None
                arrived, image = self._capture.read()
                at_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC) if arrived else 0.0
            if arrived:
                self._end = at_ms / 1e3
                if failures:
                    if not self.undecodable:
                        log.warning(
                            "%s: left out frame %d, which cannot be decoded; more will be counted", self._name, number
                        )
                    self.undecodable += failures
                return number + failures, np.asarray(image, np.uint8)
        return None

    def _why_no_frame(self) -> str:
        codec = pixel_format(self._capture)
        if codec in _UNSUPPORTED_CODECS:
            codec = f"{_UNSUPPORTED_CODECS[codec]}, which this OpenCV cannot decode"
        return (
            f"{self._name}: no frame of this video can be read (its codec is {codec or 'unknown'}): "
            "convert it, such as with ffmpeg -i FILE -c:v libx264 new.mp4"
        )

    def _warn_if_cut_off(self) -> None:
        if not self._rate or not self._count:
            return
        length = self._count / self._rate
        end = self._end + 1 / self._rate
        if length - end > max(_MIN_MISSING_S, _MIN_MISSING * length):
            log.warning("%s: no more frames after %.1f of %.1f seconds: it may be cut off", self._name, end, length)
