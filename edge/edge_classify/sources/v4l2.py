"""USB cameras: Linux's video devices, read through OpenCV."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import CameraError
from ..images.preprocessing import Image
from .device import DEFAULT_FPS, DEFAULT_SIZE, CameraSettings, UndecodableFrameError, patience_for, pixel_format

# How many frames OpenCV lets the driver queue.
_QUEUE_LENGTH = 4
# A frame that is there within this time was waiting in the queue.
_QUEUED_WITHIN_S = 1e-3
# A driver's capture time that is older than this is not believed.
_MAX_FRAME_AGE_S = 5.0

_LINUX = sys.platform == "linux"


@dataclass(frozen=True)
class _Mode:
    """What a camera really does, read back from it. fourcc: its pixel format."""

    fourcc: str
    size: tuple[int, int]
    fps: float


class V4l2Camera:
    """One open video device.

    Raises CameraError if it cannot be opened.
    """

    def __init__(self, path: Path, settings: CameraSettings) -> None:
        self._path = path
        self._capture = _open(path)
        mode = _negotiate(self._capture, settings.size or DEFAULT_SIZE, settings.fps or DEFAULT_FPS)
        self.description = settings.describe(str(path), mode.size, mode.fourcc, mode.fps)
        # OpenCV waits 2 s for a frame (set in `edge_classify/__init__.py`), no longer than this.
        self.patience = patience_for(mode.fps)
        self._interval = 1 / mode.fps if mode.fps > 0 else 0.0
        self._jpeg = mode.fourcc in ("MJPG", "JPEG")
        self._complete_seen = False
        if self._jpeg:
            # Decoded here: OpenCV decodes the whole buffer, in which a JPEG that was cut off is followed by the rest of
            # an older one.
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def read(self) -> tuple[Image, float] | None:
        arrived, captured_at = self._grab_newest()
        arrived, data = self._capture.retrieve() if arrived else (False, None)
        if not arrived:
            if _LINUX and not self._path.exists():
                raise CameraError("unplugged")
            return None
        buffer = np.asarray(data, np.uint8)
        image = self._decode(buffer.reshape(-1)) if self._jpeg else buffer
        if image is None or not image.size:
            raise UndecodableFrameError
        return image, captured_at

    def _grab_newest(self) -> tuple[bool, float]:
        """Skip what waits in the driver's queue, which is full if the reader is slower than the camera.

        Returns whether there is a frame, not decoded yet, and when it was captured.
        """
        for _ in range(_QUEUE_LENGTH):
            began = time.perf_counter()
            arrived = self._capture.grab()
            now = time.perf_counter()
            captured_at = self._captured_at(now)
            if not arrived or now - began > _QUEUED_WITHIN_S or now - captured_at < 1.5 * self._interval:
                break
        return arrived, captured_at

    def _captured_at(self, now: float) -> float:
        # The driver's timestamp, on the same clock as `perf_counter` on Linux; some drivers set none.
        timestamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        return timestamp if now - _MAX_FRAME_AGE_S < timestamp <= now else now

    def _decode(self, jpeg: Image) -> Image | None:
        complete = is_complete(jpeg)
        self._complete_seen |= complete
        if not complete and self._complete_seen:  # some cameras never send the end marker
            return None
        image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        return None if image is None else np.asarray(image, np.uint8)

    def close(self) -> None:
        self._capture.release()


def is_complete(jpeg: Image) -> bool:
    """Whether a JPEG (uint8, shape (n,)) ends with its end marker; some cameras pad it with zeros."""
    return jpeg.tobytes().rstrip(b"\0").endswith(b"\xff\xd9")


def _open(path: Path) -> cv2.VideoCapture:
    if _LINUX and not path.exists():
        raise CameraError(f"{path} not found: is the camera plugged in?")
    if _LINUX and not os.access(path, os.R_OK | os.W_OK):
        raise CameraError(f"no permission to open {path}: run 'sudo usermod -aG video $USER', then log out and back in")
    if _LINUX:
        capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
    else:
        capture = cv2.VideoCapture(int(path.name.removeprefix("video")), cv2.CAP_ANY)
    if not capture.isOpened():
        capture.release()
        raise CameraError(f"cannot open {path}: it is not a camera, or another program is using it")
    return capture


def _negotiate(capture: cv2.VideoCapture, size: tuple[int, int], fps: float) -> _Mode:
    """Raw frames (YUYV) if the camera gives them in this size at this rate, else MJPG if that comes closer.

    Raw frames need no decoding (8 times the time of YUYV's conversion at 640x480), but over USB 2 they are slow from
    1280x720 on.
    """
    modes = []
    for fourcc in ("YUYV", "MJPG"):
        mode = _request(capture, fourcc, size, fps)
        if mode.size == size and mode.fps > 0.99 * fps:
            return mode
        modes.append((fourcc, mode))

    def mismatch(mode: _Mode) -> tuple[int, float]:
        return abs(mode.size[0] - size[0]) + abs(mode.size[1] - size[1]), max(0.0, fps - mode.fps)

    # `min` takes the first of equals: raw.
    requested, best = min(modes, key=lambda pair: mismatch(pair[1]))
    # MJPG was requested last, and is still set.
    return best if requested == "MJPG" else _request(capture, requested, size, fps)


def _request(capture: cv2.VideoCapture, fourcc: str, size: tuple[int, int], fps: float) -> _Mode:
    # `set` returns True even for what was refused, so everything is read back.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    capture.set(cv2.CAP_PROP_FPS, fps)
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    return _Mode(pixel_format(capture), (width, height), capture.get(cv2.CAP_PROP_FPS))
