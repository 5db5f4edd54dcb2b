"""Where frames come from: a camera, a video, pictures, or the drawn demo.

A source is an iterator of frames and a context manager. Cameras are live: read in a thread that keeps
only the newest frame, so that results are about now. Files drop nothing.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import cv2
import numpy as np

from . import demo
from .errors import CameraError, DataError
from .photo import list_pictures, read_photo
from .preprocessing import Image

log = logging.getLogger(__name__)


class Frame(NamedTuple):
    """One picture from a source.

    image: uint8 BGR, shape (height, width, 3).
    number: counted from 0 by the source; a live source's gaps are frames that were dropped.
    captured_at: when it was captured, in seconds of `time.perf_counter`.
    name: the source, or the picture's file.
    """

    image: Image
    number: int
    captured_at: float
    name: str


class Source:
    """An iterator of frames that is closed after use.

    stream: frames that follow one another (camera, video), unlike separate pictures.
    live: a camera, whose frames come whether they are wanted or not.
    """

    def __init__(
        self, frames: Iterator[Frame], *, stream: bool, live: bool = False, close: Callable[[], None] | None = None
    ) -> None:
        self.stream = stream
        self.live = live
        self._frames = frames
        self._close = close

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        if self._close is not None:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_camera(camera: int | str | Path = 0) -> Source:
    """Open a source of frames.

    camera: an index (0 or "0"), a device ("/dev/video0"), a video file, a picture, a folder of pictures,
    or "demo". Raises CameraError or DataError.
    """
    text = str(camera)
    if text == "demo":
        return _open_live("demo", _demo_reader(), lambda: None)
    if text.isdecimal():
        return _open_device(text, Path(f"/dev/video{text}"), int(text))
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if text.startswith("/dev/"):
            raise CameraError(_absent(text)) from None
        raise DataError(f"{text}: there is no such file, folder or camera") from None
    except OSError as error:
        raise DataError(f"{text}: {error.strerror}") from error
    if stat.S_ISCHR(mode):
        return _open_device(text, path, text)
    if stat.S_ISDIR(mode):
        return _open_folder(path)
    return _open_file(path)


def _open_device(name: str, device: Path, address: int | str) -> Source:
    linux = sys.platform == "linux"
    if linux and not device.exists():
        raise CameraError(_absent(name))
    if linux and not os.access(device, os.R_OK | os.W_OK):
        raise CameraError(
            f"camera {name}: no permission to open {device}: run 'sudo usermod -aG video $USER', "
            "then log out and in again"
        )
    capture = cv2.VideoCapture(address, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
    if not capture.isOpened():
        capture.release()
        raise CameraError(f"camera {name}: {device} does not open: no camera, or another program is using it")

    def read() -> Image | None:
        arrived, image = capture.read()
        return np.asarray(image, np.uint8) if arrived else None

    return _open_live(name, read, capture.release)


def _absent(name: str) -> str:
    present = sorted(str(path) for path in Path("/dev").glob("video*"))
    return (
        f"camera {name}: there is no such camera (present: {', '.join(present) or 'none'}): "
        "connect one, or try --camera demo"
    )


def _open_live(name: str, read: Callable[[], Image | None], release: Callable[[], None]) -> Source:
    slot = _NewestFrame(name, read, release)
    return Source(slot.frames(), stream=True, live=True, close=slot.close)


class _NewestFrame:
    """Reads a camera in a thread of its own and keeps the newest frame only."""

    def __init__(self, name: str, read: Callable[[], Image | None], release: Callable[[], None]) -> None:
        self._name = name
        self._read = read
        self._release = release
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._stopped = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._capture, name=f"camera {name}", daemon=True)
        self._thread.start()

    def frames(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                while self._frame is None and not self._stopped:
                    self._changed.wait()
                frame, self._frame = self._frame, None
            if frame is None:
                if self._failure is not None:
                    raise self._failure
                return
            yield frame

    def close(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        # A driver's read can block for seconds; the thread is a daemon and ends with the process.
        self._thread.join(timeout=1)

    def _capture(self) -> None:
        number = 0
        try:
            while not self._stopped:
                image = self._read()
                if image is None:
                    raise CameraError(f"camera {self._name}: it stopped giving pictures: is it still connected?")
                frame = Frame(image, number, time.perf_counter(), self._name)
                number += 1
                with self._changed:
                    self._frame = frame
                    self._changed.notify()
        except Exception as error:  # whatever it is, it must reach the thread that waits for frames
            self._failure = error
        finally:
            self._release()
            with self._changed:
                self._stopped = True
                self._changed.notify()


def _demo_reader() -> Callable[[], Image]:
    """Draws the demo's frames when a camera would deliver them."""
    began = time.perf_counter()
    number = -1

    def read() -> Image:
        nonlocal number
        elapsed = (time.perf_counter() - began) * demo.FRAMES_PER_SECOND
        # Where drawing fell behind, go on with the frame that is due now.
        number = max(number + 1, int(elapsed))
        image = demo.draw(number).image
        time.sleep(max(0.0, began + number / demo.FRAMES_PER_SECOND - time.perf_counter()))
        return image

    return read


def _open_folder(folder: Path) -> Source:
    pictures = list_pictures(folder)
    if not pictures:
        raise DataError(f"{folder}: no pictures in this folder")
    return Source(_read_pictures(folder, pictures), stream=False)


def _read_pictures(folder: Path, pictures: list[Path]) -> Iterator[Frame]:
    number = unreadable = 0
    for path in pictures:
        try:
            image = read_photo(path)
        except DataError as error:
            log.warning("skipped %s", error)
            unreadable += 1
            continue
        yield Frame(image, number, time.perf_counter(), str(path))
        number += 1
    if unreadable:
        log.warning("%d of %d pictures were skipped", unreadable, len(pictures))
    if not number:
        raise DataError(f"{folder}: none of its {len(pictures)} pictures can be read")


def _open_file(path: Path) -> Source:
    if cv2.haveImageReader(str(path)):
        return Source(iter([Frame(read_photo(path), 0, time.perf_counter(), str(path))]), stream=False)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        raise DataError(f"{path}: neither a picture nor a video that can be read")
    return Source(_read_video(path, capture), stream=True, close=capture.release)


def _read_video(path: Path, capture: cv2.VideoCapture) -> Iterator[Frame]:
    number = 0
    while True:
        arrived, image = capture.read()
        if not arrived:
            break
        yield Frame(np.asarray(image, np.uint8), number, time.perf_counter(), str(path))
        number += 1
    if not number:
        raise DataError(f"{path}: a video without a single frame that can be read")
