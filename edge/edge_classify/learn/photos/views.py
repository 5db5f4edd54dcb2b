"""Views of a photo: the photo as it is, and as the camera might have seen it: from nearer, mirrored, in other light."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

from ...images.preprocessing import Image, preprocess
from .made_negatives import PHOTO_KINDS, make_senseless

# The smallest share of the photo's area that a view shows.
_MIN_CROP_AREA = 0.5
# The most by which a view's sides are stretched against each other.
_MAX_STRETCH = 1.25
# The most by which contrast changes, as a share.
_MAX_CONTRAST_CHANGE = 0.2
# The most by which a colour's contrast changes against the others', as a share.
_MAX_TINT_CHANGE = 0.1
# The most by which brightness changes, as a share of the range from black to white.
_MAX_BRIGHTNESS_CHANGE = 0.1


@dataclass(frozen=True)
class Augmentation:
    """Which changes views may show."""

    # Views kept of each photo, beside the photo as it is.
    views: int = 3
    # Fit a cell without them if its cross-validation says that they do harm: crops cut small things out.
    auto: bool = True
    # Mirror half of them.
    flip: bool = True
    # Show a part of the photo only, as from nearer.
    crop: bool = True
    # Change brightness, contrast and tint, as other light would.
    color: bool = True

    def keys(self) -> list[str]:
        """Names of the views, "" first for the photo as it is. Equal names show equal pictures, in any run."""
        letters = "".join(
            letter for letter, chosen in (("f", self.flip), ("c", self.crop), ("l", self.color)) if chosen
        )
        return ["", *(f"{letters}{number}" for number in range(self.views if letters else 0))]


def show_view(image: Image, key: str, sha256: str, resolution: int) -> Image:
    """A preprocessed view, uint8 RGB (resolution, resolution, 3).

    image: uint8 BGR, any size. key: one of `Augmentation.keys`, or of PHOTO_KINDS for a negative made of the photo.
    sha256: the photo's; with the key it is the seed.
    """
    out = np.empty((resolution, resolution, 3), np.uint8)
    if key in PHOTO_KINDS:
        return preprocess(make_senseless(image, key, sha256), out)
    if not key:
        return preprocess(image, out)
    seed = int.from_bytes(hashlib.sha256(f"{key} {sha256}".encode()).digest()[:8])
    letters = key.rstrip("0123456789")
    return vary(image, out, np.random.default_rng(seed), "f" in letters, "c" in letters, "l" in letters)


def vary(image: Image, out: Image, rng: np.random.Generator, flip: bool, crop: bool, color: bool) -> Image:
    """Write one random view of `image`, uint8 BGR, to `out`, uint8 RGB (R, R, 3), which is returned.

    It is cropped first and then preprocessed as on the device.
    """
    if crop:
        image = _crop(image, rng)
    preprocess(image, out)
    if flip and rng.random() < 0.5:
        out[:] = out[:, ::-1].copy()
    if color:
        out[:] = in_other_light(out, rng)
    return out


def in_other_light(image: Image, rng: np.random.Generator) -> Image:
    """The image, uint8 (R, R, 3), with another brightness, contrast and tint."""
    all_colors = 1 + rng.uniform(-_MAX_CONTRAST_CHANGE, _MAX_CONTRAST_CHANGE)
    contrast = all_colors + rng.uniform(-_MAX_TINT_CHANGE, _MAX_TINT_CHANGE, 3)
    brightness = rng.uniform(-_MAX_BRIGHTNESS_CHANGE, _MAX_BRIGHTNESS_CHANGE) * 255
    table = (np.arange(256)[:, None] - 127.5) * contrast + 127.5 + brightness
    return np.asarray(cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[None]), np.uint8)


def _crop(image: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    scale = np.sqrt(rng.uniform(_MIN_CROP_AREA, 1))
    stretch = np.sqrt(_MAX_STRETCH ** rng.uniform(-1, 1))
    rows, columns = min(height, round(height * scale / stretch)), min(width, round(width * scale * stretch))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    return image[top : top + max(rows, 1), left : left + max(columns, 1)]
