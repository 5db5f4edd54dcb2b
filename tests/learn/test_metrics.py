"""The metrics in reports and model files, against worked examples."""

from __future__ import annotations

import numpy as np
import pytest

from edge_classify.learn.metrics import (
    auroc,
    calibration_error,
    confusion,
    evaluate,
    fpr_at_tpr,
    pareto_front,
    wilson_interval,
)


def test_accuracy_ignores_unknown_and_accuracy_with_unknown_does_not() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.25, 0.15, 0.6], [0.1, 0.8, 0.1]])
    metrics = evaluate(probabilities, np.array([0, 1, 0, 0]), ("cup", "key"))
    assert metrics["accuracy"] == 0.75  # the third is a cup, though it is called unknown
    assert metrics["kept"] == 0.75
    assert metrics["accuracy_with_unknown"] == 0.5
    assert metrics["per_class"]["cup"] == {"photos": 3, "precision": 1.0, "recall": pytest.approx(2 / 3)}
    assert metrics["per_class"]["key"] == {"photos": 1, "precision": 0.5, "recall": 1.0}


def test_a_row_of_the_confusion_matrix_is_a_true_class() -> None:
    assert confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist() == [[1, 1], [0, 1]]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = np.full(100, 0.95)
    assert calibration_error(sure, np.arange(100) < 95) == pytest.approx(0)
    assert calibration_error(sure, np.arange(100) < 70) == pytest.approx(0.25)
    half = np.concatenate([np.full(50, 0.55), np.full(50, 1.0)])
    correct = np.concatenate([np.arange(50) < 40, np.ones(50, bool)])
    assert calibration_error(half, correct) == pytest.approx((0.8 - 0.55) / 2)


def test_the_interval_is_wilson_s() -> None:
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)


def test_fpr_at_tpr_is_the_fraction_of_strangers_accepted() -> None:
    known, strange = np.linspace(0, 1, 101), np.array([-1.0, 0.04, 0.06, 0.9])
    assert fpr_at_tpr(known, strange, keep=0.95) == 0.5


@pytest.mark.parametrize(
    ("known", "strange", "area"),
    [
        ([0.9, 0.8], [0.1, 0.2], 1),
        ([0.1], [0.9], 0),
        ([0.5, 0.5], [0.5], 0.5),
        ([0.3, 0.7], [0.5, 0.5], 0.5),
        ([2.0, 3.0], [1.0, 2.0], 0.875),
    ],
)
def test_auroc_is_the_area_under_the_roc_curve(known: list[float], strange: list[float], area: float) -> None:
    assert auroc(np.array(known), np.array(strange)) == area


def test_the_pareto_front_has_what_nothing_beats_in_cost_and_accuracy() -> None:
    models = {"slow": (9, 0.9), "fast": (1, 0.7), "beaten": (2, 0.6), "middle": (4, 0.8), "equal": (4, 0.8)}
    front = pareto_front(models, cost=lambda name: models[name][0], accuracy=lambda name: models[name][1])
    assert front == ["fast", "middle", "slow"]
