"""States that a person can use: steady against single frames, prompt when things change."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge_classify import Classifier, Frame, UsageError
from edge_classify.pipeline.decision import Decision
from edge_classify.pipeline.loop import classify_frames
from edge_classify.pipeline.pacing import Pace
from edge_classify.pipeline.stillness import Stillness
from edge_classify.sources import demo

LABELS = ("cup", "key", "unknown")
CUP, KEY, STRANGE = (0.9, 0.05, 0.05), (0.05, 0.9, 0.05), (0.05, 0.05, 0.9)


def states(decision: Decision, frames: list[tuple[float, ...]], fps: float = 30) -> list[str]:
    found = []
    for number, scores in enumerate(frames):
        decision.update(np.array(scores, np.float32), number / fps)
        found.append(decision.state)
    return found


def demo_frames(first: int, count: int) -> Iterator[Frame]:
    """The demo at 30 frames a second; every seventh picture is lost to the light."""
    for number in range(first, first + count):
        image = demo.draw(number).image
        yield Frame(image // 12 if number % 7 == 0 else image, number, number / 30, "demo")


def test_bad_frames_change_no_state_where_they_change_the_frames_answers() -> None:
    classifier = Classifier()
    results = list(classify_frames(demo_frames(0, 140), classifier, Decision(classifier.labels)))

    def changes(found: list[str]) -> int:
        return sum(a != b for a, b in itertools.pairwise(found))

    # A sheet comes and goes, and the next comes.
    assert changes([result.classification.label for result in results]) > 10
    assert changes([result.state for result in results]) == 3
    # The first state, and each change, is told once.
    assert [result.change.state for result in results if result.change] == [
        state for state, _ in itertools.groupby(result.state for result in results)
    ]


@pytest.mark.parametrize("fps", [30, 5])
def test_a_true_change_is_told_within_five_frames_and_a_disturbance_of_five_never(fps: float) -> None:
    found = states(Decision(LABELS), [CUP] * 10 + [KEY] * 10, fps)
    assert found == ["cup"] * 15 + ["key"] * 5
    assert (
        states(Decision(LABELS), [CUP] * 10 + [STRANGE, KEY, STRANGE, KEY, STRANGE] + [CUP] * 10, fps) == ["cup"] * 25
    )


def test_where_frames_are_rare_a_second_look_is_enough() -> None:
    assert states(Decision(LABELS), [CUP, CUP, KEY, CUP, KEY, KEY], fps=1) == ["cup"] * 5 + ["key"]


def test_smoothing_0_gives_the_frames_own_answers() -> None:
    frames = [CUP, KEY, STRANGE, (0.36, 0.34, 0.3), CUP]
    decision = Decision(LABELS, smoothing=0, threshold_high=0)
    assert states(decision, frames) == ["cup", "key", "unknown", "cup", "cup"]


def test_smoothing_averages_over_frames_and_forgets_what_is_long_ago() -> None:
    options = {"dwell": 0, "threshold_high": 0, "smoothing": 5}
    assert states(Decision(LABELS, **options), [CUP] * 5 + [KEY, KEY, CUP]) == ["cup"] * 6 + ["key"] + ["cup"]
    assert states(Decision(LABELS, **options), [CUP] * 5 + [KEY], fps=0.5) == ["cup"] * 5 + ["key"]


def test_a_label_is_taken_up_at_the_high_threshold_and_given_up_below_the_low() -> None:
    decision = Decision(("cup", "key"), dwell=0, threshold_high=0.6, threshold_low=0.4)
    frames = [(0.55, 0.45), (0.65, 0.35), (0.45, 0.55), (0.39, 0.55), (0.55, 0.45), (0.3, 0.7)]
    assert states(decision, frames) == ["unknown", "cup", "cup", "unknown", "unknown", "key"]


def test_dwell_in_seconds_counts_the_time_whatever_the_frame_rate() -> None:
    for fps in (4, 16):  # whose times are exact
        found = states(Decision(LABELS, dwell_seconds=0.5), [CUP] * 10 + [KEY] * 20, fps)
        assert found.index("key") == 10 + fps / 2


def test_a_change_tells_what_was_before_and_for_how_long() -> None:
    decision = Decision(LABELS, dwell=0)
    first = decision.update(np.array(CUP, np.float32), 10.0)
    assert first is not None
    assert (first.state, first.previous, first.lasted) == ("cup", None, None)
    assert decision.update(np.array(CUP, np.float32), 11.0) is None
    second = decision.update(np.array(KEY, np.float32), 12.5)
    assert second is not None
    assert (second.state, second.previous, second.lasted) == ("key", "cup", 2.5)
    assert second.score == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold_high": 0.3, "threshold_low": 0.5}, "the thresholds are 0.3"),
        ({"threshold_high": float("nan")}, "the thresholds are nan"),
        ({"smoothing": -1}, "smoothing is -1"),
        ({"smoothing": float("nan")}, "smoothing is nan"),
        ({"dwell": -1}, "dwell is negative"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Decision(LABELS, **options)  # type: ignore[arg-type]


def test_still_pictures_are_not_classified_and_a_change_in_them_is_seen_at_once() -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (480, 640, 3)).astype(np.int16)
    noise = rng.normal(0, 5, scene.shape).astype(np.int16)

    def picture(level: int) -> np.ndarray:
        scene[150:190, 200:240] = level  # a hundredth of the picture
        return np.clip(scene + np.roll(noise, int(rng.integers(480)), 0), 0, 255).astype(np.uint8)

    stillness = Stillness()
    skipped = [stillness.shows_nothing_new(picture(90), number / 30) for number in range(20)]
    assert skipped[:8] == [False] * 8
    assert skipped[9:] == [True] * 11
    assert not stillness.shows_nothing_new(picture(160), 20 / 30)
    # What a still picture shows is looked at again after a second.
    later = [stillness.shows_nothing_new(picture(160), 1 + number / 30) for number in range(40)]
    assert 1 <= later[10:].count(False) <= 3


def test_a_picture_that_stops_changing_still_reaches_its_state() -> None:
    classifier = Classifier()
    images = [demo.draw(number).image for number in (100, 50)]
    frames = (Frame(images[number >= 30], number, number / 30, "") for number in range(60))
    results = list(classify_frames(frames, classifier, Decision(classifier.labels), Stillness()))
    assert any(result.still for result in results)
    assert all(result.timing_ms.inference == 0 for result in results if result.still)
    assert [result.change.state for result in results if result.change] == [
        results[0].classification.label,
        results[-1].classification.label,
    ]


def test_frames_are_taken_no_faster_than_asked() -> None:
    began = time.perf_counter()
    frames = (Frame(np.empty((1, 1, 3), np.uint8), number, 0.0, "") for number in range(6))
    assert len(list(Pace(50).frames(frames))) == 6
    assert time.perf_counter() - began >= 5 / 50


def test_a_throttled_device_takes_fewer_frames_until_it_recovers() -> None:
    throttled = True
    pace = Pace(None, lambda: throttled, poll=0.02)

    def frames() -> Iterator[Frame]:
        while True:
            time.sleep(0.002)
            yield Frame(np.empty((1, 1, 3), np.uint8), 0, 0.0, "")

    taken = pace.frames(frames())
    until = time.perf_counter() + 20
    while pace.factor < 8 and time.perf_counter() < until:
        next(taken)
    began = time.perf_counter()
    for _ in range(5):
        next(taken)
    assert time.perf_counter() - began >= 5 * 0.002 * 6
    throttled = False
    while pace.factor > 1 and time.perf_counter() < until:
        next(taken)
    assert pace.factor == 1
