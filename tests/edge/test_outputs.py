"""Outputs that block, fail or go away hold nobody up."""

from __future__ import annotations

import fcntl
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_classify.outputs.writer import MOST_WAITING, Writer

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


def read_to_end(descriptor: int) -> str:
    parts = []
    while part := os.read(descriptor, 65536):
        parts.append(part)
    return b"".join(parts).decode()


def test_nobody_reads_a_live_output_drops_the_oldest_and_counts(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = Writer(writing, "pipe", live=True)
    began = time.perf_counter()
    for line in LINES:
        writer.write(line)
    assert time.perf_counter() - began < 5
    assert not writer.drain(0.05)
    dropped = writer.dropped
    assert dropped > 1000
    # The reader is back: whole lines, the newest among them.
    reader = threading.Thread(target=lambda: found.extend(read_to_end(reading).splitlines(keepends=True)))
    found: list[str] = []
    reader.start()
    assert writer.drain(10)
    writer.close()
    os.close(writing)
    reader.join(10)
    assert len(found) == len(LINES) - dropped
    assert set(found) <= set(LINES)
    assert found[-MOST_WAITING:] == LINES[-MOST_WAITING:]


def test_an_output_that_may_lose_nothing_waits_for_its_reader(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    found: list[str] = []

    def read_late() -> None:
        time.sleep(0.3)
        found.append(read_to_end(reading))

    reader = threading.Thread(target=read_late)
    reader.start()
    with Writer(writing, "pipe", live=False) as writer:
        for line in LINES:
            writer.write(line)
    os.close(writing)
    reader.join(10)
    assert "".join(found) == "".join(LINES)
    assert writer.dropped == 0


def test_a_full_disk_loses_lines_of_a_live_output_says_so_once_and_ends_any_other(caplog) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        with Writer(full.fileno(), "events.jsonl", live=True) as writer:
            for line in LINES[:100]:
                writer.write(line)
        assert writer.dropped == 100
        assert [record.getMessage() for record in caplog.records] == [
            "events.jsonl: No space left on device: what cannot be written is lost"
        ]
        writer = Writer(full.fileno(), "events.jsonl", live=False)
        writer.write(LINES[0])
        with pytest.raises(OSError, match=r"No space left on device: 'events\.jsonl'"):
            writer.drain(None)
        writer.close()


@pytest.mark.parametrize("live", [True, False])
def test_a_reader_that_has_gone_is_no_error(live: bool, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    with Writer(writing, "pipe", live=live) as writer:
        for line in LINES:
            writer.write(line)
    assert writer.gone


def test_ending_does_not_wait_for_a_stuck_reader(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    began = time.perf_counter()
    with Writer(writing, "pipe", live=True) as writer:
        for line in LINES:
            writer.write(line)
    assert time.perf_counter() - began < 5
    assert writer.dropped > 1000


def test_what_a_full_disk_cuts_off_does_not_spoil_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with path.open("wb", buffering=0) as file, Writer(file.fileno(), "events.jsonl", live=True) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limit[1]))
        try:
            for line in LINES[:3]:
                writer.write(line)
            assert writer.drain(10)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        writer.write(LINES[3])
        assert writer.drain(10)
        assert writer.dropped == 2
    assert path.read_text().splitlines(keepends=True) == [LINES[0], LINES[1][: 300 - len(LINES[0])] + "\n", LINES[3]]
