"""The head and the `unknown` output, on features drawn around known class centres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_classify.learn.head import Curves, Examples, HeadSettings, fit_head, fit_temperature, head_logits, softmax
from edge_classify.learn.metrics import auroc
from edge_classify.learn.open_set import FeatureSpace, fit_direction, fit_feature_space, fit_open_set, with_unknown
from edge_classify.learn.rows import Rows

FEATURES, MIDDLE = 64, 16


def clusters(count: int, seed: int, spread: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Rows like a backbone's, around three directions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).uniform(0, 1, (3, FEATURES + MIDDLE))
    labels = rng.integers(0, 3, count)
    rows = centres[labels] + rng.normal(0, spread, (count, FEATURES + MIDDLE))
    return np.clip(rows, 0, 6).astype(np.float32), labels


def examples(folder: Path, rows: np.ndarray, labels: np.ndarray) -> Examples:
    stored = Rows(folder, rows.shape[1:], np.float32)
    for row in rows:
        stored.append(row)
    return Examples(stored, 1, np.arange(len(labels)), labels, np.ones(3, np.float32))


def test_rows_come_back_in_any_order(tmp_path: Path) -> None:
    rows = Rows(tmp_path, (2, 3), np.uint8)
    pictures = np.random.default_rng(0).integers(0, 256, (50, 2, 3), dtype=np.uint8)
    for picture in pictures:
        rows.append(picture)
    assert (rows.read([49, 0, 7, 7]) == pictures[[49, 0, 7, 7]]).all()
    assert list(tmp_path.iterdir()) == []  # nothing to clean up after a crash


def test_the_head_separates_what_can_be_separated(tmp_path: Path) -> None:
    settings = HeadSettings(epochs=30, learning_rate=1e-3)
    curves = Curves()
    head, epochs = fit_head(examples(tmp_path, *clusters(300, 2)), None, FEATURES, settings, seed=0, curves=curves)
    rows, labels = clusters(300, 3)
    probabilities = head.probabilities(rows)
    assert head.kernel.shape == (FEATURES, 3)
    assert epochs == len(curves.epoch_loss) == 30
    assert len(curves.batch_loss) == 30 * 10
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.95


def test_fitting_stops_early_and_takes_the_best_weights(tmp_path: Path) -> None:
    rows, labels = clusters(60, 2, spread=1.2)  # so few and so noisy that fitting on goes wrong
    validation = examples(tmp_path, *clusters(400, 3, spread=1.2))
    settings = HeadSettings(epochs=200, learning_rate=0.01, patience=8, label_smoothing=0)
    curves = Curves()
    few = examples(tmp_path, rows, labels)
    head, epochs = fit_head(few, validation, FEATURES, settings, seed=0, curves=curves)
    assert len(curves.validation_loss) == epochs + 8 < 200
    assert min(curves.validation_loss) == curves.validation_loss[epochs - 1]
    logits = head_logits(head, validation, validation.photos)
    loss = -np.log(softmax(logits)[np.arange(400), validation.labels]).mean()
    assert loss == pytest.approx(curves.validation_loss[epochs - 1], abs=1e-5)


def test_class_weights_help_rare_classes(tmp_path: Path) -> None:
    rows, labels = clusters(900, 4, spread=1.5)
    kept = (labels != 2) | (np.arange(900) % 12 == 0)
    plain = examples(tmp_path, rows[kept], labels[kept])
    counts = np.bincount(plain.labels)
    weighted = Examples(plain.rows, 1, plain.photos, plain.labels, (counts.sum() / (3 * counts)).astype(np.float32))
    new, truth = clusters(1500, 5, spread=1.5)
    settings = HeadSettings(epochs=20)
    recalls = [
        (fit_head(chosen, None, FEATURES, settings, 0)[0].probabilities(new[truth == 2]).argmax(axis=1) == 2).mean()
        for chosen in (plain, weighted)
    ]
    assert recalls[1] > recalls[0] + 0.1


def test_the_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits)])
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.1)
    assert fit_temperature(logits * 3, labels) == pytest.approx(3, abs=0.3)


def test_ten_photos_that_are_all_right_are_no_certainty() -> None:
    labels = np.arange(10) % 2
    logits = 3 * np.eye(2)[labels]
    assert 0.8 < softmax(logits / fit_temperature(logits, labels)).max() < 0.97


@pytest.mark.parametrize("keep", [0.9, 0.97])
def test_the_share_of_new_photos_asked_for_is_kept_and_negatives_are_rejected(keep: float) -> None:
    rows, labels = clusters(600, 4)
    space = fit_feature_space(rows, labels, FEATURES, seed=0)
    other_rows, _ = clusters(2000, 6)
    open_set = fit_open_set(space, space.scores(other_rows), np.full(2000, 0.99), keep)
    new, _ = clusters(2000, 5)
    sure = np.tile([0.99, 0.005, 0.005], (2000, 1))
    combined = with_unknown(sure, open_set.known(new))
    assert combined.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (combined.argmax(axis=1) < 3).mean() == pytest.approx(keep, abs=0.02)
    negatives = np.random.default_rng(6).uniform(0, 1, (500, FEATURES + MIDDLE)).astype(np.float32)
    assert (with_unknown(sure[:500], open_set.known(negatives)).argmax(axis=1) == 3).mean() > 0.95


def test_of_few_photos_the_share_asked_for_is_kept_too() -> None:
    rng = np.random.default_rng(12)
    space = fit_feature_space(*clusters(60, 4), FEATURES, seed=0)
    kept = []
    for _ in range(300):
        open_set = fit_open_set(space, rng.normal(0, 1, (40, 2)), np.full(40, 0.99), keep=0.95)
        new = rng.normal(0, 1, (500, 2))
        logits = open_set.sharpness * (new - open_set.threshold)
        kept.append((np.minimum(logits[:, 0], 0.03 * logits[:, 0]) + logits[:, 1] > 0).mean())
    assert np.mean(kept) == pytest.approx(0.95, abs=0.01)


def test_what_is_like_one_odd_photo_is_less_familiar_than_what_is_like_many() -> None:
    rows, labels = clusters(600, 4)
    odd = np.random.default_rng(13).uniform(0, 1, FEATURES + MIDDLE).astype(np.float32)
    rows[0] = odd
    space = fit_feature_space(rows, labels, FEATURES, seed=0)
    likeness = np.abs(odd + np.random.default_rng(14).normal(0, 0.05, (50, len(odd)))).astype(np.float32)
    own = space.scores(clusters(600, 5)[0])[:, 0]
    assert space.scores(likeness)[:, 0].max() < np.quantile(own, 0.02)


def test_of_a_scene_what_drifts_on_from_block_to_block_is_kept() -> None:
    """Each block of time is further from the photos fitted on, and so are the photos to come."""
    rows, labels = clusters(600, 4, spread=0.2)
    space = fit_feature_space(rows, labels, FEATURES, seed=0)
    drift = np.random.default_rng(8).normal(0, 0.02, FEATURES + MIDDLE).astype(np.float32)
    times = np.arange(1000) // 200
    (chosen_on, truth), later = clusters(1000, 6, spread=0.2), clusters(1000, 7, spread=0.2)[0] + 6 * drift
    scores = space.scores(chosen_on + times[:, None] * drift)
    blocks = np.stack([truth, times], axis=1)
    plain, of_a_scene = (fit_open_set(space, scores, np.full(1000, 0.99), 0.99, own) for own in (None, blocks))
    assert (plain.known(later) > 0.5).mean() < 0.88
    assert (of_a_scene.known(later) > 0.5).mean() > 0.92
    negatives = np.random.default_rng(6).uniform(0, 1, (500, FEATURES + MIDDLE)).astype(np.float32)
    assert (of_a_scene.known(negatives) < 0.5).mean() > 0.95


def test_a_picture_between_two_classes_is_rejected_by_membership() -> None:
    rows, labels = clusters(600, 4)
    others, _ = clusters(600, 6)
    space = fit_feature_space(rows, labels, FEATURES, seed=0)
    open_set = fit_open_set(space, space.scores(others), np.full(600, 0.99), 0.95)
    new, truth = clusters(600, 5)
    between = (new[truth == 0][:100] + new[truth == 1][:100]) / 2
    familiarity, membership = (
        (space.scores(new)[:, None, score] > space.scores(between)[None, :, score]).mean() for score in (0, 1)
    )
    assert membership > 0.95 > familiarity
    assert (open_set.known(new)[:, None] > open_set.known(between)[None]).mean() > 0.9


def test_a_rare_class_is_as_familiar_as_the_others() -> None:
    rows, labels = clusters(1500, 4)
    kept = (labels != 2) | (np.arange(1500) % 50 == 0)
    space = fit_feature_space(rows[kept], labels[kept], FEATURES, seed=0)
    inside = space.scores(rows[kept & (labels == 2)])[:, 0]
    others = space.scores(rows[kept & (labels == 1)])[:, 0]
    assert len(space.prototypes) == 512
    # All ten are prototypes: nothing is nearer than they are to themselves. Of the others only some are.
    assert np.median(inside) > np.median(others)


def test_a_direction_away_from_what_is_rejected_already_stays_small() -> None:
    rows, labels = clusters(400, 4, spread=0.1)
    rng = np.random.default_rng(7)
    # Far away but for a few, which are own photos by mistake: a full Newton step leads far beyond the minimum.
    negatives = rng.normal(0, 1, (60, FEATURES + MIDDLE)).astype(np.float32)
    negatives[:3] = rows[:3]
    space = fit_feature_space(rows, labels, FEATURES, seed=0)
    turned = fit_direction(space, rows, negatives)
    assert turned.direction is not None
    assert np.linalg.norm(turned.direction) < 5
    assert auroc(turned.scores(rows)[:, 0], turned.scores(negatives[3:])[:, 0]) > 0.95


def test_what_a_backbone_says_of_nothing_makes_no_picture_familiar() -> None:
    # A backbone that answers every picture with one large vector, and pictures of nothing with that alone.
    answer = np.random.default_rng(10).uniform(0, 2, FEATURES + MIDDLE)
    rng = np.random.default_rng(11)

    def add_answer(rows: np.ndarray) -> np.ndarray:
        return (0.5 * rows + answer * rng.uniform(0.5, 1.5, (len(rows), 1))).astype(np.float32)

    rows, labels = clusters(600, 4)
    nothing = add_answer(np.abs(rng.normal(0, 0.2, (140, FEATURES + MIDDLE))))
    spaces = [
        fit_feature_space(add_answer(rows), labels, FEATURES, seed=0, blanks=blanks) for blanks in (None, nothing[:40])
    ]
    new = add_answer(clusters(600, 5)[0])
    before, after = (auroc(space.scores(new)[:, 0], space.scores(nothing[40:])[:, 0]) for space in spaces)
    assert after > 0.98 > 0.9 > before


def test_negatives_to_learn_from_are_rejected_better() -> None:
    rows, labels = clusters(400, 4)
    rng = np.random.default_rng(7)
    # As familiar as the classes but for one direction, which a few of them show.
    negatives = clusters(300, 8)[0]
    negatives[:, 3] += 0.6 + rng.normal(0, 0.1, 300).astype(np.float32)
    space = fit_feature_space(rows, labels, FEATURES, seed=0)
    turned = fit_direction(space, rows, negatives[:100])
    new, _ = clusters(400, 9)

    def familiarity_auroc(space: FeatureSpace) -> float:
        return auroc(space.scores(new)[:, 0], space.scores(negatives[100:])[:, 0])

    assert familiarity_auroc(turned) > 0.9 > familiarity_auroc(space)


def test_of_an_epoch_of_very_many_batches_only_some_are_kept() -> None:
    curves, rng, losses = Curves(), np.random.default_rng(0), []
    for _ in range(2):
        batches = [np.arange(32)] * 1200
        for batch in batches:
            curves.add_batch(rng.dirichlet([1, 1], len(batch)), batch % 2)
            losses.append(curves.batch_loss[-1])
        curves.end_epoch(batches)
    assert len(curves.batch_loss) == len(curves.batch_accuracy) == 2 * 400
    assert curves.epoch_loss == pytest.approx([np.mean(losses[:1200]), np.mean(losses[1200:])])
