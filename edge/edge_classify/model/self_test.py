"""The self-test in a model file: a drawn card that must be preprocessed and classified as recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..images.crop import cut
from ..images.preprocessing import Image, preprocess

# Pixels of the drawn card.
WIDTH = 640
HEIGHT = 480


def draw_card(variant: int) -> Image:
    """The test card, uint8 BGR of shape (480, 640, 3), drawn with integers only: the same on every machine.

    Strong colours, and shapes that differ left from right and top from bottom, reveal swapped colours, flips
    and crops; fine stripes reveal another kind of resize. `variant` moves and recolours the shapes.
    """
    numbers = _numbers(variant)

    def below(limit: int) -> int:
        return next(numbers) % limit

    x, y = np.arange(WIDTH, dtype=np.int32), np.arange(HEIGHT, dtype=np.int32)[:, None]
    card = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    card[..., 0] = x * 255 // WIDTH
    card[..., 1] = y * 255 // HEIGHT
    # Equal along x + y: each row is the row above, one pixel further on.
    ramp = (255 - np.arange(WIDTH + HEIGHT - 1, dtype=np.int32) * 255 // (WIDTH + HEIGHT)).astype(np.uint8)
    card[..., 2] = np.lib.stride_tricks.sliding_window_view(ramp, WIDTH)
    for _ in range(6):
        left, top = below(WIDTH - 160), below(HEIGHT - 120)
        w, h = 60 + below(220), 60 + below(160)
        patch = card[top : top + h, left : left + w]
        color = (below(256), below(256), below(256))
        kind = below(3)
        if kind == 0:
            patch[:] = color
        else:
            u, v = np.arange(patch.shape[1], dtype=np.int64), np.arange(patch.shape[0], dtype=np.int64)[:, None]
            if kind == 1:
                inside = (2 * u - w) ** 2 * h**2 + (2 * v - h) ** 2 * w**2 < w**2 * h**2
            else:
                inside = (u + v) // (3 + below(9)) % 2 == 0
            patch[inside] = color
    card[:90, :120] = (0, 0, 255)
    card[:90, 520:] = (0, 255, 255)
    card[390:, :120] = (255, 0, 0)
    card[390:, 520:][(x[:120] + y[:90]) % 6 < 3] = 255
    return card


def _numbers(seed: int) -> Iterator[int]:
    """Pseudo-random numbers: a linear congruential generator (Numerical Recipes), its lowest bits dropped.

    numpy's generators may change from release to release, and cost 15 ms to import.
    """
    while True:
        seed = (seed * 1664525 + 1013904223) % 2**32
        yield seed >> 8


def prepare_card(variant: int, height: int, width: int, crop: Sequence[float] | None = None) -> Image:
    """The card as a model with this input size and part of the picture sees it: uint8 RGB, shape (height, width, 3)."""
    return preprocess(cut(draw_card(variant), crop), np.empty((height, width, 3), np.uint8))


def pixel_difference(image: Image, recorded: Image) -> float:
    """Mean absolute difference of two uint8 images of one shape, in grey levels of 0 to 255."""
    return float(np.abs(image.astype(np.int16) - recorded).mean())
