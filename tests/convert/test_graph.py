"""The graph of a model file against the formula that was fitted."""

from __future__ import annotations

import numpy as np

from edge_classify.learn.head import softmax
from edge_classify.learn.open_set import (
    SHAPE_CONSTANTS,
    fit_direction,
    fit_feature_space,
    fit_open_set,
    with_unknown,
)


def test_the_graph_computes_the_open_set_output_as_it_was_fitted() -> None:
    import tensorflow as tf

    from edge_convert.graph import ModelGraph

    rng = np.random.default_rng(0)
    features, middle, labels = 64, 8, np.arange(120) % 3
    centres = rng.uniform(0, 2, (4, features + middle))
    own = np.abs(centres[labels] + rng.normal(0, 0.25, (120, features + middle))).astype(np.float32)
    others = np.abs(centres[[3] * 40] + rng.normal(0, 0.5, (40, features + middle))).astype(np.float32)
    between = (np.linspace(0, 1, 40)[:, None] * own[:40] + np.linspace(1, 0, 40)[:, None] * others).astype(np.float32)
    plain, of_one_scene = (fit_feature_space(own, labels, features, seed=0, one_scene=one) for one in (False, True))
    kernel, bias = rng.normal(0, 0.3, (features, 3)).astype(np.float32), np.array([0.1, -0.2, 0.3], np.float32)
    rows = np.concatenate([own, others, between])
    logits = rows[:, :features] @ kernel + bias
    for space in (plain, of_one_scene, fit_direction(plain, own, others)):
        open_set = fit_open_set(space, space.scores(own), np.full(120, 0.9), keep=0.95)
        head = {"kernel": kernel, "bias": bias, **space.arrays()}
        constants = {
            **SHAPE_CONSTANTS,
            "vote_weight": 4.5,
            "sharpness": open_set.sharpness,
            "threshold": open_set.threshold,
        }
        head |= {name: np.asarray(value, np.float32) for name, value in constants.items()}
        graph = ModelGraph(lambda parts: parts, None, head, 96)  # type: ignore[arg-type]
        parts = ([tf.constant(row[None, :features]), tf.constant(row[None, features:])] for row in rows)
        computed = np.concatenate([graph._probabilities(part).numpy() for part in parts])
        fitted = with_unknown(softmax(logits + 4.5 * space.answers(rows, 3)), open_set.known(rows))
        assert fitted[:, 3].min() < 0.1 < 0.9 < fitted[:, 3].max()
        # The fit is steep here, which multiplies the rounding of float32.
        assert np.abs(computed - fitted).max() < 1e-3
