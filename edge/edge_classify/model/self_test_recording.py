"""Recording the self-test of a new model file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from ..images.crop import Crop
from ..images.preprocessing import Image
from .classifier import Classifier
from .model_file import CARD_PART, PICTURE_PART
from .self_test import prepare_card

# In grey levels, mean over the card. OpenCV's linear resize differs by 0.07 at most between ARM and x86-64; area or
# nearest interpolation, other crops and swapped colours differ by 0.7 to 80.
_PIXEL_TOLERANCE = 0.25
# If XNNPACK cannot run (tflite-runtime, a container without /sys), other kernels round differently: over a grid of 20
# cells int8 shifted by up to 0.13, dynamic by up to 0.07, float32 by 0.00001.
_SCORE_TOLERANCES = {"float32": 0.01, "float16": 0.01, "dynamic": 0.2, "int8": 0.2}
# What other kernels may shift the recorded picture's scores by here, as a share of the tolerance: other machines round
# differently again, and of a still camera `unknown` is steep.
_MAX_SHIFT = 0.5
# So many pictures, those with the largest entropy, are tried with other kernels.
_TRIED = 16
# Test cards to choose from.
_CARD_VARIANTS = 32
# Calibration photos whose mean is mixed with a card.
_PHOTOS_IN_MIXTURE = 8
# Such means to choose from, and cards to mix them with.
_MIXTURES = 4
# The photos' shares of a mixture to choose from.
_PHOTO_SHARES = (0.7, 0.85, 1.0)


def record_self_test(
    classifier: Classifier, model: bytes, labels: Sequence[str], precision: str, calibration: Image, crop: Crop | None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Record the self-test: its entry in edge.json, and its pictures as PNG, by part.

    classifier: runs the model.
    model: the flatbuffer. labels: of its outputs. calibration: prepared photos, uint8 RGB [n, R, R, 3].
    crop: the part of the picture that they show.

    The device must prepare a drawn card as recorded, and classify a picture as recorded. A picture whose probabilities
    are spread out shows a wrong result best. Most models find a card alone so strange that they only answer
    `unknown`, so it is mixed with the mean of a few calibration photos, and of many such mixtures the one with the
    largest entropy is recorded, if it gives about the same without XNNPACK.
    """
    height, width = classifier.input_size
    cards = [prepare_card(variant, height, width, crop) for variant in range(_CARD_VARIANTS)]
    pictures = [*enumerate(cards), *_mix(cards[:_MIXTURES], calibration)]
    scores = [classifier.infer_prepared(picture) for _, picture in pictures]
    spread_out = np.argsort([-_entropy(probabilities) for probabilities in scores], kind="stable")[:_TRIED].tolist()
    shifts: list[float] = []
    others = _run_without_delegates(model, [pictures[index][1] for index in spread_out])
    for index, other in zip(spread_out, others, strict=True):
        shifts.append(float(np.abs(scores[index] - other).max()))
        if shifts[-1] <= _MAX_SHIFT * _SCORE_TOLERANCES[precision]:
            break
    best = spread_out[int(np.argmin(shifts))]
    variant, picture = pictures[best]
    entry = {
        "variant": variant,
        "labels": list(labels),
        "scores": [round(float(score), 6) for score in scores[best]],
        "pixel_tolerance": _PIXEL_TOLERANCE,
        "score_tolerance": _SCORE_TOLERANCES[precision],
    }
    return entry, {CARD_PART: _encode_png(cards[variant]), PICTURE_PART: _encode_png(picture)}


def _run_without_delegates(model: bytes, pictures: Iterable[Image]) -> Iterator[np.ndarray]:
    """The probabilities of prepared pictures, uint8 RGB [R, R, 3], where XNNPACK cannot run; float64 [labels] each.

    One after the other, as they are asked for: these kernels are slow.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = output["quantization"]
    for picture in pictures:
        interpreter.set_tensor(image["index"], picture[None])
        interpreter.invoke()
        scores = interpreter.get_tensor(output["index"])[0].astype(np.float64)
        yield (scores - zero_point) * scale if scale else scores


def _mix(cards: list[Image], calibration: Image) -> list[tuple[int, Image]]:
    """Mixtures of each card with means of calibration photos, each with the card's number."""
    step = max(1, len(calibration) // _PHOTOS_IN_MIXTURE)
    groups = [calibration[first::step][:_PHOTOS_IN_MIXTURE] for first in range(_MIXTURES)]
    means = [group.mean(axis=0) for group in groups if len(group)]
    return [
        (variant, np.round(share * mean + (1 - share) * card).astype(np.uint8))
        for variant, card in enumerate(cards)
        for mean in means
        for share in _PHOTO_SHARES
    ]


def _entropy(probabilities: np.ndarray) -> float:
    return -float((probabilities * np.log(probabilities + 1e-9)).sum())


def _encode_png(picture: Image) -> bytes:
    _, png = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return png.tobytes()
