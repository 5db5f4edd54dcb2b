"""Photos as a camera that does not move takes them over a day, drawn by program: three scenes, and things in them.

Light, shadows and colour drift with the hour; each photo has noise, a camera that shook by a pixel, and JPEG.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

WIDTH, HEIGHT = 640, 480
# Patches of things are drawn on a square of this side, and scaled down.
_PATCH = 256
# A photo is taken every so many seconds, and the thing is changed for another after so many photos.
_SECONDS_PER_PHOTO = 30
_PHOTOS_PER_SESSION = 10
_DAY = datetime(2026, 3, 20)

Draw = Callable[[np.ndarray], None]


@dataclass(frozen=True)
class Scene:
    """A place, the things that are its classes, and where they may lie.

    draw: returns the empty scene of a seed, float32 BGR (HEIGHT, WIDTH, 3).
    things: by class; the class `empty` has none.
    area: x, y, width and height in pixels of where things stand (their middle).
    clock: where photos have their times: "exif", "file" or "name".
    """

    name: str
    draw: Callable[[int], np.ndarray]
    things: dict[str, Draw]
    area: tuple[int, int, int, int]
    clock: str

    @property
    def classes(self) -> tuple[str, ...]:
        return ("empty", *self.things)


# Scenes


def _draw_room(seed: int) -> np.ndarray:
    """A wall with a door, a picture and a shelf, and a floor of boards."""
    rng = np.random.default_rng([1, seed])
    image = np.full((HEIGHT, WIDTH, 3), (196, 208, 214), np.float32)
    image[:300] += cv2.resize(rng.normal(0, 4, (30, 64, 1)).astype(np.float32), (WIDTH, 300))[..., None]
    for row in range(6):
        top, bottom = 300 + 30 * row, 330 + 30 * row
        for column in range(-1, 6):
            left = 130 * column + 50 * (row % 3)
            shade = rng.normal(0, 8)
            cv2.rectangle(image, (left, top), (left + 129, bottom), (70 + shade, 108 + shade, 150 + shade), -1)
            cv2.rectangle(image, (left, top), (left + 129, bottom), (50, 82, 118), 1)
    cv2.rectangle(image, (0, 290), (WIDTH, 302), (225, 230, 232), -1)
    cv2.rectangle(image, (80, 60), (215, 302), (110, 140, 165), -1)
    cv2.rectangle(image, (80, 60), (215, 302), (80, 100, 125), 4)
    for top in (80, 190):
        cv2.rectangle(image, (100, top), (195, top + 90), (95, 122, 148), 3)
    cv2.circle(image, (203, 190), 6, (90, 190, 210), -1, cv2.LINE_AA)
    cv2.rectangle(image, (300, 70), (400, 140), (60, 50, 40), -1)
    cv2.rectangle(image, (308, 78), (392, 132), (170, 140, 90), -1)
    cv2.circle(image, (340, 110), 18, (90, 170, 120), -1, cv2.LINE_AA)
    cv2.rectangle(image, (460, 100), (610, 112), (70, 95, 120), -1)
    for left in range(470, 600, 16):
        color = [float(value) for value in rng.integers(40, 200, 3)]
        cv2.rectangle(image, (left, 100 - int(rng.integers(25, 45))), (left + 12, 99), color, -1)
    return image


def _draw_bench(seed: int) -> np.ndarray:
    """A workshop's wall with tools on hooks, and a bench seen from above its edge."""
    rng = np.random.default_rng([2, seed])
    image = np.full((HEIGHT, WIDTH, 3), (120, 135, 140), np.float32)
    image[np.ix_(range(8, 180, 14), range(8, WIDTH, 14))] = (60, 66, 70)
    for x, length in ((60, 90), (110, 60), (165, 110), (540, 80), (590, 110)):
        cv2.line(image, (x, 30), (x, 30 + length // 2), (40, 40, 160), 12, cv2.LINE_AA)
        cv2.line(image, (x, 30 + length // 2), (x, 30 + length), (170, 170, 175), 6, cv2.LINE_AA)
    cv2.rectangle(image, (260, 60), (460, 160), (90, 100, 60), -1)
    for left in range(265, 455, 48):
        cv2.rectangle(image, (left, 70), (left + 40, 105), (60, 70, 200), -1)
        cv2.rectangle(image, (left, 115), (left + 40, 150), (180, 150, 60), -1)
    grain = cv2.resize(rng.normal(0, 9, (300, 12, 1)).astype(np.float32), (WIDTH, 300))[..., None]
    image[180:] = np.array((110, 160, 190), np.float32) + grain
    cv2.rectangle(image, (0, 180), (WIDTH, 192), (70, 100, 125), -1)
    for _ in range(40):
        x, y = int(rng.integers(0, WIDTH)), int(rng.integers(200, HEIGHT))
        cv2.ellipse(
            image, (x, y), (int(rng.integers(2, 12)), 2), float(rng.uniform(0, 180)), 0, 360, (80, 115, 140), -1
        )
    cv2.rectangle(image, (20, 210), (90, 300), (60, 60, 62), -1)
    cv2.rectangle(image, (30, 220), (80, 290), (110, 110, 115), 3)
    return image


def _draw_yard(seed: int) -> np.ndarray:
    """A parking space before a fence and trees."""
    rng = np.random.default_rng([3, seed])
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    image[:150] = np.linspace((235, 215, 190), (240, 232, 222), 150)[:, None]
    for _ in range(260):
        x, y = int(rng.integers(0, WIDTH)), int(rng.normal(105, 22))
        shade = float(rng.uniform(0.6, 1.3))
        color = (45 * shade, 95 * shade, 70 * shade)
        cv2.circle(image, (x, y), int(rng.integers(6, 22)), color, -1, cv2.LINE_AA)
    for left in range(0, WIDTH, 22):
        shade = rng.normal(0, 7)
        cv2.rectangle(image, (left, 115), (left + 18, 205), (85 + shade, 112 + shade, 135 + shade), -1)
    cv2.rectangle(image, (0, 130), (WIDTH, 138), (70, 92, 112), -1)
    ground = rng.normal(0, 9, (275, WIDTH, 1)).astype(np.float32)
    image[205:] = 118 + cv2.GaussianBlur(ground, (3, 3), 0)[..., None]
    image[205:] += cv2.resize(rng.normal(0, 7, (10, 20)).astype(np.float32), (WIDTH, 275))[..., None]
    for top, bottom in ((120, 20), (300, 290), (480, 560)):
        corners = np.array([(top, 215), (top + 7, 215), (bottom + 14, HEIGHT), (bottom, HEIGHT)])
        cv2.fillPoly(image, [corners], (215, 218, 220), cv2.LINE_AA)
    cv2.circle(image, (430, 330), 26, (92, 92, 92), -1, cv2.LINE_AA)
    return image


# Things: drawn on a square of _PATCH pixels, BGR with opacity, as wide as the square


def _draw_parcel(patch: np.ndarray) -> None:
    cv2.rectangle(patch, (2, 70), (253, 250), (80, 130, 175, 255), -1)
    cv2.fillPoly(patch, [np.array([(2, 70), (40, 20), (215, 20), (253, 70)])], (110, 160, 200, 255))
    cv2.rectangle(patch, (110, 20), (145, 250), (150, 195, 220, 255), -1)
    cv2.rectangle(patch, (165, 170), (235, 220), (240, 240, 240, 255), -1)


def _draw_cat(patch: np.ndarray) -> None:
    fur, dark = (45, 45, 50, 255), (25, 25, 28, 255)
    cv2.ellipse(patch, (120, 160), (100, 62), 0, 0, 360, fur, -1, cv2.LINE_AA)
    cv2.circle(patch, (205, 95), 48, fur, -1, cv2.LINE_AA)
    for x in (170, 218):
        cv2.fillPoly(patch, [np.array([(x, 70), (x + 12, 22), (x + 32, 62)])], dark)
    cv2.ellipse(patch, (28, 120), (22, 60), 20, 0, 360, dark, -1, cv2.LINE_AA)
    for x in (60, 170):
        cv2.rectangle(patch, (x, 190), (x + 24, 250), fur, -1)
    cv2.circle(patch, (222, 90), 6, (90, 220, 220, 255), -1, cv2.LINE_AA)


def _draw_mug(patch: np.ndarray) -> None:
    cv2.ellipse(patch, (190, 140), (58, 55), 0, 0, 360, (150, 70, 30, 255), 22, cv2.LINE_AA)
    cv2.rectangle(patch, (8, 40), (190, 225), (170, 85, 40, 255), -1)
    cv2.ellipse(patch, (99, 225), (91, 26), 0, 0, 360, (170, 85, 40, 255), -1, cv2.LINE_AA)
    cv2.ellipse(patch, (99, 40), (91, 26), 0, 0, 360, (120, 60, 30, 255), -1, cv2.LINE_AA)
    cv2.rectangle(patch, (30, 110), (165, 150), (235, 235, 235, 255), -1)


def _draw_gear(patch: np.ndarray) -> None:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = np.where(np.arange(24) % 4 < 2, 124, 96)
    points = 128 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(patch, [points.astype(np.int32)], (150, 152, 155, 255), cv2.LINE_AA)
    cv2.circle(patch, (128, 128), 70, (120, 122, 125, 255), 8, cv2.LINE_AA)
    cv2.circle(patch, (128, 128), 30, (45, 45, 48, 255), -1, cv2.LINE_AA)


def _draw_car(patch: np.ndarray) -> None:
    red = (45, 40, 175, 255)
    cv2.fillPoly(patch, [np.array([(50, 130), (85, 75), (180, 75), (220, 130)])], red, cv2.LINE_AA)
    cv2.fillPoly(patch, [np.array([(68, 128), (92, 86), (128, 86), (128, 128)])], (120, 110, 95, 255))
    cv2.fillPoly(patch, [np.array([(138, 128), (138, 86), (174, 86), (202, 128)])], (120, 110, 95, 255))
    cv2.rectangle(patch, (3, 128), (252, 190), red, -1)
    for x in (62, 195):
        cv2.circle(patch, (x, 190), 30, (30, 30, 30, 255), -1, cv2.LINE_AA)
        cv2.circle(patch, (x, 190), 13, (160, 160, 160, 255), -1, cv2.LINE_AA)


def _draw_bin(patch: np.ndarray) -> None:
    cv2.fillPoly(patch, [np.array([(20, 60), (236, 60), (210, 253), (46, 253)])], (60, 105, 50, 255), cv2.LINE_AA)
    cv2.rectangle(patch, (3, 25), (253, 62), (75, 130, 60, 255), -1)
    for x in (90, 128, 166):
        cv2.line(patch, (x, 75), (x, 240), (45, 85, 38, 255), 8)


def _draw_cone(patch: np.ndarray) -> None:
    cv2.fillPoly(patch, [np.array([(112, 10), (144, 10), (210, 225), (46, 225)])], (30, 110, 240, 255), cv2.LINE_AA)
    cv2.fillPoly(patch, [np.array([(95, 70), (161, 70), (178, 130), (78, 130)])], (235, 235, 235, 255), cv2.LINE_AA)
    cv2.rectangle(patch, (10, 220), (246, 248), (25, 90, 200, 255), -1)


def _draw_plant(patch: np.ndarray) -> None:
    for angle in np.linspace(-70, 70, 9):
        tip = (int(128 + 120 * np.sin(np.radians(angle))), int(150 - 135 * np.cos(np.radians(angle))))
        cv2.line(patch, (128, 170), tip, (50, 140, 60, 255), 16, cv2.LINE_AA)
    cv2.fillPoly(patch, [np.array([(70, 160), (186, 160), (170, 253), (86, 253)])], (60, 90, 180, 255), cv2.LINE_AA)


def _draw_ball(patch: np.ndarray) -> None:
    cv2.circle(patch, (128, 128), 125, (225, 225, 225, 255), -1, cv2.LINE_AA)
    for angle in range(0, 360, 72):
        x, y = 128 + 80 * np.cos(np.radians(angle)), 128 + 80 * np.sin(np.radians(angle))
        cv2.circle(patch, (int(x), int(y)), 26, (30, 30, 30, 255), -1, cv2.LINE_AA)


# Put in front of each scene: things of no class.
OTHER_THINGS: dict[str, Draw] = {"cone": _draw_cone, "plant": _draw_plant, "ball": _draw_ball}
SCENES = (
    Scene("room", _draw_room, {"parcel": _draw_parcel, "cat": _draw_cat}, (60, 330, 520, 100), "exif"),
    Scene("bench", _draw_bench, {"mug": _draw_mug, "gear": _draw_gear}, (120, 230, 460, 190), "file"),
    Scene("yard", _draw_yard, {"car": _draw_car, "bin": _draw_bin}, (60, 250, 520, 170), "name"),
)


# Light


@dataclass(frozen=True)
class _Light:
    """gain: of all. warmth: red against blue. slope: how much brighter the right is. shadow: x of a shadow's edge."""

    gain: float
    warmth: float
    slope: float
    shadow: float
    darkness: float


def _light_at(hour: float, rng: np.random.Generator) -> _Light:
    """The sun from 6 to 20 h, clouds that drift, and a camera whose exposure makes up for half of it."""
    height = np.sin(np.pi * np.clip((hour - 5) / 16, 0.02, 0.98))
    clouds = 0.5 + 0.25 * np.sin(2.1 * hour) + 0.25 * np.sin(7.3 * hour + 1)
    outside = (0.25 + height) * (1 - 0.35 * clouds) * rng.uniform(0.97, 1.03)
    return _Light(
        gain=float(np.sqrt(outside)),
        warmth=float(0.13 * (1 - height)),
        slope=float(0.035 * (hour - 12)),
        shadow=float(WIDTH * (hour - 7) / 12 + rng.normal(0, 4)),
        darkness=float(0.3 * (1 - clouds) * height),
    )


def _shade(image: np.ndarray, light: _Light) -> np.ndarray:
    """The scene in this light: brightness across the picture, colour, and the soft shadow of something outside it."""
    columns, rows = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    brightness = light.gain * (1 + light.slope * (columns / WIDTH - 0.5))
    distance = columns + 0.35 * rows - light.shadow
    inside = 1 / (1 + np.exp(-distance / 8)) - 1 / (1 + np.exp(-(distance - 130) / 14))
    brightness *= 1 - light.darkness * inside
    tint = np.array([1 - light.warmth, 1, 1 + light.warmth], np.float32)
    return image * brightness[..., None] * tint


def put_thing(image: np.ndarray, draw: Draw, size: float, area: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """The picture, float32 BGR, with a thing `size` of its width wide somewhere in the area, turned a little.

    area: x, y, width and height in pixels of where its middle may be.
    """
    patch = np.zeros((_PATCH, _PATCH, 4), np.uint8)
    draw(patch)
    rows, columns = image.shape[:2]
    side = size * columns * rng.uniform(0.92, 1.08)
    scale = side / _PATCH
    x, y, width, height = area
    margin = 0.6 * side
    middle = np.clip([rng.uniform(x, x + width), rng.uniform(y, y + height)], margin, [columns - margin, rows - margin])
    turn = np.asarray(cv2.getRotationMatrix2D((_PATCH / 2, _PATCH / 2), float(rng.uniform(-12, 12)), scale), np.float64)
    turn[:, 2] += middle - _PATCH / 2
    # OpenCV's warp does not average: without this, small things would be jagged.
    blurred = cv2.GaussianBlur(patch, (0, 0), max(0.4 / scale, 0.1))
    placed = cv2.warpAffine(blurred.astype(np.float32), turn, (columns, rows), flags=cv2.INTER_LINEAR)
    opacity = placed[..., 3:] / 255
    offset = np.array([[1, 0, 0.12 * side], [0, 1, 0.06 * side]], np.float32)
    shadow = cv2.warpAffine(cv2.GaussianBlur(opacity, (0, 0), 0.06 * side), offset, (columns, rows))[..., None]
    ground = image * (1 - 0.4 * shadow)
    # The blurred colours are already weighted with opacity.
    return ground * (1 - opacity) + placed[..., :3] * rng.uniform(0.92, 1.08)


def take_photo(
    scene: Scene, empty: np.ndarray, draw: Draw | None, size: float, hour: float, rng: np.random.Generator
) -> np.ndarray:
    """One photo, uint8 BGR (HEIGHT, WIDTH, 3), of the empty scene or of a thing in it.

    empty: what `scene.draw` returned. size: of the thing, as a share of the picture's width.
    """
    image = empty if draw is None else put_thing(empty, draw, size, scene.area, rng)
    image = _shade(image, _light_at(hour, rng))
    shake = np.array([[1, 0, rng.uniform(-1, 1)], [0, 1, rng.uniform(-1, 1)]], np.float32)
    image = cv2.warpAffine(image, shake, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    noise = rng.normal(0, 1, image.shape).astype(np.float32) * np.sqrt(4 + 0.06 * np.maximum(image, 0))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_photos(
    root: Path,
    scene: Scene,
    things: dict[str, Draw | None],
    size: float,
    hours: tuple[float, float],
    each: int,
    seed: int = 0,
) -> None:
    """`each` photos of each of the things to root/<name>, in sessions that take turns from the first hour to the last.

    Times are where the scene's photos have them. seed: of the scene's clutter, the places of things, and the light.
    """
    empty = scene.draw(seed)
    entropy = [SCENES.index(scene), round(1000 * size), round(10 * hours[0]), each]
    rng = np.random.default_rng([*entropy, seed] if seed else entropy)
    sessions = -(-each // _PHOTOS_PER_SESSION)
    for turn, (name, draw) in enumerate(things.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            session, place = divmod(number, _PHOTOS_PER_SESSION)
            share = (session + turn / len(things)) / sessions
            seconds = 3600 * (hours[0] + share * (hours[1] - hours[0])) + place * _SECONDS_PER_PHOTO
            photo = take_photo(scene, empty, draw, size, seconds / 3600, rng)
            _write(root / name, scene.clock, number, _DAY + timedelta(seconds=seconds), photo)


def _write(folder: Path, clock: str, number: int, time: datetime, photo: np.ndarray) -> None:
    """A JPEG whose time is in EXIF, in the file system, or in its name; the names of others tell no order."""
    name = f"{time:%Y%m%d_%H%M%S}.jpg" if clock == "name" else f"{number * 7919 % 10007:05}.jpg"
    exif = Image.Exif()
    if clock == "exif":
        exif.get_ifd(0x8769)[0x9003] = f"{time:%Y:%m:%d %H:%M:%S}"
    Image.fromarray(photo[..., ::-1]).save(folder / name, quality=88, exif=exif)
    stamp = (time if clock == "file" else _DAY).timestamp()
    os.utime(folder / name, (stamp, stamp))
