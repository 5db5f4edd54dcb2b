"""The one function that prepares images: bit for bit OpenCV's resize and colour conversion, on any size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_classify import preprocess


def test_the_whole_picture_is_squashed_and_turned_to_rgb_in_place() -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:240, :320] = (255, 0, 0)  # blue, top left
    frame[:240, 320:] = (0, 0, 255)  # red, top right
    frame[240:, 320:] = (0, 255, 0)  # green, bottom right
    out = np.empty((96, 96, 3), np.uint8)

    assert preprocess(frame, out) is out
    assert (out[:47, :47] == (0, 0, 255)).all()
    assert (out[:47, 49:] == (255, 0, 0)).all()
    assert (out[49:, 49:] == (0, 255, 0)).all()
    assert not out[49:, :47].any()


def test_a_picture_of_the_right_size_keeps_its_pixels() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    assert (preprocess(photo, np.empty_like(photo)) == photo[..., ::-1]).all()


@given(
    height=st.integers(1, 700) | st.sampled_from((96 * 3, 96 * 5, 160 * 3, 720, 1080)),
    width=st.integers(1, 700) | st.sampled_from((640, 1280, 1920)),
    side=st.sampled_from((96, 128, 160, 192, 224)) | st.integers(1, 300),
)
@example(height=480, width=640, side=96)
@example(height=480, width=640, side=224)
@example(height=1080, width=1920, side=160)
def test_it_is_opencv_s_linear_resize_to_the_last_bit(height: int, width: int, side: int) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = cv2.cvtColor(cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    out = np.full((side, side, 3), 123, np.uint8)
    assert preprocess(image, out) is out
    assert (out == expected).all()


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))])
def test_grey_transparent_and_float_images_are_refused_not_skipped(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected a uint8 BGR image"):
        preprocess(image, np.empty((96, 96, 3), np.uint8))
