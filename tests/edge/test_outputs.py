"""Outputs that block, fail or go away hold nobody up."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import pty
import re
import resource
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

import edge_classify
from edge_classify import (
    Category,
    Classification,
    Classifier,
    Decision,
    Events,
    Frame,
    JsonLines,
    Result,
    classify_frames,
)
from edge_classify.images.preprocessing import Image
from edge_classify.model.classifier import Timing
from edge_classify.outputs.queue import MAX_WAITING, BoundedQueue
from edge_classify.outputs.writer import Writer
from edge_classify.pipeline.latency import StageTimes
from edge_classify.pipeline.stillness import Stillness
from edge_classify.sources import demo

_PIPE_BYTES = 4096
LINES = [f"{number:06d} {'x' * 200}\n" for number in range(3000)]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


def queue_for(descriptor: int, name: str, *, live: bool) -> BoundedQueue[str]:
    writer = Writer(descriptor)
    return BoundedQueue(writer.write, name, live=live, is_ready=writer.is_ready)


def read_to_end(descriptor: int) -> str:
    parts = []
    while part := os.read(descriptor, 65536):
        parts.append(part)
    return b"".join(parts).decode()


def test_nobody_reads_a_live_output_drops_the_oldest_and_counts(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    queue = queue_for(writing, "pipe", live=True)
    began = time.perf_counter()
    for line in LINES:
        queue.put(line)
    assert time.perf_counter() - began < 5
    assert not queue.drain(0.05)
    dropped = queue.dropped
    assert dropped > 1000
    # The reader is back: whole lines, the newest among them.
    reader = threading.Thread(target=lambda: found.extend(read_to_end(reading).splitlines(keepends=True)))
    found: list[str] = []
    reader.start()
    assert queue.drain(10)
    queue.close()
    os.close(writing)
    reader.join(10)
    assert len(found) == len(LINES) - dropped
    assert set(found) <= set(LINES)
    assert found[-MAX_WAITING:] == LINES[-MAX_WAITING:]


def test_an_output_that_may_lose_nothing_waits_for_its_reader(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    found: list[str] = []

    def read_late() -> None:
        time.sleep(0.3)
        found.append(read_to_end(reading))

    reader = threading.Thread(target=read_late)
    reader.start()
    with queue_for(writing, "pipe", live=False) as queue:
        for line in LINES:
            queue.put(line)
    os.close(writing)
    reader.join(10)
    assert "".join(found) == "".join(LINES)
    assert queue.dropped == 0


def test_a_full_disk_loses_lines_of_a_live_output_says_so_once_and_ends_any_other(caplog) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        with queue_for(full.fileno(), "events.jsonl", live=True) as queue:
            for line in LINES[:100]:
                queue.put(line)
        assert queue.dropped == 100
        assert [record.getMessage() for record in caplog.records] == [
            "events.jsonl: No space left on device: dropping output until writing works again"
        ]
        queue = queue_for(full.fileno(), "events.jsonl", live=False)
        queue.put(LINES[0])
        with pytest.raises(OSError, match=r"No space left on device: 'events\.jsonl'"):
            queue.drain(None)
        queue.close()


@pytest.mark.parametrize("live", [True, False])
def test_a_reader_that_has_gone_is_no_error(live: bool, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    with queue_for(writing, "pipe", live=live) as queue:
        for line in LINES:
            queue.put(line)
    assert queue.gone


def test_ending_does_not_wait_for_a_stuck_reader(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    began = time.perf_counter()
    with queue_for(writing, "pipe", live=True) as queue:
        for line in LINES:
            queue.put(line)
    assert time.perf_counter() - began < 5
    assert queue.dropped > 1000


def test_what_a_full_disk_cuts_off_does_not_spoil_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with path.open("wb", buffering=0) as file, queue_for(file.fileno(), "events.jsonl", live=True) as queue:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limit[1]))
        try:
            for line in LINES[:3]:
                queue.put(line)
            assert queue.drain(10)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        queue.put(LINES[3])
        assert queue.drain(10)
        assert queue.dropped == 2
    assert path.read_text().splitlines(keepends=True) == [LINES[0], LINES[1][: 300 - len(LINES[0])] + "\n", LINES[3]]


def test_an_absent_peer_behind_a_queue_holds_up_no_frame_and_its_return_is_served() -> None:
    """What an output on a network will need: connecting blocks, fails, and works again later."""
    there = threading.Event()
    received: list[int] = []

    def publish(number: int) -> None:
        if not there.wait(0.001):
            raise ConnectionRefusedError("nobody there")
        received.append(number)

    with BoundedQueue(publish, "broker", live=True) as queue:
        for number in range(10 * MAX_WAITING):
            queue.put(number)
        there.set()
        queue.put(-1)
        assert queue.drain(30)
        assert received[-1] == -1
        assert len(received) + queue.dropped == 10 * MAX_WAITING + 1


@pytest.mark.parametrize("live", [True, False])
def test_a_bug_in_an_output_reaches_the_program(live: bool) -> None:
    queue = BoundedQueue(lambda item: item / 0, "test", live=live)
    queue.put(1.0)
    with pytest.raises(ZeroDivisionError):
        queue.drain(30)
    queue.close()


def frames() -> list[Frame]:
    return [Frame(demo.draw(number).image, number, time.perf_counter(), "demo") for number in range(40, 60)]


def test_in_python_an_output_is_opened_by_a_path(tmp_path: Path) -> None:
    classifier = Classifier()
    with JsonLines(tmp_path / "results.jsonl") as results, Events(tmp_path / "events.jsonl") as events:
        made = list(classify_frames(frames(), classifier, Decision(classifier.labels)))
        for result in made:
            results.append(result)
            events.append(result)
    written = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert written == [result.as_dict() for result in made]
    (event,) = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    # One frame, one time: whoever shows it, and whenever.
    assert event.items() >= {"time": written[0]["time"], "frame": 40, "source": "demo", "model": "builtin"}.items()
    with JsonLines(tmp_path / "results.jsonl") as results:
        results.append(made[0])
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == len(made) + 1


def test_in_python_a_dash_is_standard_output() -> None:
    code = (
        "import numpy as np\n"
        "from edge_classify import Classifier, Frame, JsonLines, classify_frames\n"
        "frame = Frame(np.zeros((48, 64, 3), np.uint8), 7, 0.0, 'black')\n"
        "with JsonLines('-') as out:\n"
        "    for result in classify_frames([frame], Classifier()):\n"
        "        out.append(result)\n"
        "print(result.classification)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    written, printed = done.stdout.splitlines()
    assert json.loads(written)["source"] == "black"
    assert re.fullmatch(r"(\d|unknown) [01]\.\d\d", printed)


def test_the_time_to_compare_pictures_is_preprocessing_for_still_and_for_classified_frames() -> None:
    class SlowToCompare(Stillness):
        def shows_nothing_new(self, image: Image, captured_at: float) -> bool:
            time.sleep(0.02)
            return super().shows_nothing_new(image, captured_at)

    image = demo.draw(50).image
    stream = (Frame(image, number, time.perf_counter(), "demo") for number in range(20))
    results = list(classify_frames(stream, Classifier(), stillness=SlowToCompare()))
    assert {result.still for result in results} == {True, False}
    for result in results:
        assert result.timing_ms.preprocess >= 20
        assert result.timing_ms.total == pytest.approx(sum(result.timing_ms[:4]))


# What somebody writes who adds an output: this file, and one line in the registry.
ANOTHER_OUTPUT = '''
import time
from contextlib import nullcontext
from pathlib import Path

from ..errors import UsageError

TABLE = "postcards"


class Postcards(nullcontext):
    """Sends each new state to a file, as slowly as a network may."""

    gone = False

    def __init__(self, path, destinations):
        super().__init__()
        self._path, self._sent = path, 0
        self._queue = destinations.queue(self._send, f"postcards to {path}")

    def append(self, result):
        if result.change is not None:
            self._queue.put(result.state)

    def _send(self, state):
        time.sleep(0.05)
        with self._path.open("a") as file:
            file.write(f"{state}\\n")
        self._sent += 1

    def counts(self):
        return {"postcards sent": self._sent, "postcards lost": self._queue.dropped}


def add_options(group):
    group.add_argument("--postcards", type=Path, metavar="FILE", help="send each new state to FILE")


def check(options, *, stream):
    if options.postcards is not None and not stream:
        raise UsageError("--postcards needs a camera or a video")


def open_output(options, destinations):
    return Postcards(options.postcards, destinations) if options.postcards else None
'''


@pytest.fixture(scope="module")
def with_another_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one output more."""
    root = tmp_path_factory.mktemp("copy")
    package = shutil.copytree(Path(edge_classify.__file__).parent, root / "edge_classify")
    (package / "outputs" / "postcards.py").write_text(ANOTHER_OUTPUT)
    registry = package / "outputs" / "registry.py"
    registry.write_text(registry.read_text().replace('    "events",\n', '    "events",\n    "postcards",\n', 1))
    return root


