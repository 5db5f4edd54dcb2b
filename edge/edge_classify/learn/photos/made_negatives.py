"""Negatives that the program makes itself, to try every cell's `unknown` on: drawn ones, and own photos made senseless.

Senseless photos depend on the photos: a patchwork, or the spectrum of a photo without its phases, keeps its colours and
textures, which no drawing has. What is tried is never fitted on: `BLANKS`, which show a backbone's answer to nothing,
are other pictures. Equal names give equal pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...images.preprocessing import Image
from ..metrics import measure_negatives, share_accepted
from .photo_set import HELD_OUT, NEGATIVE, TRAINING, Photo

# The share of the drawn negatives that `unknown` may accept; above it, it is not to be trusted.
MAX_MADE_ACCEPTED = 0.3
# Sides of drawn pictures, in pixels.
_SIDE = 240
# Of each drawn kind, and of photos made senseless in each way.
_TRIED_EACH = 25
_TRIED_PHOTOS = 50
# Of each kind that shows nothing.
_BLANK_EACH = 20
# Patches per side of a shuffled photo.
_PATCHES = 8
# Exponents of the spectra of drawn textures: 0 is white noise, 2 is like clouds.
_SPECTRA = (0.5, 2.2)
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789      .,:-"))


def draw(name: str) -> Image:
    """The drawn picture of this name, as `BLANKS` and `TRIAL` have it for a sha256: uint8 BGR (240, 240, 3)."""
    return _DRAWINGS[name.split()[1]](_rng(name))


def is_drawn(sha256: str) -> bool:
    """Whether a photo's sha256 is the name of a drawing."""
    return sha256.startswith("drawn ")


def kind_of(picture: Photo) -> str:
    """The kind of a drawing of `TRIAL`, of DRAWN_KINDS."""
    return picture.sha256.split()[1]


def choose_tried(photos: int) -> list[int]:
    """Which of so many photos are made senseless: at most 50 indices, spread over them."""
    return [int(index) for index in np.linspace(0, photos - 1, min(photos, _TRIED_PHOTOS))]


def make_senseless(photo: Image, kind: str, sha256: str) -> Image:
    """A picture of the photo's colours that shows nothing, uint8 BGR of at least 240 pixels a side.

    photo: uint8 BGR, any size. kind: of `PHOTO_KINDS`. sha256: the photo's; with the kind it is the seed.
    """
    square = np.asarray(cv2.resize(photo, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    return _SENSELESS[kind](square, _rng(f"{kind} {sha256}"))


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))


def _scramble(photo: Image, rng: np.random.Generator) -> Image:
    """The photo's spectrum with the phases of noise, the same ones added in all colours: no edge or shape is left."""
    phases = np.angle(np.fft.fft2(rng.standard_normal(photo.shape[:2])))
    phases[0, 0] = 0  # the mean colour stays
    spectrum = np.fft.fft2(photo.astype(np.float64), axes=(0, 1)) * np.exp(1j * phases)[..., None]
    return _to_image(np.fft.ifft2(spectrum, axes=(0, 1)).real)


