"""The self-test in a model file: a drawn card that must be preprocessed and classified as recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
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

    # One channel after the other, which is several times faster than pixel by pixel.
    channels = np.empty((3, HEIGHT, WIDTH), np.uint8)
    channels[0] = np.arange(WIDTH, dtype=np.int32) * 255 // WIDTH
    channels[1] = np.arange(HEIGHT, dtype=np.int32)[:, None] * 255 // HEIGHT
    ramp = 255 - np.arange(WIDTH + HEIGHT - 1, dtype=np.int32) * 255 // (WIDTH + HEIGHT)
    channels[2] = _along_diagonals(ramp.astype(np.uint8), WIDTH)
    for _ in range(6):
        left, top = below(WIDTH - 160), below(HEIGHT - 120)
        w, h = 60 + below(220), 60 + below(160)
        patch = channels[:, top : top + h, left : left + w]
        color = (below(256), below(256), below(256))
        kind = below(3)
        rows, columns = patch.shape[1:]
        inside: bool | np.ndarray = True
        if kind == 1:
            u, v = np.arange(columns, dtype=np.int64), np.arange(rows, dtype=np.int64)[:, None]
            inside = (2 * u - w) ** 2 * h**2 + (2 * v - h) ** 2 * w**2 < w**2 * h**2
        elif kind == 2:
            inside = _along_diagonals(np.arange(rows + columns - 1) // (3 + below(9)) % 2 == 0, columns)
        for channel, level in zip(patch, color, strict=True):
            np.copyto(channel, np.uint8(level), where=inside)
    card = np.asarray(cv2.merge(list(channels)), np.uint8)
    card[:90, :120] = (0, 0, 255)
    card[:90, 520:] = (0, 255, 255)
    card[390:, :120] = (255, 0, 0)
    card[390:, 520:][_along_diagonals(np.arange(120 + 90 - 1) % 6 < 3, 120)] = 255
    return card


def _along_diagonals(values: np.ndarray, columns: int) -> np.ndarray:
    """values[x + y] at (y, x): each row is the row above, one pixel further on."""
    return np.lib.stride_tricks.sliding_window_view(values, columns)


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
