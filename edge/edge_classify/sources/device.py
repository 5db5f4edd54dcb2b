"""What a new kind of camera implements, and what all kinds share.

One module per kind: `v4l2` (USB), `rpicam` (Raspberry Pi camera modules), `network`, `demo`. Each opens its camera in a
constructor and has the members of `Device`; `opening` recognises its addresses, `cameras` opens it, and `live` reads it
in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2

from ..errors import UsageError
from ..images.preprocessing import Image
from ..system.counted import counted

DEFAULT_SIZE = (640, 480)
DEFAULT_FPS = 30.0

# Below this, it is a typing error.
_MIN_SIDE = 16
_MIN_PATIENCE_S = 2.0


class UndecodableFrameError(Exception):
    """Frames came that cannot be decoded; the next one may be fine. count: how many."""

    def __init__(self, count: int = 1) -> None:
        super().__init__(f"{counted(count, 'frame')} cannot be decoded")
        self.count = count


class Device(Protocol):
    """An open camera. Errors of opening and reading it need not name it: `live` puts its name in front.

    description: what was negotiated with it, in one line.
    patience: seconds without a frame after which the camera counts as stalled.
    """

    description: str
    patience: float

    def read(self) -> tuple[Image, float] | None:
        """The next image (uint8 BGR, shape (height, width, 3)) and its capture time in seconds of `time.perf_counter`.

        Returns within a few seconds; None if no image came in that time. Raises UndecodableFrameError if a broken one
        came, and CameraError if no more will come.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class CameraSettings:
    """What is requested from a camera, which may do something else; None leaves the choice to us.

    size: (width, height) in pixels. fps: frames per second. Raises UsageError for impossible values.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < _MIN_SIDE:
            width, height = self.size
            raise UsageError(f"size is {width}x{height}: it must be at least {_MIN_SIDE}x{_MIN_SIDE}")
        if self.fps is not None and not self.fps > 0:
            raise UsageError(f"fps is {self.fps:g}: it must be above 0")

    def describe(self, device: str, size: tuple[int, int], pixel_format: str, fps: float) -> str:
        """What the camera really does, in one line, with what was requested wherever that differs."""
        text = f"{device}: {size[0]}x{size[1]} {pixel_format}, {fps:g} frames per second"
        if self.size is not None and size != self.size:
            text += f" (requested {self.size[0]}x{self.size[1]})"
        if self.fps is not None and abs(fps - self.fps) > 0.01 * self.fps:
            text += f" (requested {self.fps:g})"
        return text


def patience_for(fps: float) -> float:
    """The `Device.patience` of a camera that gives `fps` frames per second (0: unknown): at least three frames."""
    return max(_MIN_PATIENCE_S, 3 / fps if fps > 0 else 0.0)


def pixel_format(capture: cv2.VideoCapture) -> str:
    """The four-character code of the open stream, such as "YUYV", "MJPG" or "H264"."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    return code.to_bytes(4, "little").decode("latin-1").strip("\0 ").upper()
