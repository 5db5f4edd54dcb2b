"""Threads of one inference, and several inferences at once: which are taken, and that answers stay the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from weakref import WeakSet

import cv2
import pytest

from conftest import ROOT, stop, write_photos
from edge_classify import Classifier, Decision, Result, open_source
from edge_classify.errors import DataError
from edge_classify.model.interpreter import BUILTIN_MODEL
from edge_classify.model.threads import fewest_threads, load_with_fewest_threads, thread_counts
from edge_classify.pipeline.cores import Cores, share_cores
from edge_classify.pipeline.loop import Model, classify_by_each
from edge_classify.pipeline.parallel import classify_in_parallel, ordered_map
from edge_classify.sources import demo
from edge_classify.sources.source import Source
from edge_classify.system.cores import usable_cores

MODELS = ROOT / "tests" / "cases" / "models"


def test_the_fewest_threads_that_are_nearly_as_fast_as_the_best() -> None:
    assert [thread_counts(cores) for cores in (1, 2, 3, 4, 64)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4]]
    chosen = fewest_threads({1: 5.6, 2: 3.1, 4: 2.9})
    assert chosen.count == 2
    assert str(chosen) == "2 threads (auto: an inference takes 5.6 ms with 1, 3.1 with 2, 2.9 with 4)"
    assert fewest_threads({1: 5.6, 2: 3.1, 4: 2.0}).count == 4
    assert fewest_threads({1: 3.0, 2: 2.9, 4: 4.0}).count == 1
    assert fewest_threads({1: 0.9, 2: 0.5}).count == 1


class Stand:
    """In for an interpreter: an inference only takes time, by a clock of its own."""

    now = 0.0

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def invoke(self) -> None:
        Stand.now += self._seconds


def test_threads_are_measured_before_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_classify.model.threads.perf_counter", lambda: Stand.now)
    loaded: list[int] = []

    def load(seconds: float) -> Any:
        def load_with(count: int) -> Stand:
            loaded.append(count)
            return Stand(seconds / count)

        return load_with

    interpreter, threads = load_with_fewest_threads(load(0.06), 4)
    assert (threads.count, loaded, list(threads.times_ms)) == (4, [1, 2, 4], [1, 2, 4])
    assert interpreter._seconds == 0.06 / 4  # type: ignore[attr-defined]
    loaded.clear()
    assert load_with_fewest_threads(load(0.06), 1)[1].count == 1
    assert load_with_fewest_threads(load(0.0), 4)[1].count == 1
    assert loaded == [1, 1]  # the second number of threads is not tried for a fast model, nor without a second core


@pytest.mark.parametrize(
    ("files", "affinity", "cores"),
    [
        ({}, 4, 4),
        ({}, 1, 1),
        ({"proc/self/cgroup": "0::/system.slice/e.service\n", "sys/fs/cgroup/cpu.max": "max 100000"}, 4, 4),
        (
            {
                "proc/self/cgroup": "0::/system.slice/e.service\n",
                "sys/fs/cgroup/system.slice/e.service/cpu.max": "350000 100000",
                "sys/fs/cgroup/system.slice/cpu.max": "290000 100000",
            },
            4,
            2,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000"}, 4, 1),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            4,
            2,
        ),
        ({"proc/self/cgroup": "1:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"}, 3, 3),
    ],
)
def test_cores_of_others_are_left_alone(tmp_path: Path, files: dict[str, str], affinity: int, cores: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path, affinity) == cores


def test_only_what_waits_to_be_read_is_classified_several_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_classify.pipeline.cores.usable_cores", lambda: 4)
    folder = str(write_photos(tmp_path, 1))
    picture = str(tmp_path / "disc" / "0.png")
    assert share_cores(folder, "auto", fast=False, in_turn=False) == Cores(4, 1)
    assert share_cores(folder, 2, fast=False, in_turn=False) == Cores(2, 2)
    assert share_cores(folder, 8, fast=False, in_turn=False) == Cores(1, 8)
    assert share_cores(folder, "auto", fast=False, in_turn=True) == Cores(1, "auto")
    assert share_cores("demo", "auto", fast=False, in_turn=False) == Cores(1, "auto")
    assert share_cores(picture, "auto", fast=False, in_turn=False) == Cores(1, 1)


def answers(results: list[Result]) -> list[object]:
    """All of the results that does not depend on time."""
    return [
        (
            r.frame.number,
            r.frame.name,
            r.model,
            r.frame_done,
            r.state,
            r.change and r.change[:3],
            r.classification.scores.tolist(),
        )
        for r in results
    ]


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        (BUILTIN_MODEL, None),
        (MODELS / "dynamic_hw.tflite", ("dark", "middle", "bright")),
        (MODELS / "small_logits.tflite", ("dark", "bright")),
    ],
)
def test_a_folder_gives_the_same_lines_in_the_same_order(
    tmp_path: Path, model: Path, labels: tuple[str, ...] | None, caplog: pytest.LogCaptureFixture
) -> None:
    write_photos(tmp_path, 8)
    for place in ("cross/3.png", "disc/0.png"):
        (tmp_path / place).write_bytes((tmp_path / place).read_bytes()[:500])

    def run(interpreters: int) -> tuple[list[object], list[str]]:
        models = [Model("one", Classifier(model, labels=labels)), Model("digits", Classifier())]
        models[1].classifier.crop = (0.25, 0.25, 0.5, 0.5)
        caplog.clear()
        with open_source(tmp_path) as source:
            if interpreters == 1:
                results = list(classify_by_each(source, models))
            else:
                results = list(classify_in_parallel(source, models, interpreters))
        return answers(results), caplog.messages

    one, all_at_once = run(1), run(3)
    assert len(one[0]) == 2 * 22
    assert sum("skipped" in message for message in one[1]) == 3
    assert all_at_once == one


def write_video(path: Path) -> Path:
    """64 frames of the demo."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for number in range(0, 320, 5):
        writer.write(demo.draw(number).image)
    writer.release()
    return path


