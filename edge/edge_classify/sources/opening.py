"""Where frames come from: a camera, a stream, a video, pictures, or the drawn demo.

A source is an iterator of frames and a context manager. Cameras are live: read in a thread that keeps
only the newest frame, so that results are about now. Files drop nothing.
"""

from __future__ import annotations

import logging
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from ..errors import CameraError, DataError, UsageError
from ..images.photo import list_pictures, read_photo
from ..images.preprocessing import Image
from . import demo, network, rpicam, v4l2
from .frame import Frame, Transform
from .live import Device, NewestFrame

__all__ = ["Frame", "Source", "list_cameras", "open_source"]

log = logging.getLogger(__name__)

_AS_CAPTURED = Transform()


class Source:
    """An iterator of frames that is closed after use.

    stream: frames that follow one another (camera, video), unlike separate pictures.
    """

    def __init__(
        self,
        frames: Iterator[Frame],
        *,
        stream: bool,
        camera: NewestFrame | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.stream = stream
        self._frames = frames
        self._camera = camera
        self._close = close if camera is None else camera.close

    @property
    def live(self) -> bool:
        """Frames come whether they are wanted or not: a camera or a stream of one, and the demo."""
        return self._camera is not None

    @property
    def description(self) -> str:
        """What a camera was opened as, in one line: device, size, pixel format, rate; "" for files."""
        return self._camera.description if self._camera is not None else ""

    @property
    def dropped(self) -> int:
        """Frames of a camera that newer ones replaced before they were taken; always 0 for files."""
        return self._camera.dropped if self._camera is not None else 0

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        if self._close is not None:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(
    address: int | str | Path = 0,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    transform: Transform = _AS_CAPTURED,
    give_up: float | None = None,
    fast: bool = False,
) -> Source:
    """Open a source of frames.

    address: an index (0 is the USB camera if there is one, else the Raspberry Pi's first camera module; others as
        in /dev/video2), a device ("/dev/video0"), "csi" or "csi:1" (Pi camera modules), an rtsp:// or http://
        address, a video file, a picture, a folder of pictures, or "demo".
    size, fps: wishes to a camera: (width, height) in pixels, frames a second. `Source.description` says what came
        of them.
    transform: rotates, flips and crops every picture.
    give_up: seconds without a frame after which a camera that was lost raises CameraError; None: it is waited for.
    fast: read a video file as fast as it goes, not at its own speed.

    A camera returns when its first frame is there. Raises CameraError, DataError or UsageError.
    """
    if size is not None and min(size) < 16:
        raise UsageError(f"size is {size[0]}x{size[1]}: it must be at least 16x16")
    for name, value in (("fps", fps), ("give_up (--give-up)", give_up)):
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value:g}: it must be more than 0")
    text = str(address)

    def live(name: str, open_device: Callable[[], Device]) -> Source:
        if fast:
            raise UsageError(f"fast is for video files: {name} has a speed of its own")
        newest = NewestFrame(name, open_device, transform, give_up)
        return Source(newest.frames(), stream=True, camera=newest)

    if re.fullmatch(r"\d+|csi(:\d+)?|/dev/.*", text):
        return live(text, _device_opener(text, size, fps))
    if size is not None or fps is not None:
        raise UsageError(f"size and fps are for cameras: {network.without_password(text)} has its own")
    if text == "demo":
        return live("demo", _Demo)
    if network.is_address(text):
        return live(network.without_password(text), lambda: network.NetworkCamera(text))
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{text}: there is no such file, folder or camera") from None
    except OSError as error:
        raise DataError(f"{text}: {error.strerror}") from error
    if stat.S_ISCHR(mode):
        return live(text, lambda: v4l2.V4l2Camera(path, None, None))
    if stat.S_ISDIR(mode):
        if fast:
            raise UsageError(f"fast is for video files: {path} is a folder, and read as fast as it goes")
        return _open_folder(path, transform)
    return _open_file(path, transform, fast)


def is_stream(address: int | str | Path) -> bool:
    """Whether its frames follow one another (a camera, a video), unlike separate pictures. Opens nothing.

    Raises DataError if there is no such file.
    """
    text = str(address)
    if re.fullmatch(r"\d+|csi(:\d+)?|/dev/.*|demo", text) or network.is_address(text):
        return True
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{text}: there is no such file, folder or camera") from None
    except OSError as error:
        raise DataError(f"{text}: {error.strerror}") from error
    return not stat.S_ISDIR(mode) and not (stat.S_ISREG(mode) and cv2.haveImageReader(text))


