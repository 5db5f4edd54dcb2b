"""The head's weights for int8 features: what rounding does alike to photos that are alike is made good."""

from __future__ import annotations

import numpy as np
import pytest

from edge_classify.learn.open_set import OpenSet, fit_feature_space, fit_open_set
from edge_convert.head_correction import adjust_threshold, correct_head

FEATURES, MIDDLE = 64, 16


def unit(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=1)


@pytest.mark.parametrize("photos", [40, 1])
def test_new_photos_get_nearly_what_they_get_in_float32(photos: int) -> None:
    rng = np.random.default_rng(0)
    scene = [rng.uniform(0.5, 2, FEATURES), rng.normal(0, 2, MIDDLE)]
    things = [rng.normal(0, 0.3, (3, part.size)) for part in scene]
    shifts, shrinks = ([rng.normal(0, size, part.size) for part in scene] for size in (0.2, 0.15))

    def take(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Features and middle layer of new photos, exact and rounded."""
        shown = rng.uniform(0, 1, (count, 3))
        exact = [part + shown @ seen for part, seen in zip(scene, things, strict=True)]
        rounded = [
            part * (1 - shrink) + shift + rng.normal(0, 0.02, part.shape)
            for part, shift, shrink in zip(exact, shifts, shrinks, strict=True)
        ]
        return [part.astype(np.float32) for part in exact], [part.astype(np.float32) for part in rounded]

    head = {
        "kernel": rng.normal(0, 1, (FEATURES, 3)).astype(np.float32),
        "bias": rng.normal(0, 1, 3).astype(np.float32),
        "basis": rng.normal(0, 1, (5, FEATURES + MIDDLE)).astype(np.float32),
        "direction": rng.normal(0, 1, FEATURES + MIDDLE).astype(np.float32),
        "prototypes": rng.normal(0, 1, (7, 5)).astype(np.float32),
    }
    corrected = correct_head(head, *take(photos))
    assert {name: array.shape for name, array in corrected.items()} == {
        **{name: array.shape for name, array in head.items()},
        "offset": (6,),
    }
    assert all(array.dtype == np.float32 for array in corrected.values())

    exact, rounded = take(50)

    def error_of(weights: dict[str, np.ndarray]) -> np.ndarray:
        """Of the classes' logits, and of what basis and direction give: the mean squared error."""
        rows, original = (np.vstack([array["basis"], array["direction"]]) for array in (weights, head))
        logits = rounded[0] @ weights["kernel"] + weights["bias"] - (exact[0] @ head["kernel"] + head["bias"])
        products = unit(rounded) @ rows.T + weights.get("offset", 0) - unit(exact) @ original.T
        return np.array([(logits**2).mean(), (products**2).mean()])

    # Of a single photo only the shift is known.
    assert (error_of(corrected) < error_of(head) * (0.06 if photos > 1 else 0.3)).all()


def test_a_head_without_unknown_is_corrected_too() -> None:
    features = np.random.default_rng(0).uniform(0, 2, (20, FEATURES)).astype(np.float32)
    head = {"kernel": np.ones((FEATURES, 2), np.float32), "bias": np.zeros(2, np.float32)}
    corrected = correct_head(head, [features], [features + np.float32(0.1)])
    assert corrected.keys() == head.keys()
    logits = (features + np.float32(0.1)) @ corrected["kernel"] + corrected["bias"]
    assert logits == pytest.approx(features @ head["kernel"], abs=1e-3)


@pytest.mark.parametrize("photos", [100, 3])
def test_new_photos_are_as_known_as_in_float32(photos: int) -> None:
    rng = np.random.default_rng(0)
    things = rng.normal(0, 0.3, (4, FEATURES))

    def take(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        shown = rng.uniform(0, 1, (count, 4))
        shown[:, 0] = np.arange(count) % 2 * 2
        exact = np.maximum(1 + shown @ things, 0).astype(np.float32)
        return [exact], [(exact + rng.normal(0, 0.4, exact.shape)).astype(np.float32)]

    (seen,), _ = take(200)
    space = fit_feature_space(seen, np.arange(200) % 2, FEATURES, 0)
    open_set = fit_open_set(space, space.scores(take(200)[0][0]), np.ones(200), 0.95)
    head = {
        "kernel": np.ones((FEATURES, 2), np.float32),
        "bias": np.zeros(2, np.float32),
        **space.arrays(),
        "sharpness": open_set.sharpness,
        "threshold": open_set.threshold,
    }

    # Each photo twice, as in two lights.
    exact, rounded = take(2 * photos)
    corrected = correct_head(head, exact, rounded)
    adjusted = adjust_threshold(head, corrected, exact, rounded, photos)
    assert adjusted.keys() == corrected.keys()
    assert all(adjusted[name] is corrected[name] for name in corrected if name != "threshold")
    assert adjusted["threshold"][0] == head["threshold"][0]
    if photos < 5:
        assert adjusted["threshold"][1] == head["threshold"][1]
        return

    exact, rounded = take(1000)

    def lost_by(weights: dict[str, np.ndarray]) -> float:
        """How much less known the median new photo is than in float32."""
        inside = unit(rounded) @ weights["basis"].T + weights["offset"]
        fitted = OpenSet(space, weights["sharpness"], weights["threshold"])
        logits = fitted.logits(space.scores_inside(inside, np.zeros(len(inside))))
        return float(np.median(open_set.logits(space.scores(exact[0])) - logits))

    assert abs(lost_by(adjusted)) < 0.4 * lost_by(corrected)
