from __future__ import annotations

import cv2
import numpy as np
import pytest

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


@pytest.mark.parametrize("side", [96, 128, 160, 192, 224])
@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (97, 133), (96, 96), (32, 48), (1080, 1920)])
def test_it_is_opencv_s_linear_resize_to_the_last_bit(size: tuple[int, int], side: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)[..., ::-1]
    assert (preprocess(image, np.empty((side, side, 3), np.uint8)) == expected).all()


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))])
def test_grey_transparent_and_float_images_are_refused_not_skipped(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 BGR"):
        preprocess(image, np.empty((96, 96, 3), np.uint8))
