"""Whether fine-tuned weights are taken, and how far."""

from __future__ import annotations

import numpy as np
import pytest

from edge_classify.learn.cross_validation import Fold
from edge_classify.learn.head import Head
from edge_train.fine_tuned_fit import choose_share
from edge_train.fine_tuning import TunedWeights
from edge_train.fitting import folds_to_tune

LABELS = np.arange(400) % 4


def make_logits(margin: float, wrong: int = 0) -> np.ndarray:
    """The true class leads by `margin` and noise, but in the first `wrong` photos, where it is last by as much."""
    logits = np.random.default_rng(0).normal(0, 0.4, (len(LABELS), 4))
    logits[np.arange(len(LABELS)), LABELS] += margin * np.where(np.arange(len(LABELS)) < wrong, -1, 1)
    return logits


def test_the_share_whose_probabilities_are_best_is_taken() -> None:
    tuned = {0.5: make_logits(2.6, wrong=10), 1.0: make_logits(2.4, wrong=20)}
    assert choose_share(make_logits(2.0, wrong=30), tuned, LABELS) == 0.5


def test_confidence_alone_is_no_gain() -> None:
    frozen = make_logits(2.0, wrong=30)
    assert choose_share(frozen, {0.25: 0.3 * frozen, 0.5: 1.5 * frozen, 1.0: 9 * frozen}, LABELS) == 0
    assert choose_share(0.3 * frozen, {1.0: frozen}, LABELS) == 0


def test_a_gain_that_chance_explains_leaves_the_network_frozen() -> None:
    frozen, other = make_logits(1.5, wrong=30), make_logits(1.5, wrong=30)
    other[:2] += 3 * np.eye(4)[LABELS[:2]]
    other[2] -= 2 * np.eye(4)[LABELS[2]]
    assert choose_share(frozen, {1.0: other}, LABELS) == 0


def test_no_share_is_taken_that_recognises_fewer_photos() -> None:
    frozen, other = make_logits(2.0, wrong=9), make_logits(2.0)
    other[:10] = 0.1 * np.eye(4)[(LABELS[:10] + 1) % 4]  # wrong, but hardly
    assert choose_share(frozen, {1.0: other}, LABELS) == 0
    other[0] = 0.1 * np.eye(4)[LABELS[0]]
    assert choose_share(frozen, {1.0: other}, LABELS) == 1


@pytest.mark.parametrize(("photos", "networks"), [(20, 5), (139, 3), (200, 2), (400, 1)])
def test_few_networks_judge_where_folds_are_large(photos: int, networks: int) -> None:
    folds = [Fold(np.arange(4 * photos), np.arange(photos)) for _ in range(5)]
    assert len(folds_to_tune(folds)) == networks


def test_half_of_the_way_lies_between_both_in_every_weight() -> None:
    start = TunedWeights([np.zeros((2, 2), np.float32)], Head(np.ones((2, 3), np.float32), np.zeros(3, np.float32)))
    end = TunedWeights([np.ones((2, 2), np.float32)], Head(np.zeros((2, 3), np.float32), np.ones(3, np.float32)))
    half = start.towards(end, 0.5)
    for array in (*half.upper, half.head.kernel, half.head.bias):
        assert array.dtype == np.float32
        assert (array == 0.5).all()
