"""The command `edge-classify`, run as a user runs it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import write_photos
from edge_classify.latency import Latency, StageTimes

EDGE_CLASSIFY = str(Path(sys.executable).with_name("edge-classify"))


def test_the_demo_shows_label_score_latency_and_at_the_end_a_table(command) -> None:
    done = command("edge-classify", "--camera", "demo", "--count", 40)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^(\d|unknown) +\d\.\d\d +\d+\.\d ms +\d+\.\d fps$", done.stdout, re.MULTILINE)
    for stage in ("capture_age", "preprocess", "inference", "postprocess", "total"):
        assert re.search(rf"^{stage}( +\d+\.\d\d){{3}}$", done.stdout, re.MULTILINE), stage
    assert re.search(r"^40 frames, [\d.]+ frames a second$", done.stdout, re.MULTILINE)


def test_json_lines_have_the_documented_keys(command, tmp_path: Path) -> None:
    write_photos(tmp_path, 3, ("disc",))
    done = command("edge-classify", tmp_path, "--json", "--top-k", 3)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["frame"] for result in results] == [0, 1, 2]
    for result in results:
        assert list(result) == ["time", "frame", "source", "model", "state", "categories", "timing_ms"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", result["time"])
        assert result["model"] == "builtin"
        assert result["state"] == result["categories"][0]["category_name"]
        assert len(result["categories"]) == 3
        assert set(result["categories"][0]) == {"index", "category_name", "score"}
        assert list(result["timing_ms"]) == ["capture_age", "preprocess", "inference", "postprocess", "total"]
        assert result["timing_ms"]["total"] >= result["timing_ms"]["inference"] > 0


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_prints_the_table_at_once(stop: signal.Signals) -> None:
    process = subprocess.Popen(
        [EDGE_CLASSIFY, "--camera", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with Ctrl-C ignored; the tests may be run so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(stop)
    asked = time.perf_counter()
    rest, _ = process.communicate(timeout=10)
    assert time.perf_counter() - asked < 1.5
    assert process.returncode == 0
    assert re.search(r"^total .*\n\d+ frame", rest, re.MULTILINE)


def test_cameras_are_listed(command) -> None:
    done = command("edge-classify", "--list-cameras")
    assert done.returncode == 0
    assert re.search(r"^(--camera \S+ +\S.*|no camera found)$", done.stdout + done.stderr, re.MULTILINE)


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    process = subprocess.Popen(
        [EDGE_CLASSIFY, "--camera", "demo", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=10) == 0
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--camera", "demo", "--count", "0"], 2, "--count is 0: it must be at least 1"),
        (["--camera", "demo", "--top-k", "0"], 2, "top_k is 0"),
        (["--camera", "demo", "--size", "640"], 2, "--size 640: 2 numbers are needed, such as 640x480"),
        (["--camera", "demo", "--crop", "160,0,320,480"], 2, "crop is 160,0,320,480: x, y, width and height must be"),
        (["--camera", "97"], 3, "camera 97: there is no such camera"),
        (["--model", "gone.tflite"], 4, "gone.tflite: there is no such model file"),
        (["gone.jpg"], 6, "gone.jpg: there is no such file, folder or camera"),
        (["--camera", "demo", "--labels", "gone.txt"], 6, "gone.txt: labels cannot be read"),
    ],
)
def test_an_error_is_one_line_and_has_its_exit_code(command, arguments: list[str], code: int, message: str) -> None:
    done = command("edge-classify", *arguments)
    assert done.returncode == code
    errors = [line for line in done.stderr.splitlines() if not line.startswith("INFO:")]  # LiteRT's greeting
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]


def test_latency_is_kept_for_the_last_frames_only() -> None:
    latency = Latency()
    for number in range(25_000):
        latency.append(StageTimes(1, 1, 1, 1, number), number / 30)
    assert latency.frames == 25_000
    assert latency.frames_per_second == pytest.approx(30)
    assert latency.percentiles()["total"]["p50"] == pytest.approx(19_999.5)
    assert latency.percentiles()["inference"] == {"p50": 1, "p90": 1, "p99": 1}
