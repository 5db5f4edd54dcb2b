"""Rotating, flipping and cropping, on images of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_classify import UsageError
from edge_classify.images.preprocessing import Image
from edge_classify.sources.frame import Transform

images = st.builds(
    lambda height, width: np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8),
    st.integers(1, 70),
    st.integers(1, 70),
)
fractions = st.floats(0, 1)


@given(images, st.sampled_from((0, 90, 180, 270)), st.sampled_from((None, "h", "v")))
def test_it_is_numpy_s_rotation_then_its_flip(image: Image, rotate: int, flip: str | None) -> None:
    expected = np.rot90(image, -rotate // 90)
    if flip is not None:
        expected = np.flip(expected, 1 if flip == "h" else 0)
    assert np.array_equal(Transform(rotate, flip)(image), expected)


@given(images)
def test_four_rotations_and_two_flips_are_the_identity(image: Image) -> None:
    for transforms in ([Transform(rotate=90)] * 4, [Transform(flip="h")] * 2, [Transform(flip="v")] * 2):
        result = image
        for transform in transforms:
            result = transform(result)
        assert np.array_equal(result, image)


@given(images, fractions, fractions, fractions, fractions)
def test_a_crop_is_never_empty_and_never_outside(image: Image, x: float, y: float, right: float, bottom: float) -> None:
    assume(x < right and y < bottom)
    cropped = Transform(crop=(x, y, right - x, bottom - y))(image)
    height, width = image.shape[:2]
    assert cropped.size
    assert np.shares_memory(cropped, image)
    # Not more than a pixel away from what was meant.
    assert abs(cropped.shape[1] - (right - x) * width) <= 1
    assert abs(cropped.shape[0] - (bottom - y) * height) <= 1


@given(images, st.sampled_from((0, 90, 180, 270)), st.sampled_from((None, "h", "v")))
def test_the_crop_of_everything_changes_nothing(image: Image, rotate: int, flip: str | None) -> None:
    whole = Transform(rotate, flip, (0, 0, 1, 1))
    assert np.array_equal(whole(image), Transform(rotate, flip)(image))


def test_the_crop_is_of_the_rotated_and_flipped_image() -> None:
    image = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    rotated = np.rot90(image, -1)
    assert np.array_equal(Transform(90, None, (0, 0, 1, 0.25))(image), rotated[:2])
    assert np.array_equal(Transform(90, "v", (0, 0, 1, 0.25))(image), rotated[::-1][:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotate": 45}, "rotate is 45: it must be 0, 90, 180 or 270"),
        ({"flip": "x"}, "flip is x: it must be h .* or v "),
        ({"crop": (160, 0, 320, 480)}, r"crop is 160,0,320,480: .* fractions of the image"),
        ({"crop": (0.5, 0.5, 0.6, 0.5)}, "stay inside"),
        ({"crop": (0, 0, 0, 1)}, "stay inside"),
        ({"crop": (0, 0, float("nan"), 1)}, "stay inside"),
    ],
)
def test_impossible_transforms_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Transform(**options)
