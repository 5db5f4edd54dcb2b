"""The command `edge-classify`, run as a user runs it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import IO

import cv2
import pytest

from conftest import classify_here, stop, write_photos
from edge_classify.cli import make_parser
from edge_classify.model.interpreter import BUILTIN_MODEL
from edge_classify.pipeline import decision
from edge_classify.pipeline.latency import Latency, StageTimes
from edge_classify.sources import demo
from edge_classify.system.command import run

PICTURE = str(Path(demo.__file__).with_name("demo_digits.png"))
EDGE_CLASSIFY = str(Path(sys.executable).with_name("edge-classify"))


def test_the_demo_shows_label_score_latency_and_at_the_end_a_table(command) -> None:
    done = command("edge-classify", "--camera", "demo", "--count", 40)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^(\d|unknown) +\d\.\d\d +\d+\.\d ms +\d+\.\d fps$", done.stdout, re.MULTILINE)
    for stage in ("capture_age", "preprocess", "inference", "postprocess", "total"):
        assert re.search(rf"^{stage}( +\d+\.\d\d){{3}}$", done.stdout, re.MULTILINE), stage
    assert re.search(r"^40 frames, [\d.]+ frames per second$", done.stdout, re.MULTILINE)


def test_a_folder_of_pictures_ends_with_the_count_of_each_label(command, tmp_path: Path) -> None:
    write_photos(tmp_path, 3, ("disc",))
    done = command("edge-classify", tmp_path)
    assert done.returncode == 0, done.stderr
    found = re.search(r"^3 pictures: (.*)$", done.stdout, re.MULTILINE)
    assert found is not None
    shown = Counter(re.findall(r"\.png: +(\S+) ", done.stdout))
    assert dict(part.rsplit(" ", 1) for part in found[1].split(", ")) == {k: str(n) for k, n in shown.items()}


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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_prints_the_table_at_once(how: signal.Signals) -> None:
    process = subprocess.Popen(
        [EDGE_CLASSIFY, "--camera", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with Ctrl-C ignored; the tests may be run so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    process.stdout.readline()
    rest, _ = stop(process, how)
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


def test_events_are_the_changes_of_the_state_that_the_results_show(command, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    done = command("edge-classify", "--camera", "demo", "--count", 60, "--json", "--events", events)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert [line["state"] for line in lines] == [state for state, _ in groupby(r["state"] for r in results)]
    assert len(lines) >= 2
    for line, before in zip(lines, [None, *lines[:-1]], strict=True):
        assert list(line) == [
            "time", "frame", "source", "model", "state", "score", "previous", "previous_seconds"
        ]  # fmt: skip
        assert next(r for r in results if r["frame"] == line["frame"])["state"] == line["state"]
        assert line["previous"] == (before and before["state"])
        assert (line["previous_seconds"] is None) == (before is None)


def test_events_alone_take_standard_output(command) -> None:
    done = command("edge-classify", "--camera", "demo", "--count", 40, "--events", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["previous"] is None
    assert "40 frames" in done.stderr


def test_when_the_reader_goes_away_events_go_on(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    process = subprocess.Popen(
        [EDGE_CLASSIFY, "--camera", "demo", "--json", "--events", str(events), "--count", "150"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr is not None
    assert "150 frames" in process.stderr.read()
    assert len(events.read_text().splitlines()) >= 2


def test_a_full_disk_does_not_stop_a_camera_and_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        done = command_to(full, "--camera", "demo", "--json", "--count", "30")
    assert done.returncode == 0
    assert done.stderr.count("No space left on device") == 1
    assert "30 frames" in done.stderr
    assert "lines not written: 30" in done.stderr


def test_a_full_disk_ends_what_may_lose_nothing(tmp_path: Path) -> None:
    write_photos(tmp_path, 2, ("disc",))
    with Path("/dev/full").open("wb") as full:
        done = command_to(full, str(tmp_path))
    assert done.returncode == 6
    assert "error: standard output: the disk is full" in done.stderr


def command_to(stdout: IO[bytes], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EDGE_CLASSIFY, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("blocked", "how"), [("terminal", signal.SIGTERM), ("pipe", signal.SIGINT)])
def test_a_blocked_reader_does_not_hold_up_frames_nor_the_end(
    blocked: str, how: signal.Signals, tmp_path: Path
) -> None:
    reading, writing = pty.openpty() if blocked == "terminal" else os.pipe()
    if blocked == "pipe":
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    events = tmp_path / "events.jsonl"
    process = subprocess.Popen(
        [EDGE_CLASSIFY, "--camera", "demo", "--json", "--top-k", "11", "--events", str(events)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # Nobody reads the results, whose few kilobytes are soon full; three events take nearly a hundred frames.
        until = time.perf_counter() + 60
        while len(events.read_text().splitlines() if events.exists() else ()) < 3 and time.perf_counter() < until:
            time.sleep(0.1)
        _, errors = stop(process, how)
        assert re.search(r"^\d+ frames, ", errors, re.MULTILINE)
        assert re.search(r"^lines not written: \d+$", errors, re.MULTILINE)
        assert len(events.read_text().splitlines()) >= 3
    finally:
        process.kill()
        os.close(reading)
        os.close(writing)


@pytest.fixture(scope="module")
def standing_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of one drawn picture."""
    path = tmp_path_factory.mktemp("video") / "standing.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    image = demo.draw(50).image
    for _ in range(90):
        writer.write(image)
    writer.release()
    return path


