"""The head's weights for int8 features: what rounding does alike to photos that are alike is made good."""

from __future__ import annotations

import numpy as np
import pytest

from edge_convert.head_correction import correct_head

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
