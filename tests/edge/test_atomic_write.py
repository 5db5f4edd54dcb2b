"""Files are written whole or not at all, and what a killed writer leaves is removed by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_classify.system.atomic_write import remove_abandoned, write_atomic

# Writes a half, says so, and stays.
STUCK = """
import sys, time
from pathlib import Path
from edge_classify.system.atomic_write import atomic_file

with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"a half")
    file.flush()
    print("written", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, in the middle of writing photo.jpg."""
    words = [sys.executable, "-c", STUCK, tmp_path / "photo.jpg"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def write_elsewhere(path: Path) -> None:
    """By a process of its own: each looks into a folder once."""
    code = "import sys; from pathlib import Path; import edge_classify.system.atomic_write as it; "
    subprocess.run([sys.executable, "-c", code + "it.write_atomic(Path(sys.argv[1]), 'x')", path], check=True)


def test_what_is_being_written_stays_and_what_a_killed_writer_left_does_not(
    writer: subprocess.Popen[str], tmp_path: Path
) -> None:
    half = tmp_path / f".photo.jpg.{writer.pid}.partial"
    write_elsewhere(tmp_path / "other.json")
    assert half.read_bytes() == b"a half"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    write_elsewhere(tmp_path / "other.json")
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_only_what_was_left_by_a_writer_is_removed(tmp_path: Path) -> None:
    # A container's first process has the number of the one before.
    ours = tmp_path / f".things.tflite.{os.getpid()}.partial"
    others = [tmp_path / name for name in (".download.partial", "photo.7.partial", ".a.7.partial.weights.h5")]
    for path in (ours, *others):
        path.touch()
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
    remove_abandoned(tmp_path / "not there")


def test_threads_that_write_one_file_wait_for_each_other(tmp_path: Path) -> None:
    path, contents = tmp_path / "state.json", [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomic(path, content), contents * 4))
    assert path.read_text() in contents
    assert list(tmp_path.iterdir()) == [path]
