"""Simulated camera pictures of handwritten digits on paper, and of everything but digits.

They train and test the built-in model. A picture depends only on its digit and its random generator,
so a set can be drawn again, in any number of processes, from a seed.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_classify.images.preprocessing import Image
from edge_classify.sources.demo import blend, ink

Color = tuple[float, float, float]


def draw_scene(rng: np.random.Generator, digit: Image | None, height: int = 240) -> Image:
    """A camera's picture of a handwritten digit, or of none.

    digit: uint8 (28, 28), 255 is ink, or None for clutter. The digit lies wholly inside the picture,
    40 to 90 % of its height.
    Returns uint8 BGR, shape (height, width, 3), width 4/3 or 16/9 of the height.
    """
    width = int(height * (16 / 9 if rng.random() < 0.2 else 4 / 3))
    image = _background(rng, width, height)
    if digit is not None or rng.random() < 0.55:
        _draw_paper(rng, image, digit)
    return _photograph(rng, image)


def vary_handwriting(rng: np.random.Generator, digit: Image) -> Image:
    """The digit as another hand might write it: sheared and smoothly bent (Simard et al. 2003)."""
    side = digit.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    shear, wide, high = rng.uniform(-0.2, 0.2), rng.uniform(0.85, 1.15), rng.uniform(0.9, 1.1)
    middle = (side - 1) / 2
    bend = cv2.GaussianBlur(rng.uniform(-1, 1, (side, side, 2)).astype(np.float32), (0, 0), 4) * rng.uniform(0, 30)
    from_x = (x - middle) / wide + shear * (y - middle) + middle + bend[..., 0]
    from_y = (y - middle) / high + middle + bend[..., 1]
    return np.asarray(cv2.remap(digit, from_x, from_y, cv2.INTER_LINEAR), np.uint8)


def _draw_paper(rng: np.random.Generator, image: Image, digit: Image | None) -> None:
    height, width = image.shape[:2]
    light = rng.random() < 0.75
    shade = rng.uniform(165, 250) if light else rng.uniform(15, 90)
    paper = _tint(rng, shade, 0.12)
    contrast = rng.uniform(85, 220)
    pen = _tint(rng, float(np.clip(shade - contrast if light else shade + contrast, 5, 250)), 0.35)

    size = rng.uniform(0.4, 0.9) * height / (20 / 28)  # MNIST's ink fills 20 of 28 pixels
    ink_half = size * 0.40
    center = (_uniform(rng, ink_half, width - ink_half), _uniform(rng, ink_half, height - ink_half))
    degrees = rng.normal(0, 9)
    stretch = rng.uniform(0.8, 1.2)
    tilt = rng.uniform(-0.1, 0.1, (4, 2))

    if rng.random() < 0.65:
        # A sheet with its edges in view; otherwise paper or a board fills the picture.
        sheet = rng.uniform(0.9, 1.9)
        matrix = _quad(center, size * sheet * stretch, size * sheet * rng.uniform(0.9, 1.4), degrees, tilt, 64)
        blend(image, np.full((64, 64), 255, np.uint8), matrix, paper)
    else:
        image[:] = paper
        if rng.random() < 0.5:
            _mottle(rng, image, 10)
    if rng.random() < 0.2:
        _rule(rng, image, paper, pen)

    if digit is not None:
        strokes = ink(digit)
        pen_width = rng.random()
        if pen_width < 0.25:
            strokes = cv2.erode(strokes, np.ones((3, 3), np.uint8))
        elif pen_width < 0.5:
            strokes = cv2.dilate(strokes, np.ones((3, 3), np.uint8))
    else:
        strokes = _not_a_digit(rng)
        size *= rng.uniform(0.6, 1.6)
    blend(image, strokes, _quad(center, size * stretch, size, degrees, tilt, strokes.shape[0]), pen)


def _not_a_digit(rng: np.random.Generator) -> Image:
    """Marks on paper that are no digit, as a stroke mask of 112×112."""
    mask = np.zeros((112, 112), np.uint8)
    pen = int(rng.integers(2, 9))
    kind = rng.random()
    if kind < 0.12:
        pass  # an empty sheet
    elif kind < 0.35:  # letters that no digit resembles
        text = "".join(rng.choice(list("AEFHKMNPRTWXadefhkmnrtwx&#?%@+=*<>"), int(rng.integers(1, 5))))
        font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX]))
        (wide, high), _ = cv2.getTextSize(text, font, 1.0, 2)
        scale = min(96 / max(wide, 1), 80 / max(high, 1)) * rng.uniform(0.6, 1)
        (wide, high), _ = cv2.getTextSize(text, font, scale, 2)
        cv2.putText(mask, text, ((112 - wide) // 2, (112 + high) // 2), font, scale, 255, max(2, pen // 2), cv2.LINE_AA)
    elif kind < 0.45:  # lines of writing
        for y in range(int(rng.integers(8, 20)), 108, int(rng.integers(14, 30))):
            text = "".join(rng.choice(list("abcdefghklmnopqrstuvwxyz  "), 16))
            cv2.putText(mask, text, (4, y), cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, rng.uniform(0.3, 0.6), 255, 1, cv2.LINE_AA)
    elif kind < 0.7:  # scribbles: many strokes, or long wild ones
        for _ in range(int(rng.integers(2, 7))):
            points = rng.uniform(8, 104, (int(rng.integers(3, 9)), 2)).astype(np.float32)
            cv2.polylines(mask, [_smooth(points)], bool(rng.random() < 0.3), 255, pen, cv2.LINE_AA)
    elif kind < 0.82:  # rings with things in them: faces, clocks, wheels, targets
        axes = (int(rng.integers(28, 48)), int(rng.integers(28, 48)))
        cv2.ellipse(mask, (56, 56), axes, 0, 0, 360, 255, pen, cv2.LINE_AA)
        for _ in range(int(rng.integers(2, 6))):
            x, y = (int(v) for v in rng.integers(40, 73, 2))
            if rng.random() < 0.5:
                cv2.circle(mask, (x, y), int(rng.integers(3, 7)), 255, -1, cv2.LINE_AA)
            else:
                arc = sorted(rng.integers(0, 360, 2).tolist())
                size = (int(rng.integers(5, 22)), int(rng.integers(5, 18)))
                cv2.ellipse(mask, (x, y), size, 0, arc[0], arc[1] + 40, 255, pen, cv2.LINE_AA)
    elif kind < 0.9:  # parallel strokes, crosses, arrows, zigzags
        for _ in range(int(rng.integers(2, 6))):
            start, end = rng.integers(8, 104, (2, 2))
            if rng.random() < 0.4:
                cv2.arrowedLine(mask, start.tolist(), end.tolist(), 255, pen, cv2.LINE_AA)
            else:
                cv2.line(mask, start.tolist(), end.tolist(), 255, pen, cv2.LINE_AA)
    else:  # shapes: triangles, stars, boxes, filled blobs
        corners = int(rng.integers(3, 8))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(25, 50, corners)
        shape = np.stack([56 + radius * np.cos(angles), 56 + radius * np.sin(angles)], 1).astype(np.int32)
        if rng.random() < 0.5:
            cv2.fillPoly(mask, [shape], 255, cv2.LINE_AA)
        else:
            cv2.polylines(mask, [shape], True, 255, pen, cv2.LINE_AA)
            cv2.line(mask, shape[0].tolist(), shape[-2].tolist(), 255, pen, cv2.LINE_AA)
            cv2.line(mask, (56, 56), shape[1].tolist(), 255, pen, cv2.LINE_AA)
    return mask


def _smooth(points: np.ndarray) -> np.ndarray:
    """A curve near `points` (n, 2), by repeated corner cutting (Chaikin's algorithm)."""
    for _ in range(3):
        points = np.concatenate(
            [0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]], 1
        ).reshape(-1, 2)
    return points.astype(np.int32)


