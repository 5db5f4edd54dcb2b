"""States: steady against single bad frames, prompt when things change. Also which frames are taken and skipped."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_classify import Classifier, Frame, UsageError
from edge_classify.pipeline import pacing
from edge_classify.pipeline.decision import Change, Decision
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
    """The demo at 30 frames per second; every seventh frame is nearly black."""
    for number in range(first, first + count):
        image = demo.draw(number).image
        yield Frame(image // 12 if number % 7 == 0 else image, number, number / 30, "demo")


def test_bad_frames_change_no_state_though_they_change_the_frames_answers() -> None:
    classifier = Classifier()
    results = list(classify_frames(demo_frames(0, 140), classifier, Decision(classifier.labels)))

    def changes(found: list[str]) -> int:
        return sum(a != b for a, b in itertools.pairwise(found))

    # A sheet comes and goes, and the next comes.
    assert changes([result.classification.label for result in results]) > 10
    assert changes([result.state for result in results]) == 3
    # The first state, and each change, is reported once.
    assert [result.change.state for result in results if result.change] == [
        state for state, _ in itertools.groupby(result.state for result in results)
    ]


@pytest.mark.parametrize("fps", [30, 5])
def test_a_true_change_is_seen_after_five_frames_and_a_disturbance_of_five_never(fps: float) -> None:
    found = states(Decision(LABELS), [CUP] * 10 + [KEY] * 10, fps)
    assert found == ["cup"] * 15 + ["key"] * 5
    assert (
        states(Decision(LABELS), [CUP] * 10 + [STRANGE, KEY, STRANGE, KEY, STRANGE] + [CUP] * 10, fps) == ["cup"] * 25
    )


def test_if_frames_are_rare_a_second_look_is_enough() -> None:
    assert states(Decision(LABELS), [CUP, CUP, KEY, CUP, KEY, KEY], fps=1) == ["cup"] * 5 + ["key"]


def test_smoothing_0_gives_the_frames_own_answers() -> None:
    frames = [CUP, KEY, STRANGE, (0.36, 0.34, 0.3), CUP]
    decision = Decision(LABELS, smoothing=0, threshold_high=0)
    assert states(decision, frames) == ["cup", "key", "unknown", "cup", "cup"]


def test_smoothing_averages_over_frames_and_forgets_what_is_long_ago() -> None:
    options = {"dwell": 0, "threshold_high": 0, "smoothing": 5}
    assert states(Decision(LABELS, **options), [CUP] * 5 + [KEY, KEY, CUP]) == ["cup"] * 6 + ["key"] + ["cup"]
    assert states(Decision(LABELS, **options), [CUP] * 5 + [KEY], fps=0.5) == ["cup"] * 5 + ["key"]


def test_a_label_begins_at_the_high_threshold_and_ends_below_the_low() -> None:
    decision = Decision(("cup", "key"), dwell=0, threshold_high=0.6, threshold_low=0.4)
    frames = [(0.55, 0.45), (0.65, 0.35), (0.45, 0.55), (0.39, 0.55), (0.55, 0.45), (0.3, 0.7)]
    assert states(decision, frames) == ["unknown", "cup", "cup", "unknown", "unknown", "key"]


def test_dwell_in_seconds_counts_the_time_whatever_the_frame_rate() -> None:
    for fps in (4, 16):  # whose times are exact
        found = states(Decision(LABELS, dwell_seconds=0.5), [CUP] * 10 + [KEY] * 20, fps)
        assert found.index("key") == 10 + fps / 2


def test_a_change_has_the_state_before_and_how_long_it_lasted() -> None:
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
        (
            {"threshold_high": 0.3, "threshold_low": 0.5},
            r"threshold_low \(0.5\) must not be above .* \(0.3\)",
        ),
        ({"threshold_low": 0.5}, r"threshold_low \(0.5\) must not be above threshold_high \(0.4\)"),
        ({"threshold_high": float("nan")}, "threshold_high is nan: it must be from 0 to 1"),
        ({"threshold_low": -0.1}, "threshold_low is -0.1: it must be from 0 to 1"),
        ({"smoothing": -1}, "smoothing is -1"),
        ({"smoothing": float("nan")}, "smoothing is nan"),
        ({"dwell": -1}, "dwell is -1: it must not be negative"),
        ({"dwell_seconds": -1}, "dwell_seconds is -1: it must not be negative"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Decision(LABELS, **options)  # type: ignore[arg-type]


settings_of_decisions = st.fixed_dictionaries(
    {
        "smoothing": st.sampled_from((0, 1, 1.5, 3, 20)),
        "threshold_high": st.sampled_from((0.0, 0.3, 0.4, 0.9, 1.0)),
        "dwell": st.integers(0, 6),
        "dwell_seconds": st.sampled_from((None, 0.0, 0.25, 1.0)),
    }
)
label_sets = st.sampled_from((LABELS, ("cup", "key", "hat"), ("unknown", "cup", "key")))
SCORES = [np.array(scores, np.float32) for scores in (CUP, KEY, STRANGE, (0.35, 0.33, 0.32), (0.0, 0.5, 0.5))]


@st.composite
def streams(draw: st.DrawFn) -> tuple[tuple[str, ...], dict[str, Any], list[np.ndarray], list[float]]:
    """(labels, settings, scores of each frame, time of each frame in seconds): whatever a camera may bring.

    Times are multiples of 1/64 s, so that shifting them is exact.
    """
    frame = st.tuples(st.sampled_from(SCORES), st.sampled_from((2, 2, 0, 1, 13, 32, 64, 200)))
    scores, steps = zip(*draw(st.lists(frame, min_size=1, max_size=40)), strict=True)
    return draw(label_sets), draw(settings_of_decisions), list(scores), list(np.cumsum(steps) / 64)


def changes(decision: Decision, scores: list[np.ndarray], times: list[float]) -> list[tuple[int, Change]]:
    """Each change of state with the number of its frame."""
    updates = map(decision.update, scores, times)
    return [(number, change) for number, change in enumerate(updates) if change is not None]


@given(streams())
def test_a_state_is_always_a_label_or_unknown_and_follows_the_changes(stream) -> None:
    labels, options, scores, times = stream
    decision = Decision(labels, **options)
    assert decision.state == ""
    state = None
    for frame, captured_at in zip(scores, times, strict=True):
        change = decision.update(frame, captured_at)
        if change is not None:
            assert change.previous == state
            assert change.state != state
            assert 0 <= change.score <= 1 + 1e-6
            state = change.state
        assert decision.state == state
        assert state in {*labels, "unknown"}


@given(streams())
def test_a_state_never_changes_within_the_dwell(stream) -> None:
    labels, options, scores, times = stream
    assume(options["smoothing"] != 0)
    found = changes(Decision(labels, **options), scores, times)
    assert found[0][0] == 0  # the first frame makes the first state
    for (before, _), (after, change) in itertools.pairwise(found):
        assert change.lasted == times[after] - times[before]
        if options["dwell_seconds"] is not None:
            # Counted from the first frame that disagrees, which is later than the one that made the state.
            assert times[after] - times[before + 1] >= options["dwell_seconds"]
        else:
            rare = after - before >= 2 and times[after] - times[before + 1] >= 1
            assert after - before > options["dwell"] or rare


@given(streams(), st.integers(0, 10**6))
def test_what_the_clock_shows_does_not_matter(stream, shift: int) -> None:
    labels, options, scores, times = stream
    shifted = [time + shift for time in times]
    assert changes(Decision(labels, **options), scores, shifted) == changes(Decision(labels, **options), scores, times)


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
    # A still picture is looked at again after a second.
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


def test_frames_are_taken_no_faster_than_requested() -> None:
    began = time.perf_counter()
    frames = (Frame(np.empty((1, 1, 3), np.uint8), number, 0.0, "") for number in range(6))
    assert len(list(Pace(50).frames(frames))) == 6
    assert time.perf_counter() - began >= 5 / 50


@pytest.mark.parametrize("from_the_start", [False, True])
def test_a_throttled_device_takes_fewer_frames_until_it_recovers(
    monkeypatch: pytest.MonkeyPatch, from_the_start: bool
) -> None:
    clock = 0.0
    rests: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal clock
        rests.append(seconds)
        clock += seconds

    monkeypatch.setattr(pacing, "perf_counter", lambda: clock)
    monkeypatch.setattr(pacing, "sleep", sleep)
    throttled = from_the_start
    asked = threading.Semaphore(0)

    def is_throttled() -> bool:
        asked.release()
        return throttled

    def frames() -> Iterator[Frame]:
        nonlocal clock
        while True:
            clock += 0.01
            yield Frame(np.empty((1, 1, 3), np.uint8), 0, 0.0, "")

    pace = Pace(None, is_throttled, poll=0.001)
    taken = pace.frames(frames())
    next(taken)
    if not from_the_start:
        next(taken)
        assert rests == []
    throttled = True
    wait_until(asked, lambda: pace.factor == 8)
    next(taken)
    next(taken)
    next(taken)
    assert rests[-1] == pytest.approx(0.01 * 8)
    throttled = False
    wait_until(asked, lambda: pace.factor == 1)
    next(taken)
    rests.clear()
    next(taken)
    assert rests == []


def wait_until(asked: threading.Semaphore, holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        assert asked.acquire(timeout=60)
    raise AssertionError("it never happens")