def test_skip_still_leaves_inference_out_and_says_how_often(command, standing_video: Path) -> None:
    done = command("edge-classify", standing_video, "--skip-still", "--json")
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == 90
    skipped = [result for result in results if result["timing_ms"]["inference"] == 0]
    assert len(skipped) > 60
    assert {result["state"] for result in results} == {results[0]["categories"][0]["category_name"]}
    summary = rf"(\S+) frames per second\nunchanged frames skipped: {len(skipped)} \((\S+) frames per second including"
    classified, everything = map(float, re.search(summary, done.stderr).groups())
    assert everything == pytest.approx(classified * 89 / (89 - len(skipped)), rel=0.05)


def test_max_fps_limits_the_frames_of_a_camera(command) -> None:
    done = command("edge-classify", "--camera", "demo", "--count", 10, "--max-fps", 5)
    assert done.returncode == 0, done.stderr
    rate = re.search(r"10 frames, ([\d.]+) frames per second", done.stdout)
    assert rate is not None
    assert float(rate[1]) <= 5.0


def test_separate_pictures_are_never_smoothed(command, tmp_path: Path) -> None:
    for number, frame in enumerate((50, 100, 155, 205)):  # a digit, the desk, a digit, the desk
        cv2.imwrite(str(tmp_path / f"{number}.png"), demo.draw(frame).image)
    done = command("edge-classify", tmp_path, "--json", "--dwell", 100)
    states = [json.loads(line)["state"] for line in done.stdout.splitlines()]
    assert states[1] == states[3] == "unknown"
    assert "unknown" not in (states[0], states[2])
    done = command("edge-classify", tmp_path, "--events", tmp_path / "events.jsonl")
    assert done.returncode == 2
    assert "--events needs a camera or a video" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--camera", "demo", "--max-fps", "0"], 2, "--max-fps: expected a number, more than 0, found '0'"),
        (["--camera", "demo", "--events", "-", "--json"], 2, "--events - and --json both need standard output"),
        (
            ["--camera", "demo", "--threshold-high", "0.2", "--threshold-low", "0.5"],
            2,
            "threshold_low (0.5) must not be above",
        ),
        (["--camera", "demo", "--threshold-low", "0.5"], 2, "threshold_low (0.5) must not be above"),
        (["--camera", "demo", "--threshold", "2"], 2, "--threshold: expected a number, 0 or more and at most 1, found"),
        (["--camera", "demo", "--smoothing", "0.5"], 2, "smoothing is 0.5"),
        (["--camera", "demo", "--dwell", "2m"], 2, "--dwell: expected a number of frames (5) or a time in seconds"),
        (["--camera", "demo", "--events", "gone/events"], 6, "gone/events: there is no folder gone"),
        (["--camera", "demo", "--events", "/dev/null/events"], 6, "there is no folder /dev/null"),
        (["--camera", "demo", "--count", "0"], 2, "--count: expected a whole number, 1 or more, found '0'"),
        (["--camera", "demo", "--top-k", "0"], 2, "--top-k: expected a whole number, 1 or more, found '0'"),
        (["--camera", "demo", "--size", "640"], 2, "--size: expected 2 numbers such as 640x480, found '640'"),
        (["--size", "640x8"], 2, "size is 640x8: it must be at least 16x16"),
        (
            ["--camera", "demo", "--num_threads=2"],
            2,
            "unrecognized arguments: --num_threads=2: did you mean --num-threads?",
        ),
        (["--camera", "demo", PICTURE], 2, f"SOURCE {PICTURE}: not allowed with argument --camera"),
        (["--web", "8099"], 2, "--web takes no value: did you mean --web-address 127.0.0.1:8099?"),
        (["--camera", "demo", "--web", "8099"], 2, "--web takes no value: did you mean --web-address 127.0.0.1:8099?"),
        (["--web", "--web-address", "8099"], 2, "expected an address and a port such as 127.0.0.1:8099"),
        (["--web-port", "8099"], 2, "unrecognized arguments: --web-port: did you mean --web-address?"),
        (["--models", "models"], 2, "use --models MODELS with --budget-ms MS, and without --model"),
        (["--camera", "demo", "--crop", "160,0,320,480"], 2, "--crop: 160,0,320,480: x, y, width and height must be"),
        ([PICTURE, "--skip-still"], 2, "--skip-still needs a camera or a video"),
        ([PICTURE, "--events", "-"], 2, "--events needs a camera or a video"),
        (["--camera", "97"], 3, "camera 97 not found"),
        (["--model", "gone.tflite"], 4, "gone.tflite: there is no such model file"),
        (["gone.jpg"], 6, "gone.jpg: no such file, folder or camera"),
        ([f"{PICTURE}g"], 6, f"{PICTURE}g: no such file, folder or camera: did you mean {PICTURE}?"),
        (["--camera", "demo", "--labels", "gone.txt"], 6, "gone.txt: labels cannot be read"),
    ],
)
def test_an_error_is_one_line_and_has_its_exit_code(
    capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    ended, said = classify_here(capfd, *arguments)
    assert ended == code
    errors = said.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]


