"""The learning curve: it says that more photos help where they do, and nowhere else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edge_classify.learn.learning_curve import SHARES, Growth, LearningCurve, Trials, advise, draw_learning_curve

NAMES = ("cup", "key", "moss")


def make_photos(each: int, copies: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (n, 2), labels and groups: cups and keys are two blobs, mosses are everywhere around, a few in one place.

    copies: of each point, in one group.
    """
    rng = np.random.default_rng(0)
    places = rng.uniform(-40, 40, (each // 4, 2))
    moss = places[np.arange(each) % len(places)]
    blobs = [np.tile([[-3.0, 0]], (each, 1)), np.tile([[3.0, 0]], (each, 1)), moss]
    points = np.concatenate(blobs) + rng.normal(0, 0.3, (3 * each, 2))
    labels = np.repeat(np.arange(3), each)
    order = np.repeat(rng.permutation(len(labels)), copies)
    return points[order], labels[order], np.repeat(np.arange(len(labels)), copies)


def try_out(
    points: np.ndarray, labels: np.ndarray, groups: np.ndarray, seen: Callable[..., None] = lambda *_: None
) -> Trials:
    """By the nearest photo, as long as it is near; otherwise a cup."""

    def answer(fitted: np.ndarray, tried: np.ndarray) -> np.ndarray:
        seen(fitted, tried)
        distances = np.linalg.norm(points[tried][:, None] - points[fitted], axis=2)
        return np.where(distances.min(axis=1) < 2, labels[fitted][distances.argmin(axis=1)], 0)

    folds = [(np.flatnonzero(groups % 5 != fold), np.flatnonzero(groups % 5 == fold)) for fold in range(5)]
    return Trials(labels, groups, folds, answer, seed=1)


def draw(*photos: np.ndarray) -> LearningCurve:
    return draw_learning_curve(try_out(*photos), NAMES)


def test_the_class_that_gains_is_named_and_no_other() -> None:
    curve = draw(*make_photos(120))
    assert curve.growing() == ["moss"]
    growth = curve.classes["moss"]
    assert list(growth.recognised) == sorted(growth.recognised)
    assert growth.recognised[-1] - growth.recognised[1] > 0.1
    assert all(low <= share <= high for share, (low, high) in zip(growth.recognised, growth.intervals, strict=True))
    assert curve.sentence().startswith("more photos of moss would help: with all photos instead of half of them, ")
    assert curve.sentence().endswith(" of moss are recognised")
    assert curve.classes["cup"].recognised == [1.0] * 4
    assert LearningCurve.decode(json.loads(json.dumps(curve.encode()))) == curve


@pytest.mark.parametrize(
    ("each", "said"),
    [(400, "would hardly help"), (30, "cannot be told from chance"), (8, "too few photos to tell")],
)
def test_photos_that_are_enough_or_too_few_to_tell_are_called_so(each: int, said: str) -> None:
    points, labels, groups = make_photos(each)
    points[labels == 2] = [0, 9]  # now mosses are all in one place too,
    labels[groups % 4 == 3] = 1  # and a few of each class look like another
    sentence = draw(points, labels, groups).sentence()
    assert said in sentence
    assert "would help" not in sentence


def test_advice_alone_fits_only_halves_where_these_show_that_there_is_none() -> None:
    parts: list[np.ndarray] = []
    points, labels, groups = make_photos(120)
    assert advise(try_out(points, labels, groups), NAMES) == draw(points, labels, groups).advice() is not None
    points[labels == 2] = [0, 9]
    assert advise(try_out(points, labels, groups, lambda fitted, _: parts.append(fitted)), NAMES) is None
    assert draw(points, labels, groups).advice() is None
    assert len(parts) == 2 * 5  # on all photos, and on half of them


def test_half_of_the_photos_that_was_unlucky_is_no_reason_for_more() -> None:
    shares = (0.7, 0.6, 0.75, 0.78)
    growth = Growth([10, 20, 30, 40], shares, [(0.0, 1.0)] * 4, groups=100, won=[9, 20, 5], lost=[5, 2, 4])
    assert not growth.still_grows(1)
    assert replace(growth, won=[15, 20, 5]).still_grows(1)


def test_chance_alone_names_no_class() -> None:
    rng = np.random.default_rng(0)
    folds = [
        (np.flatnonzero(np.arange(300) % 5 != fold), np.flatnonzero(np.arange(300) % 5 == fold)) for fold in range(5)
    ]
    named = 0
    for seed in range(100):
        trials = Trials(
            np.arange(300) % 3, np.arange(300), folds, lambda _, tried: rng.integers(0, 3, len(tried)), seed
        )
        curve = draw_learning_curve(trials, NAMES)
        named += "would help" in curve.sentence()
    assert named <= 10


def test_a_burst_is_fitted_on_as_a_whole_and_counts_once() -> None:
    points, labels, groups = make_photos(120, copies=6)
    parts: list[np.ndarray] = []
    curve = draw_learning_curve(try_out(points, labels, groups, lambda fitted, _: parts.append(fitted)), NAMES)
    for fold in range(5):
        own = parts[fold::5]
        for share, part in zip(SHARES, own, strict=True):
            assert set(np.bincount(groups[part])) <= {0, 6}
            assert len(part) == pytest.approx(share * len(own[-1]), rel=0.06)
        assert all(set(small) < set(large) for small, large in itertools.pairwise(own))
    single = draw(*make_photos(120))
    assert curve.classes["moss"].groups == single.classes["moss"].groups == 120
    assert curve.classes["moss"].won == pytest.approx(single.classes["moss"].won, abs=9)
    assert curve.classes["moss"].lost == pytest.approx(single.classes["moss"].lost, abs=3)
    widths = [each.classes["moss"].intervals[1][1] - each.classes["moss"].intervals[1][0] for each in (curve, single)]
    assert widths[0] == pytest.approx(widths[1], rel=0.15)


def test_a_class_that_is_one_burst_is_in_every_part() -> None:
    labels = np.repeat([0, 1], 40)
    groups = np.concatenate([np.zeros(40, int), np.arange(1, 41)])
    counts = []
    folds = [(np.arange(80), np.arange(40, 80))]
    trials = Trials(labels, groups, folds, lambda part, tried: counts.append(len(part)) or labels[tried], 0)
    draw_learning_curve(trials, ("a", "b"))
    assert counts == [50, 60, 70, 80]
