"""The self-test in a model file: a drawn card that must be prepared and classified as recorded."""

from __future__ import annotations

import numpy as np

from .preprocess import Image, preprocess

WIDTH, HEIGHT = 640, 480


def draw_card(variant: int) -> Image:
    """The test card, uint8 BGR of shape (480, 640, 3), drawn with integers only: equal on every machine.

    Strong colours and shapes that differ left from right and top from bottom show swapped colours,
    flips and crops; fine stripes show another way to resize. `variant` moves and recolours the shapes.
    """
    rng = np.random.Generator(np.random.PCG64(variant))
    x, y = np.arange(WIDTH, dtype=np.int32), np.arange(HEIGHT, dtype=np.int32)[:, None]
    card = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    card[..., 0] = x * 255 // WIDTH
    card[..., 1] = y * 255 // HEIGHT
    card[..., 2] = 255 - (x + y) * 255 // (WIDTH + HEIGHT)
    for _ in range(6):
        left, top = (int(v) for v in rng.integers(0, (WIDTH - 160, HEIGHT - 120)))
        wide, high = (int(v) for v in rng.integers(60, (280, 220)))
        patch = card[top : top + high, left : left + wide]
        color = rng.integers(0, 256, 3, dtype=np.int32)
        kind = int(rng.integers(3))
        if kind == 0:
            patch[:] = color
        else:
            u, v = np.arange(patch.shape[1], dtype=np.int32), np.arange(patch.shape[0], dtype=np.int32)[:, None]
            if kind == 1:
                inside = (2 * u - wide) ** 2 * high**2 + (2 * v - high) ** 2 * wide**2 < wide**2 * high**2
            else:
                inside = (u + v) // int(rng.integers(3, 12)) % 2 == 0
            patch[inside] = color
    card[:90, :120] = (0, 0, 255)
    card[:90, 520:] = (0, 255, 255)
    card[390:, :120] = (255, 0, 0)
    card[390:, 520:][(x[:120] + y[:90]) % 6 < 3] = 255
    return card


def prepare_card(variant: int, height: int, width: int) -> Image:
    """The card as a model of that input size sees it: uint8 RGB, shape (height, width, 3)."""
    return preprocess(draw_card(variant), np.empty((height, width, 3), np.uint8))


def pixel_difference(prepared: Image, recorded: Image) -> float:
    """Mean absolute difference of two prepared tensors, in grey levels of 0 to 255."""
    return float(np.abs(prepared.astype(np.int16) - recorded).mean())
