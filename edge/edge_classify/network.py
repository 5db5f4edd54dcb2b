"""Network cameras: RTSP and HTTP streams, read by OpenCV's FFmpeg."""

from __future__ import annotations

import re
import time

import cv2
import numpy as np

from .errors import CameraError
from .preprocessing import Image

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
        self._shown = without_password(address)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS]
        self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
        if not self._capture.isOpened():
            self._capture.release()
            raise CameraError(
                f"camera {self._shown}: the stream does not open: is the address right, the camera on, "
                "and the password part of the address?"
            )
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1").strip("\0 ")
        self.description = f"{self._shown}: {width}x{height} {code}".rstrip()

    def read(self) -> tuple[Image, float] | None:
        arrived, image = self._capture.read()
        if not arrived:
            raise CameraError("the stream ended, or nothing came for 5 s")
        return np.asarray(image, np.uint8), time.perf_counter()

    def close(self) -> None:
        self._capture.release()
