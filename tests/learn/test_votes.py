"""What the prototypes' answers add to a head, and that they add nothing where they say nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_classify.learn.head import Examples, HeadSettings, accuracy, fit_head, fit_temperature
from edge_classify.learn.open_set import fit_feature_space
from edge_classify.learn.rows import Rows
from edge_classify.learn.votes import fit_votes


def test_votes_tell_apart_what_no_single_feature_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(2, size=(2, 600))
    labels = first ^ second
    features = np.stack([first, 1 - first, second, 1 - second], axis=1) + rng.normal(0, 0.1, (600, 4))
    rows = Rows(tmp_path, (4,), np.float32)
    for row in features:
        rows.append(row)
    fitted, chosen_on, held_out = np.split(np.arange(600), 3)
    head, _ = fit_head(
        Examples(rows, 1, fitted, labels, np.ones(2, np.float32)), None, 4, HeadSettings(learning_rate=0.01), seed=0
    )
    space = fit_feature_space(rows.read(fitted), labels[fitted], 4, seed=0)

    temperature, weight = fit_votes(
        head.logits(rows.read(chosen_on)), space.answers(rows.read(chosen_on), 2), labels[chosen_on]
    )

    logits = head.logits(rows.read(held_out))
    assert accuracy(logits, labels[held_out]) < 0.7
    assert accuracy(logits / temperature + weight * space.answers(rows.read(held_out), 2), labels[held_out]) > 0.95


def test_votes_that_say_nothing_leave_the_head_as_it_is() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=300)
    logits = 2 * np.eye(3)[labels] + rng.normal(0, 1, (300, 3))
    temperature, weight = fit_votes(logits, np.full((300, 3), 1 / 3), labels)
    assert weight == 0
    assert abs(temperature / fit_temperature(logits, labels) - 1) < 1e-3


def test_a_class_that_was_not_fitted_on_gets_no_votes() -> None:
    """A fold may hold all photos of the last class."""
    rows = np.random.default_rng(0).uniform(0, 1, (40, 8)).astype(np.float32)
    space = fit_feature_space(rows, np.arange(40) % 2, 8, seed=0)
    answers = space.answers(rows, 3)
    assert answers.shape == (40, 3)
    assert (answers[:, 2] == 0).all()
