"""Views of a photo: the photo as it is, and as the camera might have seen it from nearer, mirrored, in other light."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

from edge_classify.images.preprocessing import Image, preprocess

# The smallest share of the picture that a view shows, and the most that its sides are stretched against each other.
_SMALLEST_CROP = 0.5
_STRETCH = 1.25
# The most that contrast, each colour's contrast against the others', and brightness change, as shares.
_CONTRAST, _TINT, _BRIGHTNESS = 0.2, 0.1, 0.1


@dataclass(frozen=True)
class Augmentation:
    """Which changes views may show; `views` of them are kept for each photo, beside the photo as it is."""

    views: int = 3
    flip: bool = True
    crop: bool = True
    color: bool = True

    def keys(self) -> list[str]:
        """Names of the views: the photo as it is first. Equal names show equal pictures, in any run."""
        letters = "".join(
            letter for letter, chosen in (("f", self.flip), ("c", self.crop), ("l", self.color)) if chosen
        )
        return ["", *(f"{letters}{number}" for number in range(self.views if letters else 0))]


def show_view(image: Image, key: str, sha256: str, resolution: int) -> Image:
    """A prepared view, uint8 RGB (resolution, resolution, 3).

    image: uint8 BGR, any size. key: one of `Augmentation.keys`. sha256: the photo's; with the key it is the seed.
    """
    out = np.empty((resolution, resolution, 3), np.uint8)
    if not key:
        return preprocess(image, out)
    seed = int.from_bytes(hashlib.sha256(f"{key} {sha256}".encode()).digest()[:8])
    letters = key.rstrip("0123456789")
    return vary(image, out, np.random.default_rng(seed), "f" in letters, "c" in letters, "l" in letters)


def vary(image: Image, out: Image, rng: np.random.Generator, flip: bool, crop: bool, color: bool) -> Image:
    """One random view of `image` into `out`, which is returned: cropped before it is prepared as the device does."""
    if crop:
        height, width = image.shape[:2]
        size = np.sqrt(rng.uniform(_SMALLEST_CROP, 1))
        stretch = np.sqrt(_STRETCH ** rng.uniform(-1, 1))
        rows, columns = min(height, round(height * size / stretch)), min(width, round(width * size * stretch))
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        image = image[top : top + max(rows, 1), left : left + max(columns, 1)]
    preprocess(image, out)
    if flip and rng.random() < 0.5:
        out[:] = out[:, ::-1].copy()
    if color:
        contrast = 1 + rng.uniform(-_CONTRAST, _CONTRAST) + rng.uniform(-_TINT, _TINT, 3)
        brightness = rng.uniform(-_BRIGHTNESS, _BRIGHTNESS) * 255
        table = (np.arange(256)[:, None] - 127.5) * contrast + 127.5 + brightness
        cv2.LUT(out, np.clip(table, 0, 255).astype(np.uint8)[None], out)
    return out