def _shuffle(photo: Image, rng: np.random.Generator) -> Image:
    """The photo's square patches in random order."""
    side = len(photo) // _PATCHES
    patches = photo.reshape(_PATCHES, side, _PATCHES, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    patches = rng.permutation(patches)
    return np.ascontiguousarray(patches.reshape(_PATCHES, _PATCHES, side, side, 3).swapaxes(1, 2).reshape(photo.shape))


def _draw_texture(rng: np.random.Generator) -> Image:
    """Noise of some spectrum and direction in two to three colours, in every second picture with sharp borders."""
    frequencies = np.fft.fftfreq(_SIDE)
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1, 6)
    along = np.cos(angle) * frequencies[:, None] + np.sin(angle) * frequencies
    across = np.cos(angle) * frequencies - np.sin(angle) * frequencies[:, None]
    radius = np.hypot(along, across * stretch)
    radius[0, 0] = np.inf
    noise = rng.standard_normal((_SIDE, _SIDE))
    gains = radius ** -rng.uniform(*_SPECTRA)
    if rng.random() < 0.5:  # a repeating pattern: only frequencies near one
        gains *= np.exp(-(((radius - rng.uniform(0.02, 0.2)) / 0.01) ** 2)) + 1e-9
    # At the highest frequency, which stands for both its signs, it has two gains.
    gains = (gains + np.roll(gains[::-1, ::-1], 1, axis=(0, 1))) / 2
    order = np.fft.irfft2(np.fft.rfft2(noise) * gains[:, : _SIDE // 2 + 1]).argsort(axis=None)
    heights = np.arange(order.size) / order.size
    if rng.random() < 0.5:
        heights = np.round(heights * rng.integers(1, 5)) / 4
    colors = np.stack([_draw_color(rng) for _ in range(3)])
    image = np.empty((order.size, 3), np.uint8)
    image[order] = _to_image(np.stack([np.interp(heights, (0, 0.5, 1), channel) for channel in colors.T], axis=-1))
    return image.reshape(_SIDE, _SIDE, 3)


def _draw_plain(rng: np.random.Generator) -> Image:
    """One colour, or one passing into another, with more or less noise, coarse or fine; some pictures are all noise."""
    ramp = np.linspace(0, 1, _SIDE)
    heights = ramp[None, :, None] if rng.random() < 0.5 else ramp[:, None, None]
    first, second = _draw_color(rng), _draw_color(rng)
    plain = first + (second - first) * (heights * (rng.random() < 0.6))
    side = int(rng.choice([_SIDE, _SIDE // 2, _SIDE // 6]))
    noise = rng.standard_normal((side, side, 3))
    strength = rng.choice([0, 2, 8, 25, 80])
    if not strength:
        return np.array(np.broadcast_to(_to_image(plain), (_SIDE, _SIDE, 3)))
    full = cv2.resize(noise, (_SIDE, _SIDE)) if side < _SIDE else noise
    return _to_image(plain + full * strength)


def _draw_text(rng: np.random.Generator) -> Image:
    """Lines of letters in one size and colour, or one large letter, on paper of another."""
    paper, ink = _draw_color(rng, 160, 250), _draw_color(rng, 0, 100)
    if rng.random() < 0.3:
        paper, ink = ink, paper
    image = _to_image(np.broadcast_to(paper, (_SIDE, _SIDE, 3)))
    font = int(rng.choice(_FONTS))
    if rng.random() < 0.4:
        letter, place = str(rng.choice(_LETTERS[:52])), (int(rng.integers(10, 130)), int(rng.integers(140, 230)))
        thickness = int(rng.integers(1, 16))
        cv2.putText(image, letter, place, font, rng.uniform(3, 6), _color(ink), thickness, cv2.LINE_AA)
        return image
    size = rng.uniform(0.4, 2.0)
    for bottom in np.arange(rng.uniform(10, 30 * size), _SIDE + 20, rng.uniform(24, 40) * size):
        line = "".join(rng.choice(_LETTERS, 40))
        cv2.putText(image, line, (int(rng.integers(-30, 30)), int(bottom)), font, size, _color(ink), 1, cv2.LINE_AA)
    return image


def _draw_scene(rng: np.random.Generator) -> Image:
    """A ground, a sky, and a few shaded things of simple shapes before it."""
    image = _draw_plain(rng)
    horizon = int(rng.uniform(0.3, 0.8) * _SIDE)
    image[horizon:] = _draw_plain(rng)[horizon:]
    for _ in range(rng.integers(2, 9)):
        center = rng.uniform(0.1, 0.9, 2) * _SIDE
        radii = rng.uniform(8, 80, 2)
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        if rng.random() < 0.5:
            angles = np.linspace(0, 2 * np.pi, 48)
        points = center + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        mask = np.zeros((_SIDE, _SIDE), np.uint8)
        cv2.fillPoly(mask, [points.astype(np.int32)], 255, cv2.LINE_AA)
        shading = np.linspace(1.2, rng.uniform(0.3, 1), _SIDE)[:, None, None]
        left, top, width, height = cv2.boundingRect(mask)
        rows, columns = slice(top, top + height), slice(left, left + width)
        share = mask[rows, columns, None] / 255
        color = _draw_color(rng)
        image[rows, columns] = _to_image(image[rows, columns] * (1 - share) + share * shading[rows] * color)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.5)), np.uint8)


def _draw_color(rng: np.random.Generator, darkest: float = 0, brightest: float = 255) -> np.ndarray:
    """Blue, green and red, (3,), of a random grey and more or less tinted."""
    return np.clip(rng.uniform(darkest, brightest) + rng.normal(0, rng.uniform(5, 60), 3), 0, 255)


def _color(values: np.ndarray) -> tuple[float, float, float]:
    blue, green, red = values.tolist()
    return blue, green, red


def _to_image(values: np.ndarray) -> Image:
    rounded = np.round(values)
    return np.clip(rounded, 0, 255, out=rounded).astype(np.uint8)


_Drawing = Callable[[np.random.Generator], Image]
_DRAWINGS: dict[str, _Drawing] = {
    "texture": _draw_texture,
    "plain": _draw_plain,
    "text": _draw_text,
    "scene": _draw_scene,
}
_SENSELESS: dict[str, Callable[[Image, np.random.Generator], Image]] = {"scrambled": _scramble, "shuffled": _shuffle}
DRAWN_KINDS = tuple(_DRAWINGS)
PHOTO_KINDS = tuple(_SENSELESS)


def _list_drawings(part: str, kinds: Sequence[str], each: int) -> tuple[Photo, ...]:
    names = [f"drawn {kind} {part} {number}" for kind in kinds for number in range(each)]
    return tuple(Photo(Path(name), NEGATIVE, name, part) for name in names)


# Pictures that show nothing, to fit on.
BLANKS = _list_drawings(TRAINING, ("plain", "texture"), _BLANK_EACH)
# Drawings that `unknown` is tried on.
TRIAL = _list_drawings(HELD_OUT, DRAWN_KINDS, _TRIED_EACH)


def measure_made(
    own: np.ndarray, drawn: np.ndarray, senseless: Mapping[str, np.ndarray], pictures: Sequence[Photo] = TRIAL
) -> dict[str, Any]:
    """The figures of made negatives: of drawn ones the same as of other negatives, and the share accepted of each kind.

    own, drawn, senseless: probabilities (n, K + 1) of held-out photos, of `pictures`, and, by kind, of senseless
        photos. pictures: drawings.

    Senseless photos count by kind only. Where colours and textures are what tells the classes, as with flowers, sound
    cells accept half of them; where `unknown` collapses, drawn ones are accepted as well.
    """
    kinds = np.array([kind_of(picture) for picture in pictures])
    by_kind = {kind: drawn[kinds == kind] for kind in dict.fromkeys(kinds.tolist())} | dict(senseless)
    return {
        **measure_negatives(own, drawn),
        "kinds": {kind: share_accepted(outputs) for kind, outputs in by_kind.items()},
    }