@pytest.mark.parametrize(
    "arguments",
    [
        [PICTURE, "--events", "events.jsonl"],
        [PICTURE, "--skip-still"],
        ["--camera", "demo", "--labels", "gone.txt"],
        ["--camera", "demo", "--crop", "1,1,1,1"],
        ["--camera", "demo", "--events", "gone/events"],
        ["gone.jpg"],
    ],
)
def test_what_the_command_line_shows_to_be_wrong_is_refused_before_the_model_is_read(
    capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, said = classify_here(capfd, *arguments, "--models", "no_such_models", "--budget-ms", 10)
    assert code in (2, 6)
    assert "no_such_models" not in said


def test_help_is_short_and_says_defaults_and_exit_codes(command) -> None:
    done = command("edge-classify", "--help", env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80
    text = " ".join(done.stdout.split())
    for expected in (
        "(default: 640x480)",
        "(default: 5)",
        "3 camera error",
        "examples: edge-classify",
        "model: --model",
        "camera: --camera SOURCE",
        "--config FILE",
    ):
        assert expected in text


def test_the_defaults_on_the_command_line_are_those_of_the_decision() -> None:
    options = make_parser().parse_args([])
    assert options.smoothing == decision.SMOOTHING
    assert options.dwell == (decision.DWELL, None)


def test_tracebacks_are_printed_for_those_who_ask(command) -> None:
    wrong = ("edge-classify", "gone.jpg")
    assert "Traceback" not in command(*wrong).stderr
    for done in (command(*wrong, "--traceback"), command(*wrong, env={**os.environ, "EDGE_CLASSIFY_TRACEBACK": "1"})):
        assert done.returncode == 6
        assert done.stderr.startswith("Traceback")
        assert done.stderr.splitlines()[-1].startswith("error: gone.jpg: no such file")
    with Path("/dev/full").open("wb") as full:
        assert "Traceback" in command_to(full, PICTURE, "--traceback").stderr


def test_a_bug_prints_its_traceback_and_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> int:
        return [][1]

    assert run(broken) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("Traceback")
    assert errors[-1].startswith("error: IndexError: this is a bug in edge-classify")


def test_a_picture_is_classified_without_importing_what_only_others_need() -> None:
    """Each of these costs milliseconds of every start."""
    code = (
        "import sys\n"
        "from edge_classify.cli import main\n"
        f"main([{PICTURE!r}])\n"
        "own = {name.removeprefix('edge_classify.') for name in sys.modules}\n"
        "print(own & {'socket', 'subprocess', 'numpy.ma', 'importlib.metadata', 'sources.demo', 'sources.cameras',\n"
        "             'system.machine', 'model.sandbox', 'benchmark', 'api', 'config'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_it_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "edge_classify", PICTURE, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["source"] == PICTURE


def test_what_had_to_be_assumed_about_a_third_party_model_is_a_warning(command, tmp_path: Path) -> None:
    with zipfile.ZipFile(BUILTIN_MODEL) as parts:
        end = min(part.header_offset for part in parts.infolist())
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(BUILTIN_MODEL.read_bytes()[:end].replace(b"TFLITE_METADATA", b"other metadata!"))
    done = command("edge-classify", PICTURE, "--model", bare)
    assert done.returncode == 0, done.stderr
    warning, _model = done.stderr.splitlines()
    assert "contains no labels: showing class numbers" in warning


def test_it_runs_with_standard_error_closed() -> None:
    words = ["sh", "-c", f"{EDGE_CLASSIFY} {PICTURE} 2>&-"]
    assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0


def test_latency_is_kept_for_the_last_frames_only() -> None:
    latency = Latency()
    for number in range(25_000):
        latency.append(StageTimes(1, 1, 1, 1, number), number / 30)
    assert latency.frames == 25_000
    assert latency.frames_per_second == pytest.approx(30)
    assert latency.percentiles()["total"]["p50"] == pytest.approx(19_999.5)
    assert latency.percentiles()["inference"] == {"p50": 1, "p90": 1, "p99": 1}
