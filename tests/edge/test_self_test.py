"""Wrong preprocessing that the self-test catches, and differences that it lets pass."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge_classify import Classifier, SelfTestError
from edge_classify.images.preprocessing import preprocess
from edge_classify.model import self_test

Preprocess = Callable[[np.ndarray, np.ndarray], np.ndarray]


def resized(interpolation: int) -> Preprocess:
    return lambda image, out: cv2.resize(image, out.shape[1::-1], interpolation=interpolation)[..., ::-1]


WRONG: dict[str, Preprocess] = {
    "BGR for RGB": lambda image, out: preprocess(image, out)[..., ::-1],
    "centre crop": lambda image, out: preprocess(image[:, 80:560], out),
    "padded": lambda image, out: preprocess(cv2.copyMakeBorder(image, 80, 80, 0, 0, cv2.BORDER_CONSTANT), out),
    "nearest": resized(cv2.INTER_NEAREST),
    "area": resized(cv2.INTER_AREA),
    "mirrored": lambda image, out: preprocess(image[:, ::-1], out),
    "upside down": lambda image, out: preprocess(image[::-1], out),
}


@pytest.mark.parametrize("way", WRONG)
def test_other_preprocessing_is_caught(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "preprocess", WRONG[way])
    with pytest.raises(SelfTestError, match="preprocesses images differently from the machine that made the model"):
        Classifier()


def test_the_last_bit_of_a_pixel_may_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one_here_and_there(image: np.ndarray, out: np.ndarray) -> np.ndarray:
        preprocess(image, out)
        out[::8] += (out[::8] < 255).astype(np.uint8)
        return out

    monkeypatch.setattr(self_test, "preprocess", off_by_one_here_and_there)
    Classifier()


def test_the_card_is_the_same_picture_on_every_machine() -> None:
    # Drawn with integers only; a change here would break every model file in use.
    assert int(self_test.draw_card(0).astype(np.int64).sum()) == 129550405