def list_cameras() -> list[tuple[str, str]]:
    """The cameras of this machine: what `open_source` takes, and what it is."""
    cameras = [(str(node.path), node.name) for node in v4l2.list_nodes()]
    cameras += [(f"csi:{number}", sensor) for number, sensor in rpicam.list_modules()]
    return cameras


def _device_opener(text: str, size: tuple[int, int] | None, fps: float | None) -> Callable[[], Device]:
    """How to open, now and after each fault, the camera that `text` means on this machine."""
    if text.startswith("csi"):
        module = int(text[4:] or 0)
        return lambda: rpicam.PiCamera(module, size, fps)
    path = Path(f"/dev/video{text}" if text.isdecimal() else text)
    if sys.platform != "linux":
        return lambda: v4l2.V4l2Camera(path, size, fps)
    nodes = v4l2.list_nodes()
    node = next((node for node in nodes if node.path == path.resolve()), None)
    if node is None and text == "0":
        if not nodes and rpicam.program() is not None:
            return lambda: rpicam.PiCamera(0, size, fps)
        node = nodes[0] if nodes else None
    if node is None:
        if text.isdecimal() or not path.exists():
            present = ", ".join(address for address, _ in list_cameras()) or "none"
            raise CameraError(
                f"camera {text}: there is no such camera (present: {present}): connect one, or try --camera demo"
            )
        return lambda: v4l2.V4l2Camera(path, size, fps)
    known, any_camera = node, text == "0"
    fallback = known.path if any_camera else path
    return lambda: v4l2.V4l2Camera(v4l2.find_again(known, fallback, or_another=any_camera), size, fps)


class _Demo:
    """Draws the demo's frames when a camera would deliver them."""

    description = f"drawn: {demo.WIDTH}x{demo.HEIGHT}, {demo.FRAMES_PER_SECOND} frames a second"
    patience = 2.0

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._number = -1

    def read(self) -> tuple[Image, float]:
        elapsed = (time.perf_counter() - self._began) * demo.FRAMES_PER_SECOND
        # Where drawing fell behind, go on with the frame that is due now.
        self._number = max(self._number + 1, int(elapsed))
        image = demo.draw(self._number).image
        time.sleep(max(0.0, self._began + self._number / demo.FRAMES_PER_SECOND - time.perf_counter()))
        return image, time.perf_counter()

    def close(self) -> None:
        pass


def _open_folder(folder: Path, transform: Transform) -> Source:
    pictures = list_pictures(folder)
    if not pictures:
        raise DataError(f"{folder}: no pictures in this folder")
    return Source(_read_pictures(folder, pictures, transform), stream=False)


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
        log.warning("%d of %d pictures were skipped", unreadable, len(pictures))
    if not number:
        raise DataError(f"{folder}: none of its {len(pictures)} pictures can be read")


def _open_file(path: Path, transform: Transform, fast: bool) -> Source:
    if cv2.haveImageReader(str(path)):
        image = transform(read_photo(path))
        # "Captured" when it is asked for: how long it took to get there says nothing.
        return Source((Frame(image, 0, time.perf_counter(), str(path)) for _ in range(1)), stream=False)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        raise DataError(f"{path}: neither a picture nor a video that can be read")
    return Source(_read_video(path, capture, transform, fast), stream=True, close=capture.release)


def _read_video(path: Path, capture: cv2.VideoCapture, transform: Transform, fast: bool) -> Iterator[Frame]:
    rate = capture.get(cv2.CAP_PROP_FPS)
    interval = 0.0 if fast or not 0 < rate < 1000 else 1 / rate
    number = 0
    due = time.perf_counter()
    while True:
        arrived, image = capture.read()
        if not arrived:
            break
        time.sleep(max(0.0, due - time.perf_counter()))
        # A frame that was asked for late is not caught up with: no frame is left out.
        due = max(due, time.perf_counter() - interval) + interval
        yield Frame(transform(np.asarray(image, np.uint8)), number, time.perf_counter(), str(path))
        number += 1
    if not number:
        raise DataError(f"{path}: a video without a single frame that can be read")
