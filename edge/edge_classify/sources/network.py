"""Network cameras: RTSP and HTTP streams, read by OpenCV's FFmpeg."""

from __future__ import annotations

import re
import time

import cv2
import numpy as np

from ..errors import CameraError
from ..images.preprocessing import Image

_OPEN_TIMEOUT_MS = 5000
_READ_TIMEOUT_MS = 5000

_ADDRESS = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)


def is_address(text: str) -> bool:
    return _ADDRESS.match(text) is not None


def without_password(address: str) -> str:
    """The address as it may be shown: results and logs carry it."""
    return re.sub(r"//[^/@]*@", "//***@", address, count=1)


class NetworkCamera:
    """One open stream. Raises CameraError if it does not open within 5 s."""

    patience = 5.0  # as long as FFmpeg waits for data

    def __init__(self, address: str) -> None:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS]
        self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
        if not self._capture.isOpened():
            self._capture.release()
            raise CameraError(
                "the stream does not open: is the address right, the camera on, and the password in the address?"
            )
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1").strip("\0 ")
        self.description = f"{width}x{height} {code.upper()}"

    def read(self) -> tuple[Image, float] | None:
        began = time.perf_counter()
        arrived, image = self._capture.read()
        now = time.perf_counter()
        if not arrived:
            raise CameraError(
                "no picture for 5 s" if (now - began) * 1e3 > 0.9 * _READ_TIMEOUT_MS else "the stream ended"
            )
        return np.asarray(image, np.uint8), now

    def close(self) -> None:
        self._capture.release()
