"""Fitting the head's weights to the features that an int8 network gives.

Rounding moves features by an amount that depends on the picture, but about linearly: for pictures that are alike it is
the same amount, and where a camera does not move, it is as large as what tells its photos apart. So, on calibration
photos, a ridge regression finds how each linear function of the features that the head computes is to be changed to
give what it gives in float32. The change is folded into the function's weights and costs nothing at run time.

What is left differs from photo to photo, and takes most of them a little away from those of the classes: new photos
would be called unknown more often than in float32. So the threshold of `unknown` moves by as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_classify.learn.open_set import FeatureSpace, OpenSet

# The regression's penalty, as a share of the rounded features' mean squared length: with a hundredth to ten times as
# much, a still camera's later photos get nearly the same labels.
_RIDGE = 0.3
# Each of so many parts of the photos is what new photos are, for the regression on the others.
_PARTS = 5


def correct_head(
    head: Mapping[str, np.ndarray], exact: Sequence[np.ndarray], rounded: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The head, as `write_head` takes it, with weights for rounded features.

    exact, rounded: the same photos' features [n, F] and, if there is one, middle layer [n, M], in float32 and in int8.
    With an `unknown` output the result has `offset` beside the other arrays.
    """
    change, constant = _fit_loss(exact[0] @ head["kernel"], rounded[0], head["kernel"])
    corrected = {**head, "kernel": head["kernel"] + change, "bias": head["bias"] + constant}
    if "prototypes" not in head:
        return corrected
    rows = _rows(head)
    units = _unit_parts(exact), _unit_parts(rounded)
    change, constant = _fit_loss(units[0] @ rows.T, units[1], rows.T)
    rows = rows + change.T
    dimensions = len(head["basis"])
    corrected |= {"basis": rows[:dimensions], "offset": constant}
    return corrected | ({"direction": rows[dimensions]} if "direction" in head else {})


def adjust_threshold(
    head: Mapping[str, np.ndarray],
    corrected: Mapping[str, np.ndarray],
    exact: Sequence[np.ndarray],
    rounded: Sequence[np.ndarray],
    photos: int,
) -> dict[str, np.ndarray]:
    """The corrected head, with a threshold by which *known* has the same logit as in float32, in the median photo.

    head, exact, rounded: as `correct_head` had them. photos: of how many the features are: row i is of photo
    i % photos, in whatever light. Photos that a regression was fitted to tell too little: each is judged by one
    without it. Of very few photos nothing can be told; then, and without an `unknown` output, nothing changes.
    """
    if "prototypes" not in head or photos < _PARTS:
        return dict(corrected)
    part_of = np.arange(len(exact[0])) % photos % _PARTS
    lost = np.empty(len(part_of))
    for part in range(_PARTS):
        judged, others = part_of == part, part_of != part
        fitted = correct_head(head, [rows[others] for rows in exact], [rows[others] for rows in rounded])
        lost[judged] = _known_logits(head, head, [rows[judged] for rows in exact])
        lost[judged] -= _known_logits(head, fitted, [rows[judged] for rows in rounded])
    threshold = np.array(head["threshold"])
    threshold[1] -= np.median(lost) / head["sharpness"][1]
    return {**corrected, "threshold": threshold}


def _known_logits(
    head: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], parts: Sequence[np.ndarray]
) -> np.ndarray:
    """The logits of *known*, (n,), of features and middle layer, by the head with basis and direction of `weights`."""
    space = FeatureSpace(parts[0].shape[1], head["basis"], head["prototypes"], head["votes"], head.get("shares"))
    products = _unit_parts(parts) @ _rows(weights).T + weights.get("offset", np.float32(0))
    dimensions = len(head["basis"])
    scores = space.scores_inside(products[:, :dimensions], products[:, dimensions:].sum(axis=1))
    return OpenSet(space, head["sharpness"], head["threshold"]).logits(scores)


def _rows(head: Mapping[str, np.ndarray]) -> np.ndarray:
    """Basis, and direction if there is one: [d, F + M] or [d + 1, F + M]."""
    return np.vstack([head[name] for name in ("basis", "direction") if name in head])


def _fit_loss(exact: np.ndarray, rounded: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What to add to weights [F, m], and to their products with rounded features, to come near the exact products.

    exact: [n, m]. rounded: features, [n, F]. Returns float32 [F, m] and [m]. The regression is in its dual form.
    """
    features, lost = rounded.astype(np.float64), exact - rounded.astype(np.float64) @ weights
    feature_mean, lost_mean = features.mean(axis=0), lost.mean(axis=0)
    features, lost = features - feature_mean, lost - lost_mean
    products = features @ features.T
    penalty = max(_RIDGE * np.trace(products) / len(products), np.finfo(np.float32).tiny)
    change = features.T @ np.linalg.solve(products + penalty * np.eye(len(products)), lost)
    return change.astype(np.float32), (lost_mean - feature_mean @ change).astype(np.float32)


def _unit_parts(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Each part of each photo of unit length, one beside the other: [n, F + M]."""
    lengths = [np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.finfo(np.float32).tiny) for part in parts]
    return np.concatenate([part / length for part, length in zip(parts, lengths, strict=True)], axis=1)