def test_adding_an_output_takes_one_file_and_one_line(with_another_output: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "edge_classify", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(with_another_output)}
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert "postcards:\n  --postcards FILE" in run("--help").stdout
    refused = run("picture.jpg", "--postcards", "cards", "--model", "gone")
    assert refused.returncode == 6  # no such picture
    (tmp_path / "picture.jpg").touch()
    refused = run(tmp_path / "picture.jpg", "--postcards", "cards", "--model", "gone")
    assert refused.returncode == 2
    assert refused.stderr == "error: --postcards needs a camera or a video\n"
    done = run("--camera", "demo", "--count", 30, "--json", "--postcards", tmp_path / "cards")
    assert done.returncode == 0, done.stderr
    states = [state for state, _ in groupby(json.loads(line)["state"] for line in done.stdout.splitlines())]
    assert (tmp_path / "cards").read_text().splitlines() == states
    assert f"postcards sent: {len(states)}" in done.stderr


def terminal_lines(classification: Classification, name: str, columns: int, *, stream: bool) -> list[str]:
    """What Console writes for one result to a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    code = """
import pickle, sys
from edge_classify.outputs.console import Console
from edge_classify.outputs.writer import standard_output
with standard_output(live=False) as queue, Console(queue, stream=sys.argv[1] == "True", terminal=True) as console:
    console.append(pickle.loads(bytes.fromhex(sys.argv[2])))
