"""The demo, a simulated camera that films handwritten digits and knows what they are: `--camera demo`.

Sheets of paper with one digit each slide into a 640×480 image, move, and leave; some carry a drawing that is not a
digit. Frame n depends on n alone, so any frame can be drawn again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ..images.preprocessing import Image
from ..model.labels import UNKNOWN
from .device import patience_for

WIDTH = 640
HEIGHT = 480
FRAMES_PER_SECOND = 30

_DIGITS = Path(__file__).with_name("demo_digits.png")
_SAMPLES_PER_DIGIT = 20

# One visit of a sheet, in frames: it slides in, stays and moves a little, slides out, and leaves the desk empty.
_ENTER = 15
_STAY = 60
_LEAVE = 15
_EMPTY = 15
_VISIT = _ENTER + _STAY + _LEAVE + _EMPTY

# After so many visits the scene repeats.
_VISITS = 600

_WEIGHTS = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)


@dataclass(frozen=True)
class DemoFrame:
    """One drawn frame and what it shows.

    image: uint8 BGR, shape (480, 640, 3).
    truth: "0" to "9", "unknown", or None while a sheet is only partly in the image.
    """

    image: Image
    truth: str | None


class DemoCamera:
    """Draws the demo's frames at the times at which a camera would deliver them."""

    description = f"simulated: {WIDTH}x{HEIGHT}, {FRAMES_PER_SECOND} frames per second"
    patience = patience_for(FRAMES_PER_SECOND)

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._number = -1

    def read(self) -> tuple[Image, float]:
        elapsed = (time.perf_counter() - self._began) * FRAMES_PER_SECOND
        # If drawing fell behind, go on with the frame that is due now.
        self._number = max(self._number + 1, int(elapsed))
        image = draw(self._number).image
        time.sleep(max(0.0, self._began + self._number / FRAMES_PER_SECOND - time.perf_counter()))
        return image, time.perf_counter()

    def close(self) -> None:
        pass


@cache
def load_digits() -> tuple[Image, Image]:
    """The demo's handwriting: 20 samples of each digit from MNIST's training set, which the built-in model was not
    trained on.

    Returns (digits, labels): uint8 of shape (200, 28, 28), 255 is ink; uint8 of shape (200,).
    """
    atlas = cv2.imread(str(_DIGITS), cv2.IMREAD_GRAYSCALE)
    if atlas is None:
        raise FileNotFoundError(f"{_DIGITS} is missing from this installation: reinstall edge-classify")
    rows = np.asarray(atlas, np.uint8).reshape(10, 28, _SAMPLES_PER_DIGIT, 28).swapaxes(1, 2)
    return rows.reshape(-1, 28, 28), np.repeat(np.arange(10, dtype=np.uint8), _SAMPLES_PER_DIGIT)


def blend(image: Image, mask: Image, matrix: np.ndarray, color: tuple[float, float, float]) -> None:
    """Paint `color` (BGR) onto `image` in place where `mask`, warped by `matrix`, is opaque.

    mask: uint8 (h, w), 255 opaque. matrix: 3×3 perspective from mask to image coordinates.
    """
    height, width = image.shape[:2]
    corners = np.array(
        [[[0, 0]], [[mask.shape[1], 0]], [[mask.shape[1], mask.shape[0]]], [[0, mask.shape[0]]]], np.float64
    )
    box = cv2.perspectiveTransform(corners, matrix).reshape(4, 2)
    left, top = np.clip(np.floor(box.min(0)).astype(int) - 1, 0, (width, height))
    right, bottom = np.clip(np.ceil(box.max(0)).astype(int) + 1, 0, (width, height))
    if left >= right or top >= bottom:
        return
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    size = (int(right - left), int(bottom - top))
    alpha = cv2.warpPerspective(mask, shift @ matrix, size, flags=cv2.INTER_LINEAR)
    region = image[top:bottom, left:right]
    weight = cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR)
    # What the colour becomes by each weight is looked up: a picture full of it would take longer to make.
    shades = cv2.multiply(np.full((1, 256, 3), color, np.uint8), _WEIGHTS, scale=1 / 255)
    paint = cv2.LUT(weight, shades)
    cv2.add(cv2.multiply(region, cv2.bitwise_not(weight), scale=1 / 255), paint, dst=region)


def ink(digit: Image, side: int = 112) -> Image:
    """A 28×28 MNIST digit as a smooth stroke mask of `side`×`side` pixels, uint8."""
    large = cv2.resize(digit, (side, side), interpolation=cv2.INTER_CUBIC)
    large = cv2.GaussianBlur(large, (0, 0), side / 60)
    # Enlarging blurs the edges; steeper ones look like a pen's line, not like a cloud.
    return np.clip((large.astype(np.float32) - 110) * 3 + 128, 0, 255).astype(np.uint8)