def test_a_video_has_the_same_states(tmp_path: Path) -> None:
    path = write_video(tmp_path / "digits.avi")

    def run(interpreters: int) -> list[object]:
        classifier = Classifier()
        models = [Model("digits", classifier, Decision(classifier.labels, smoothing=3))]
        with open_source(path, fast=True) as source:
            # A frame's time of capture is that of reading it, and smoothing looks at it: made equal for both.
            frames = (frame._replace(captured_at=frame.number / 30) for frame in source)
            timeless = Source(frames, stream=True)
            if interpreters == 1:
                return answers(list(classify_by_each(timeless, models)))
            return answers(list(classify_in_parallel(timeless, models, interpreters)))

    one = run(1)
    assert len({answer[4] for answer in one}) > 2  # type: ignore[index]
    assert run(3) == one


def test_a_video_that_is_closed_while_threads_read_it_is_at_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "digits.avi")
    with open_source(path, fast=True) as source:
        results = classify_in_parallel(source, [Model("digits", Classifier())], 2)
        assert next(results).frame.number == 0
    assert [result.frame.number for result in results] in [list(range(1, 1 + count)) for count in range(6)]
    assert caplog.messages == []  # such as that the video be cut off


def test_an_error_while_items_are_taken_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise DataError("torn")

    outcomes = ordered_map(lambda item: item, items(), workers=3)
    assert [next(outcomes) for _ in range(5)] == list(range(5))
    with pytest.raises(DataError, match="torn"):
        next(outcomes)


def test_few_items_are_taken_ahead_and_none_after_the_end() -> None:
    items = iter(range(1000))
    outcomes = ordered_map(lambda item: item, items, workers=2)
    assert [next(outcomes) for _ in range(10)] == list(range(10))
    assert next(items) <= 10 + 4
    outcomes.close()
    assert next(items) <= 10 + 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("parallel")]


def test_no_outcome_is_held_that_was_taken() -> None:
    class Picture:
        pass

    alive: WeakSet[Picture] = WeakSet()
    begun: list[int] = []

    def read(item: int) -> Picture:
        begun.append(item)
        alive.add(picture := Picture())
        return picture

    outcomes = ordered_map(read, range(1000), workers=2)
    for _ in range(10):
        next(outcomes)
    deadline = monotonic() + 60
    while (len(begun), len(alive)) != (14, 4) and monotonic() < deadline:
        sleep(0.01)
    assert (len(begun), len(alive)) == (14, 4)  # alive are those that were begun ahead
    outcomes.close()


def test_a_program_may_end_without_closing_them() -> None:
    code = """
from edge_classify.pipeline.parallel import ordered_map
outcomes = ordered_map(lambda item: item, range(1000), workers=2)
print(next(outcomes))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_ctrl_c_ends_a_folder_with_the_summary(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1, ("disc",))
    for number in range(5000):
        (tmp_path / "photos" / "disc" / f"{number + 1}.png").symlink_to("0.png")
    words = [sys.executable, "-m", "edge_classify", tmp_path / "photos"]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    process.stdout.readline()
    output, errors = stop(process, signal.SIGINT)
    assert "latency (ms)" in output
    assert "Traceback" not in errors
