"""One picture from a source, and turning, mirroring and cropping it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import UsageError
from ..images.preprocessing import Image

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {"h": 1, "v": 0}


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


@dataclass(frozen=True)
class Transform:
    """What is done to every picture, in this order: rotate, flip, crop.

    rotate: degrees clockwise: 0, 90, 180 or 270.
    flip: "h" mirrors left and right, "v" turns upside down.
    crop: (x, y, width, height) as fractions of the picture, 0 to 1, so that it means the same at every size.
    Raises UsageError for anything else.
    """

    rotate: int = 0
    flip: str | None = None
    crop: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.rotate not in (0, *_ROTATIONS):
            raise UsageError(f"rotate is {self.rotate}: it must be 90, 180 or 270 (degrees clockwise)")
        if self.flip is not None and self.flip not in _FLIPS:
            raise UsageError(f"flip is {self.flip}: it must be h (left and right) or v (upside down)")
        if self.crop is not None:
            x, y, width, height = self.crop
            if min(x, y) < 0 or min(width, height) <= 0 or max(x + width, y + height) > 1 + 1e-6:
                raise UsageError(
                    f"crop is {x:g},{y:g},{width:g},{height:g}: x, y, width and height must be fractions of the "
                    "picture, 0 to 1, and stay inside it (the middle half: 0.25,0.25,0.5,0.5)"
                )

    def __call__(self, image: Image) -> Image:
        """The picture as it should be; a crop shares the memory of `image`."""
        if self.rotate:
            image = np.asarray(cv2.rotate(image, _ROTATIONS[self.rotate]), np.uint8)
        if self.flip is not None:
            image = np.asarray(cv2.flip(image, _FLIPS[self.flip]), np.uint8)
        if self.crop is not None:
            height, width = image.shape[:2]
            x, y, w, h = self.crop
            left, top = min(round(x * width), width - 1), min(round(y * height), height - 1)
            right, bottom = round((x + w) * width), round((y + h) * height)
            image = image[top : max(bottom, top + 1), left : max(right, left + 1)]
        return image