def placement(center: tuple[float, float], size: float, degrees: float, mask_side: int) -> np.ndarray:
    """The 3×3 matrix that puts a square mask of `mask_side` pixels at `center`, `size` pixels wide."""
    scale = size / mask_side
    rotation = cv2.getRotationMatrix2D((mask_side / 2, mask_side / 2), degrees, scale)
    matrix = np.vstack([rotation, [0, 0, 1]])
    matrix[:2, 2] += np.array(center) - mask_side / 2
    return matrix


@cache
def _desk() -> Image:
    """A plain desk under uneven light, with some grain."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    light = 1.05 - 0.35 * np.hypot((x - 220) / WIDTH, (y - 150) / HEIGHT)
    grain = cv2.resize(rng.normal(0, 6, (HEIGHT // 4, 4)).astype(np.float32), (WIDTH, HEIGHT))
    wood = np.array([84, 118, 150], np.float32) + grain[..., None]
    return np.clip(wood * light[..., None], 0, 255).astype(np.uint8)


def _drawing(rng: np.random.Generator) -> Image:
    """A drawing that is not a digit (a house, a star, a smile or waves), as a stroke mask, uint8 (112, 112)."""
    mask = np.zeros((112, 112), np.uint8)
    kind = int(rng.integers(4))
    if kind == 0:
        house = np.array([[26, 92], [26, 52], [56, 24], [86, 52], [86, 92], [26, 92], [86, 52], [26, 52], [86, 92]])
        cv2.polylines(mask, [house], False, 255, 6, cv2.LINE_AA)
    elif kind == 1:
        angles = np.pi * (0.8 * np.arange(6) - 0.5)
        star = np.stack([56 + 40 * np.cos(angles), 58 + 40 * np.sin(angles)], 1).astype(np.int32)
        cv2.polylines(mask, [star], False, 255, 6, cv2.LINE_AA)
    elif kind == 2:
        cv2.circle(mask, (56, 56), 40, 255, 6, cv2.LINE_AA)
        cv2.circle(mask, (42, 46), 5, 255, -1, cv2.LINE_AA)
        cv2.circle(mask, (70, 46), 5, 255, -1, cv2.LINE_AA)
        cv2.ellipse(mask, (56, 60), (22, 18), 0, 20, 160, 255, 6, cv2.LINE_AA)
    else:
        x = np.arange(12, 101)
        for y in (36, 56, 76):
            wave = np.stack([x, y + 8 * np.sin(x / 7)], 1).astype(np.int32)
            cv2.polylines(mask, [wave], False, 255, 6, cv2.LINE_AA)
    return mask


@cache
def _visit(number: int) -> tuple[str, Image, np.ndarray]:
    """The sheet of visit `number`: (truth, stroke mask, its eight random numbers in [0, 1))."""
    rng = np.random.default_rng([2026, number])
    chances = rng.random(8)
    if number % 6 == 5:
        return UNKNOWN, _drawing(rng), chances
    digits, labels = load_digits()
    chosen = int(rng.integers(len(digits)))
    return str(labels[chosen]), ink(digits[chosen]), chances


def draw(number: int) -> DemoFrame:
    """Draw frame `number` (0, 1, 2, …) of the scene."""
    visit, step = divmod(number, _VISIT)
    truth, strokes, chances = _visit(visit % _VISITS)
    image = _desk().copy()
    if step >= _ENTER + _STAY + _LEAVE:
        return DemoFrame(_with_noise(image, number), UNKNOWN)
    away = 1 - step / _ENTER if step < _ENTER else max(0.0, (step - _ENTER - _STAY) / _LEAVE)
    side = -1 if chances[0] < 0.5 else 1
    swing = np.sin(2 * np.pi * (step / _VISIT + chances[1]))
    center = (
        320 + 60 * (chances[2] - 0.5) + 25 * swing + side * 640 * away**2,
        240 + 30 * (chances[3] - 0.5) + 12 * swing,
    )
    degrees = 16 * (chances[4] - 0.5) + 5 * swing
    size = 330 + 60 * chances[5]
    paper = np.full((64, 64), 255, np.uint8)
    shade = 215 + 25 * chances[6]
    blend(image, paper, placement((center[0] + 6, center[1] + 8), size, degrees, 64), (40, 50, 60))
    blend(image, paper, placement(center, size, degrees, 64), (shade * 0.94, shade * 0.98, shade))
    pen = (120.0, 40.0, 25.0) if chances[7] < 0.4 else (38.0, 34.0, 34.0)
    blend(image, strokes, placement(center, size * 0.9, degrees, strokes.shape[0]), pen)
    return DemoFrame(_with_noise(image, number), truth if away == 0 else None)


@cache
def _noise() -> Image:
    return np.random.default_rng(11).integers(0, 10, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def _with_noise(image: Image, number: int) -> Image:
    # One field of noise, shifted from frame to frame: new random numbers would cost more than the scene.
    shift = (number * 7919) % HEIGHT
    noise = _noise()
    cv2.add(image[shift:], noise[: HEIGHT - shift], dst=image[shift:])
    if shift:
        cv2.add(image[:shift], noise[HEIGHT - shift :], dst=image[:shift])
    return image
