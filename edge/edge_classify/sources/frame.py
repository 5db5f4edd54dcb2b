"""A frame, and the transform (rotate, flip, crop) that every frame of a source goes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import UsageError
from ..images.crop import cut, make_crop
from ..images.preprocessing import Image

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {"h": 1, "v": 0}


class Frame(NamedTuple):
    """One image from a source.

    image: uint8 BGR, shape (height, width, 3).
    number: counted from 0 by the source; gaps are frames that a live source dropped, or that a video has and that
        cannot be decoded.
    captured_at: time of capture, in seconds of `time.perf_counter`.
    name: the source's address, or the picture's file.
    """

    image: Image
    number: int
    captured_at: float
    name: str


@dataclass(frozen=True)
class Transform:
    """What is done to every image, in this order: rotate, flip, crop.

    rotate: degrees clockwise: 0, 90, 180 or 270.
    flip: "h" swaps left and right, "v" top and bottom.
    crop: (x, y, width, height) as fractions of the rotated image, 0 to 1, so that it means the same at every size.
        A model file that was trained on a part of the picture needs none: its `Classifier` takes that part of the
        image it is given.

    Raises UsageError for anything else.
    """

    rotate: int = 0
    flip: str | None = None
    crop: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.rotate not in (0, *_ROTATIONS):
            raise UsageError(f"rotate is {self.rotate}: it must be 0, 90, 180 or 270 (degrees clockwise)")
        if self.flip is not None and self.flip not in _FLIPS:
            raise UsageError(f"flip is {self.flip}: it must be h (swap left and right) or v (swap top and bottom)")
        if self.crop is not None:
            try:
                make_crop(self.crop)
            except UsageError as error:
                raise UsageError(f"crop is {error}") from None

    def __call__(self, image: Image) -> Image:
        """The transformed image (uint8, shape (height, width, 3)); a crop shares the memory of its input."""
        if self.rotate:
            image = np.asarray(cv2.rotate(image, _ROTATIONS[self.rotate]), np.uint8)
        if self.flip is not None:
            image = np.asarray(cv2.flip(image, _FLIPS[self.flip]), np.uint8)
        return cut(image, self.crop)


UNCHANGED = Transform()
