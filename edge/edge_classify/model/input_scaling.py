"""How pixels become the values of a third-party model's input.

A float model's file says this in its TFLite Metadata, or its graph shows it by rescaling its input first, or it has to
be assumed. A quantized input covers a range of values, which must be that of the pixels.
"""

from __future__ import annotations

import numpy as np

from .interpreter import GraphStart
from .tflite_metadata import Normalization

# The scalings that --input-range offers, as (means, standard deviations).
RANGES: dict[str, Normalization] = {
    "-1..1": ((127.5,), (127.5,)),
    "0..1": ((0.0,), (255.0,)),
    "0..255": ((0.0,), (1.0,)),
    # PyTorch's pretrained models: https://pytorch.org/vision/stable/models.html
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
DEFAULT_RANGE = "-1..1"

# Where a graph's own rescaling leads to: the usual ranges of a network's first layer, with this tolerance.
_COMMON_RANGES = ((0, 1), (-1, 1), (-0.5, 0.5))
_RANGE_TOLERANCE = 0.02
# The range of a quantized input comes from calibration pictures, which may not reach both ends.
_CALIBRATION_TOLERANCE = 0.05
# Levels by which a quantized pixel may differ from the pixel itself, and still be taken as it is.
_SAME_LEVELS = 2


def from_graph(start: GraphStart) -> str | None:
    """The one of RANGES that the graph expects, judged from how it rescales its input; None if that does not show."""
    if start.quantization is not None:
        if np.ptp(start.factor) or np.ptp(start.offset):
            return None
        low, high = ((np.array((-128, 127)) - start.quantization[1]) * start.quantization[0]).tolist()
        factor, offset = float(start.factor[0]), float(start.offset[0])
        if factor <= 0:
            return None
        return from_quantized_range((low - offset) / factor, (high - offset) / factor)[0]
    if (start.factor == 1).all() and not start.offset.any():
        return None
    return next((name for name in RANGES if _leads_to_network(start, name)), None)


def _leads_to_network(start: GraphStart, name: str) -> bool:
    """Whether pixels in this range become what a network's first layer usually gets."""
    mean, deviation = (np.array(values) for values in RANGES[name])
    low, high = ((pixel - mean) / deviation * start.factor + start.offset for pixel in (0, 255))
    if name == "0..255":
        # Only one of the ranges is this wide. The last: means subtracted, as Caffe's models want.
        normalized = (low >= -3.5).all() and (high <= 3.5).all() and (high - low >= 0.5).all()
        return bool(normalized or ((start.factor == 1).all() and (low < -90).all() and (low > -140).all()))
    common = any(
        np.allclose(low, bottom, atol=_RANGE_TOLERANCE) and np.allclose(high, top, atol=_RANGE_TOLERANCE)
        for bottom, top in (*_COMMON_RANGES, (0, 255))
    )
    mean, deviation = (np.array(values) for values in RANGES["imagenet"])
    standard = np.allclose(low, -mean / deviation, atol=0.1) and np.allclose(high, (255 - mean) / deviation, atol=0.1)
    return bool(common or (standard and name == "0..1"))


def quantized_range(quantization: tuple[float, int], dtype: np.dtype) -> tuple[float, float]:
    """(lowest, highest) value that a quantized input of this scale and zero point stands for."""
    scale, zero_point = quantization
    limits = np.iinfo(dtype)
    return (limits.min - zero_point) * scale, (limits.max - zero_point) * scale


def from_quantized_range(low: float, high: float) -> tuple[str | None, bool]:
    """(the one of RANGES that a quantized input is for, whether it is just that range).

    Calibration on dark pictures makes the range too short; which one was meant is judged from where it lies. None:
    nothing that is known.
    """
    for name, (bottom, top) in {"-1..1": (-1, 1), "0..1": (0, 1), "0..255": (0, 255)}.items():
        tolerance = _CALIBRATION_TOLERANCE * (top - bottom)
        if abs(low - bottom) <= tolerance and abs(high - top) <= tolerance:
            return name, True
    if -2.3 < low < -1.9 and 2.2 < high < 2.9:
        return "imagenet", True
    if low >= -0.02 and high <= 1.05:
        return "0..1", False
    if low >= -1.05 and high <= 1.05:
        return "-1..1", False
    if low >= -3 and 4 < high <= 265:
        return "0..255", False
    return None, False


def is_within(normalization: Normalization, low: float, high: float) -> bool:
    """Whether most pixels, so normalized, are in this range: half of what they cover, or more."""
    means, deviations = normalization
    bottom, top = -max(means) / max(deviations), (255 - min(means)) / min(deviations)
    return min(high, top) - max(low, bottom) >= 0.4 * (top - bottom)


def in_words(name: str) -> str:
    return "pixels normalized as PyTorch's ImageNet models want" if name == "imagenet" else f"pixels as {name}"


def table(normalization: Normalization, dtype: np.dtype, quantization: tuple[float, int] | None) -> np.ndarray | None:
    """The input's value for each pixel value: shape (1, 256, 1 or 3), of `dtype`, as cv2.LUT wants it.

    None if a quantized input takes pixels as they are (int8: less 128).
    """
    mean, deviation = (np.array(values, np.float32) for values in normalization)
    values = (np.arange(256, dtype=np.uint8)[:, None] - mean) / deviation
    if quantization is not None:
        limits = np.iinfo(dtype)
        levels = np.rint(values / quantization[0]) + quantization[1]
        if np.abs(levels - limits.min - np.arange(256)[:, None]).max() <= _SAME_LEVELS:
            return None
        values = np.clip(levels, limits.min, limits.max)
    return np.ascontiguousarray(values[None].astype(dtype))
