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
from ..system.machine import System, VideoDevice

DEFAULT_SIZE, DEFAULT_FPS = (640, 480), 30.0

# OpenCV lets the driver queue 4 pictures. One that is there within this time (seconds) was waiting in the queue.
_QUEUE, _AT_ONCE = 4, 1e-3

_LINUX = sys.platform == "linux"


def list_nodes(system: System | None = None) -> list[VideoDevice]:
    """The USB and other video cameras of this machine, without metadata nodes and a Pi's internal ones."""
    return [device for device in (system or System()).video_devices() if device.captures]


def find_again(node: VideoDevice, path: Path, *, or_another: bool) -> Path:
    """Where a camera is now: one that was unplugged may come back under another number.

    path: what to fall back to. or_another: take the first camera there is if this one's port is empty.
    """
    present = list_nodes()
    same_port = [other for other in present if other.port == node.port] or (present if or_another else [])
    return same_port[0].path if same_port else path


@dataclass(frozen=True)
class _Mode:
    """What a camera really does, read back from it. fourcc: its pixel format's four letters."""

    fourcc: str
    size: tuple[int, int]
    fps: float


class V4l2Camera:
    """One open video device. `size` in pixels (width, height) and `fps` are wishes; the camera decides.

    Raises CameraError if it cannot be opened.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None, fps: float | None) -> None:
        self._path = path
        if _LINUX and not path.exists():
            raise CameraError(f"{path} is not there: is it plugged in?")
        if _LINUX and not os.access(path, os.R_OK | os.W_OK):
            raise CameraError(
                f"no permission to open {path}: run 'sudo usermod -aG video $USER', then log out and in again"
            )
        if _LINUX:
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
        else:
            self._capture = cv2.VideoCapture(int(path.name.removeprefix("video")), cv2.CAP_ANY)
        if not self._capture.isOpened():
            self._capture.release()
            raise CameraError(f"{path} does not open: no camera, or another program is using it")
        mode = _negotiate(self._capture, size or DEFAULT_SIZE, fps or DEFAULT_FPS)
        # As long as OpenCV waits for a picture (see `edge_classify/__init__.py`), or for three slow ones.
        self._interval = 1 / mode.fps if mode.fps > 0 else 0.0
        self.patience = max(2.0, 3 * self._interval)
        self._jpeg = mode.fourcc in ("MJPG", "JPEG")
        self._whole_seen = False
        if self._jpeg:
            # Decoded here: OpenCV decodes the whole buffer, where a picture that was cut off is followed by the rest of
            # an older one.
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        self.description = f"{path}: {mode.size[0]}x{mode.size[1]} {mode.fourcc}, {mode.fps:g} frames a second"
        if size is not None and mode.size != size:
            self.description += f" (asked for {size[0]}x{size[1]})"
        if fps is not None and abs(mode.fps - fps) > 0.01 * fps:
            self.description += f" (asked for {fps:g})"

    def read(self) -> tuple[Image, float] | None:
        # A reader slower than the camera finds the driver's queue full. Only its newest picture is worth decoding.
        for _ in range(_QUEUE):
            asked_at = time.perf_counter()
            arrived = self._capture.grab()
            now = time.perf_counter()
            captured_at = self._captured_at(now)
            if not arrived or now - asked_at > _AT_ONCE or now - captured_at < 1.5 * self._interval:
                break
        arrived, data = self._capture.retrieve() if arrived else (False, None)
        if not arrived:
            if _LINUX and not self._path.exists():
                raise CameraError("it was unplugged")
            return None
        picture = np.asarray(data, np.uint8)
        image = self._decode(picture.reshape(-1)) if self._jpeg else picture
        return (image, captured_at) if image is not None and image.size else None

    def _captured_at(self, now: float) -> float:
        # The driver's time of capture, on the clock that `perf_counter` shows on Linux; some drivers leave it out.
        told = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        return told if now - 5 < told <= now else now

    def _decode(self, jpeg: Image) -> Image | None:
        whole = is_whole(jpeg)
        self._whole_seen |= whole
        if not whole and self._whole_seen:  # a camera that never sends the end marker is believed
            return None
        image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        return None if image is None else np.asarray(image, np.uint8)

    def close(self) -> None:
        self._capture.release()


def is_whole(jpeg: Image) -> bool:
    """Whether a JPEG ends with its end marker; some cameras pad it with zeros."""
    return jpeg.tobytes().rstrip(b"\0").endswith(b"\xff\xd9")


def _negotiate(capture: cv2.VideoCapture, size: tuple[int, int], fps: float) -> _Mode:
    """Raw pictures (YUYV) where the camera gives them in this size at this rate, else MJPG if that is better.

    Raw needs no decoding (8 times the time of YUYV's conversion at 640x480), but over USB 2 it is slow from
    1280x720 on.
    """
    modes = []
    for fourcc in ("YUYV", "MJPG"):
        mode = _ask(capture, fourcc, size, fps)
        if mode.size == size and mode.fps > 0.99 * fps:
            return mode
        modes.append((fourcc, mode))

    def badness(mode: _Mode) -> tuple[int, float]:
        return abs(mode.size[0] - size[0]) + abs(mode.size[1] - size[1]), max(0.0, fps - mode.fps)

    # `min` takes the first of equals: raw.
    best, mode = min(modes, key=lambda asked: badness(asked[1]))
    return mode if best == "MJPG" else _ask(capture, best, size, fps)


def _ask(capture: cv2.VideoCapture, fourcc: str, size: tuple[int, int], fps: float) -> _Mode:
    # `set` returns True for what was refused, so everything is read back.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    capture.set(cv2.CAP_PROP_FPS, fps)
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    return _Mode(code.to_bytes(4, "little").decode("latin-1"), (width, height), capture.get(cv2.CAP_PROP_FPS))