def _background(rng: np.random.Generator, width: int, height: int) -> Image:
    """A plain wall, cloudy texture, or objects of all sizes in front of each other (the dead leaves model)."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = _tint(rng, rng.uniform(10, 245), 0.3)
    kind = rng.random()
    if kind > 0.25:
        _mottle(rng, image, rng.uniform(4, 60))
    if kind > 0.5:
        for _ in range(int(rng.integers(3, 60))):
            _draw_thing(rng, image)
    return image


def _draw_thing(rng: np.random.Generator, image: Image) -> None:
    height, width = image.shape[:2]
    # Sizes by an inverse cube law make pictures that look alike at every scale, as photographs do.
    radius = float(np.clip(0.04 / np.sqrt(rng.uniform(0.002, 1)), 0.04, 0.6)) * height
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    color = _tint(rng, rng.uniform(5, 250), 0.5)
    kind = rng.random()
    if kind < 0.35:
        axes = (int(radius), int(radius * rng.uniform(0.3, 1)))
        cv2.ellipse(image, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
    elif kind < 0.75:
        box = cv2.boxPoints(((x, y), (radius * 2, radius * 2 * rng.uniform(0.2, 1)), rng.uniform(0, 90)))
        cv2.fillPoly(image, [box.astype(np.int32)], color, cv2.LINE_AA)
    elif kind < 0.9:
        points = (np.array([x, y]) + rng.normal(0, radius, (int(rng.integers(3, 7)), 2))).astype(np.float32)
        cv2.fillPoly(image, [_smooth(np.concatenate([points, points[:1]]))], color, cv2.LINE_AA)
    else:
        end = np.array([x, y]) + rng.normal(0, 3 * radius, 2)
        cv2.line(image, (int(x), int(y)), end.astype(int).tolist(), color, int(rng.integers(1, 8)), cv2.LINE_AA)


def _mottle(rng: np.random.Generator, image: Image, strength: float) -> None:
    """Add cloudy noise of several scales, as on cloth, walls and wood."""
    height, width = image.shape[:2]
    total = np.zeros((height, width, 3), np.float32)
    for cells in (3, 8, 24, 72):
        stretch = 1 if rng.random() < 0.6 else 6
        noise = rng.normal(0, 1, (cells, max(2, cells // stretch), 1 if rng.random() < 0.6 else 3)).astype(np.float32)
        layer = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        total += layer.reshape(height, width, -1) * rng.uniform(0.2, 1)
    image[:] = np.clip(image + total * (strength / 2), 0, 255)


def _rule(rng: np.random.Generator, image: Image, paper: Color, pen: Color) -> None:
    """Thin lines or squares, as on school paper."""
    height, width = image.shape[:2]
    share = rng.uniform(0.1, 0.4)
    color = tuple(float(p + share * (i - p)) for p, i in zip(paper, pen, strict=True))
    gap = int(rng.uniform(0.06, 0.2) * height)
    for y in range(int(rng.integers(gap)), height, gap):
        cv2.line(image, (0, y), (width, y + int(rng.integers(-3, 4))), color, 1, cv2.LINE_AA)
    if rng.random() < 0.5:
        for x in range(int(rng.integers(gap)), width, gap):
            cv2.line(image, (x, 0), (x, height), color, 1, cv2.LINE_AA)


def _photograph(rng: np.random.Generator, image: Image) -> Image:
    """What light, lens and sensor do to a scene: shadow, white balance, exposure, blur, noise, JPEG."""
    height, width = image.shape[:2]
    light = np.ones((height, width), np.float32)
    if rng.random() < 0.6:
        x, y = rng.uniform(-1, 1, 2)
        ramp_x, ramp_y = np.linspace(-x, x, width, dtype=np.float32), np.linspace(-y, y, height, dtype=np.float32)
        light *= 1 + 0.35 * (ramp_x[None] + ramp_y[:, None]) / 2
    if rng.random() < 0.4:
        shadow = np.zeros((60, 80), np.float32)
        corners = rng.uniform(-20, 100, (4, 2)).astype(np.int32)
        cv2.fillConvexPoly(shadow, cv2.convexHull(corners), 1.0)
        shadow = cv2.GaussianBlur(shadow, (0, 0), rng.uniform(0.7, 8))
        light *= 1 - rng.uniform(0.15, 0.55) * cv2.resize(shadow, (width, height))
    balance = rng.uniform(0.85, 1.1, 3).astype(np.float32) * np.float32(rng.uniform(0.6, 1.15))
    exposed = image * (light[..., None] * balance)
    if rng.random() < 0.5:
        sigma = float(rng.uniform(0.3, 2.2)) * height / 240
        exposed = cv2.GaussianBlur(exposed, (0, 0), sigma)
    elif rng.random() < 0.3:
        length = max(2, int(rng.integers(2, 8) * height / 240))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), 1.0)
        exposed = cv2.filter2D(exposed, -1, kernel / kernel.sum())
    if rng.random() < 0.7:
        noise = np.empty(exposed.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, 0, float(rng.uniform(1, 11)))
        exposed = exposed + noise
    if rng.random() < 0.1:
        exposed = np.repeat(exposed.mean(2, keepdims=True), 3, 2)
    photo: Image = np.clip(exposed, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        _, data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))])
        photo = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return photo


def _quad(
    center: tuple[float, float], wide: float, high: float, degrees: float, tilt: np.ndarray, side: int
) -> np.ndarray:
    """The perspective transform, (3, 3), of a square of `side` pixels to a rotated and tilted rectangle."""
    unit = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = ((unit * (1 + tilt)) * (wide, high)) @ rotation + center
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    return cv2.getPerspectiveTransform(square, corners.astype(np.float32))


def _tint(rng: np.random.Generator, shade: float, strength: float) -> Color:
    blue, green, red = np.clip(shade * (1 + rng.uniform(-strength, strength, 3)), 0, 255)
    return float(blue), float(green), float(red)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high)) if low < high else (low + high) / 2
