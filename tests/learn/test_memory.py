"""What a model file remembers of its photos, and a class added with that alone, on features around known centres."""

from __future__ import annotations

import numpy as np
import pytest

from edge_classify.learn.adding import Known, add_photos, fit_class
from edge_classify.learn.head import Head, softmax
from edge_classify.learn.memory import decode, encode, remember
from edge_classify.learn.photos.photo_set import NEGATIVE

FEATURES, MIDDLE = 48, 16


def clusters(each: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows like a backbone's, around as many directions, sorted by class."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).uniform(0, 1, (classes, FEATURES + MIDDLE))
    labels = np.repeat(np.arange(classes), each)
    rows = centres[labels] + rng.normal(0, 0.3, (len(labels), FEATURES + MIDDLE))
    return np.clip(rows, 0, 6).astype(np.float32), labels


def test_a_memory_comes_back_about_as_it_was() -> None:
    rows, labels = clusters(30, 3, 0)
    labels = np.where(labels == 2, NEGATIVE, labels)
    memory = remember(rows, FEATURES, labels, np.array([300, 30]), per_class=10)
    again = decode(encode(memory), memory.counts, FEATURES, MIDDLE)
    assert again.features == FEATURES
    assert again.labels.tolist() == [NEGATIVE] * 10 + [0] * 10 + [1] * 10
    assert again.counts.tolist() == [300, 30]
    cosines = (again.rows * memory.rows).sum(axis=1)
    cosines /= np.linalg.norm(again.rows, axis=1) * np.linalg.norm(memory.rows, axis=1)
    assert cosines.min() > 0.995
    assert encode(again) == encode(memory)  # nothing is lost by writing it again and again


@pytest.mark.parametrize("middle", [MIDDLE, 0])
def test_the_order_of_photos_does_not_change_a_byte(middle: int) -> None:
    rows, labels = clusters(60, 3, 0)
    rows = rows[:, : FEATURES + middle]
    order = np.random.default_rng(2).permutation(len(rows))
    counts = np.array([60, 60, 60])
    first, second = (remember(rows[at], FEATURES, labels[at], counts) for at in (np.arange(len(rows)), order))
    assert encode(first) == encode(second)


def test_what_is_remembered_is_spread_and_has_no_photo_twice() -> None:
    rows, labels = clusters(100, 1, 0)
    memory = remember(np.concatenate([rows, rows[:50]]), FEATURES, np.append(labels, labels[:50]), np.array([100]), 10)
    assert len(np.unique(memory.rows, axis=0)) == 10
    error = np.linalg.norm(memory.rows.mean(axis=0) - rows.mean(axis=0))
    drawn = np.random.default_rng(0)
    errors = [np.linalg.norm(drawn.permutation(rows)[:10].mean(axis=0) - rows.mean(axis=0)) for _ in range(20)]
    assert error < min(errors)


@pytest.mark.parametrize("keep", [0, 6, 200, -1])
def test_a_damaged_memory_is_told(keep: int) -> None:
    data = encode(remember(*clusters(5, 2, 0)[:1], FEATURES, np.repeat([0, 1], 5), np.array([5, 5])))
    with pytest.raises(ValueError, match="damaged memory"):
        decode(data[:keep], np.array([5, 5]), FEATURES, MIDDLE)
    with pytest.raises(ValueError, match="not there"):
        decode(data, np.array([5]), FEATURES, MIDDLE)


def test_an_added_class_is_known_and_the_others_keep_their_answers() -> None:
    rows, labels = clusters(40, 4, 0)
    old = labels < 3
    kernel = np.stack([rows[labels == label, :FEATURES].mean(axis=0) for label in range(3)], axis=1)
    head = Head(kernel, (-(kernel**2).sum(axis=0) / 2).astype(np.float32))
    memory = remember(rows[old], FEATURES, labels[old], np.array([40, 40, 40]), per_class=10)
    features = np.concatenate([memory.rows, rows[labels == 3][:20]])[:, :FEATURES]
    fitted_on = np.append(memory.labels, np.full(20, 3))
    changed = fit_class(head, 3, features, fitted_on, np.ones(50), np.zeros((50, 4)))
    assert changed.head.kernel[:, :3] == pytest.approx(kernel)
    assert changed.head.bias[:3] == pytest.approx(head.bias)

    new_rows, truth = clusters(100, 4, 3)
    answers = changed.head.probabilities(new_rows).argmax(axis=1)
    before = head.probabilities(new_rows).argmax(axis=1)
    assert (answers == truth)[truth == 3].mean() > 0.95
    assert (answers == before)[truth < 3].mean() > 0.98
    # What is said of the photos themselves is said without having seen them.
    left_out = softmax(changed.logits)[np.arange(50), fitted_on]
    seen = changed.head.probabilities(features)[np.arange(50), fitted_on]
    assert left_out[30:].mean() < seen[30:].mean()


def test_left_out_logits_are_those_of_a_fit_without_the_photo() -> None:
    rows, labels = clusters(12, 2, 5)
    head = Head(np.zeros((FEATURES, 1), np.float32), np.zeros(1, np.float32))
    features = rows[:, :FEATURES] / 4  # not so far apart that every fit is sure
    votes = np.random.default_rng(1).normal(0, 1, (24, 2))
    logits = fit_class(head, 1, features, labels, np.ones(24), votes).logits
    for photo in (0, 15, 23):
        others = np.arange(24) != photo
        without = fit_class(head, 1, features[others], labels[others], np.ones(23), votes[others]).head
        expected = without.logits(features[photo : photo + 1])[0, 1] + votes[photo, 1]
        assert logits[photo, 1] == pytest.approx(expected, abs=0.5)


def test_many_classes_and_photos_are_bounded() -> None:
    rows, labels = clusters(12, 250, 0)
    memory = remember(rows, FEATURES, labels, np.full(250, 12))
    assert len(memory.rows) == 2000  # of 3000: as many of each class
    head = Head(np.zeros((FEATURES, 250), np.float32), np.zeros(250, np.float32))
    new = np.clip(np.random.default_rng(9).normal(1, 0.3, (3000, FEATURES + MIDDLE)), 0, 6).astype(np.float32)
    known = Known(head, memory, vote_weight=2.0, keep=0.95, balanced=True, blanks=None)
    added = add_photos(known, new, np.full(3000, 250))
    assert len(added.labels) == 502
    assert added.memory.counts[-1] == 3000
    assert (added.memory.labels == 250).sum() == 7
