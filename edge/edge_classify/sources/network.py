"""Network cameras: RTSP and HTTP streams, read by OpenCV's FFmpeg."""

from __future__ import annotations

import re
import time

import cv2
import numpy as np

from ..errors import CameraError
from ..images.preprocessing import Image
from .device import pixel_format

TIMEOUT_S = 5.0

_ADDRESS = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)


def is_address(text: str) -> bool:
    return _ADDRESS.match(text) is not None


def without_password(address: str) -> str:
    """The address as it may be shown, in results and logs."""
    return re.sub(r"//[^/@]*@", "//***@", address, count=1)


class NetworkCamera:
    """One open stream. Raises CameraError if it cannot be opened within `timeout` seconds.

    timeout: also how long a read waits for data.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT_S) -> None:
        self.patience = timeout
        milliseconds = round(timeout * 1000)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
        self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
        if not self._capture.isOpened():
            self._capture.release()
            raise CameraError(
                "cannot open the stream: check the address, the password in it, and that the camera is switched on"
            )
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.description = f"{width}x{height} {pixel_format(self._capture)}"

    def read(self) -> tuple[Image, float] | None:
        began = time.perf_counter()
        arrived, image = self._capture.read()
        now = time.perf_counter()
        if not arrived:
            timed_out = now - began > 0.9 * self.patience
            raise CameraError(f"no frames for {self.patience:g} s" if timed_out else "the stream ended")
        return np.asarray(image, np.uint8), now

    def close(self) -> None:
        self._capture.release()
