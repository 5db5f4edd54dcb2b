"""The part of a picture that is classified, in fractions, so that it means the same at every size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UsageError

if TYPE_CHECKING:
    from .preprocessing import Image

# Rounding of what was typed may take a sum a little beyond 1.
_TOLERANCE = 1e-6


class Crop(NamedTuple):
    """Left edge, upper edge, width and height, each a fraction of the upright picture's, 0 to 1."""

    x: float
    y: float
    width: float
    height: float

    def __str__(self) -> str:
        """As `--crop` takes it."""
        return ",".join(f"{value:.10g}" for value in self)


WHOLE = Crop(0, 0, 1, 1)


def make_crop(values: Sequence[float]) -> Crop:
    """From x, y, width and height. Raises UsageError if they are no fractions, or reach out of the picture."""
    crop = Crop(*values)
    sides = ((crop.x, crop.width), (crop.y, crop.height))
    if not all(start >= 0 and side > 0 and start + side <= 1 + _TOLERANCE for start, side in sides):
        raise UsageError(
            f"{crop}: x, y, width and height must be fractions of the image, from 0 to 1, that stay inside it "
            "(its middle: 0.25,0.25,0.5,0.5)"
        )
    return crop


def cut(image: Image, crop: Sequence[float] | None) -> Image:
    """This part of an image (shape (height, width, ...)), at least one pixel; it shares the image's memory.

    crop: x, y, width and height, as `make_crop` takes them; None: all of it.
    """
    if crop is None:
        return image
    x, y, w, h = crop
    height, width = image.shape[:2]
    left, top = min(round(x * width), width - 1), min(round(y * height), height - 1)
    right, bottom = round((x + w) * width), round((y + h) * height)
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]
