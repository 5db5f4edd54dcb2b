"""Preprocessing an image: the one function that training, calibration, evaluation and the device share."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

Image = np.ndarray[Any, np.dtype[np.uint8]]

# What `preprocess` does, as a model file's `edge.json` records it.
PREPARATION = {"color_order": "RGB", "resize": "squash", "interpolation": "linear", "input_range": [0, 255]}


def preprocess(image: Image, out: Image) -> Image:
    """Resize `image` straight to the size of `out` and write it there as RGB.

    image: uint8 BGR, shape (height, width, 3), as OpenCV reads it.
    out: uint8, shape (R, R, 3), C-contiguous; it is overwritten and returned.

    The whole image is squashed to the square; nothing is cut off. Raises ValueError for any other kind of image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        # OpenCV would leave the frame before in `out`.
        raise ValueError(f"expected a uint8 BGR image of shape (height, width, 3), found {image.dtype} {image.shape}")
    rows, rest = divmod(image.shape[0], out.shape[0])
    if rest == 0 and rows % 2:
        # Every output row lies exactly on an input row (640×480 to 96 or 160, for example): resizing these alone
        # gives the same pixels in two thirds of the time.
        image = image[rows // 2 :: rows]
    cv2.resize(image, (out.shape[1], out.shape[0]), out, 0, 0, cv2.INTER_LINEAR)
    cv2.cvtColor(out, cv2.COLOR_BGR2RGB, out)
    return out