"""
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 0, 0.0, name)
    result = Result(frame, classification, classification.label, None, StageTimes(0, 0, 1, 0, 1), 0.0, 1.0, False, "m")
    words = [sys.executable, "-c", code, str(stream), pickle.dumps(result).hex()]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    subprocess.run(words, stdout=slave, env=environment, check=True, timeout=60)
    os.close(slave)
    written = os.read(master, 65536).decode()
    os.close(master)
    return written.replace("\x1b[K", "").replace("\r", "\n").split("\n")


def classification(*labels: str) -> Classification:
    categories = tuple(Category(number, label, 0.25) for number, label in enumerate(labels))
    return Classification(labels[0], 0.25, categories, np.full(len(labels), 0.25, np.float32), Timing(0, 1, 0))


def test_a_live_line_of_wide_letters_fits_the_terminal_and_its_columns_stand() -> None:
    wide = classification("ゴミ箱の前に立つ人", "誰もいない玄関の前", "宅配便の人が来た所", "猫がソファで寝ている")
    (line,) = filter(None, terminal_lines(wide, "0", 80, stream=True))
    cells = [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line]
    assert 76 < sum(cells) < 80
    narrow = classification("猫", "cup")
    (line,) = filter(None, terminal_lines(narrow, "0", 80, stream=True))
    assert line.index("0.25") == 16  # 17 columns, one of which is the second half of the letter


def test_control_characters_of_labels_and_names_do_not_reach_the_terminal() -> None:
    hostile = classification("cup\x1b[2J\n", "a\x9bb")
    for stream in (True, False):
        text = "\n".join(terminal_lines(hostile, "evil\x1b[31m.jpg", 80, stream=stream))
        assert "\x1b" not in text
        assert "\x9b" not in text
        assert "cup?[2J?" in text
