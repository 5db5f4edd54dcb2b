"""Work in several processes: one that the system ends is one line, and what was done before it is not lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from edge_classify.errors import EdgeClassifyError
from edge_train.workers import in_processes, limit_workers, name_photos, threads_per_worker, worker_count


def square_or_die(number: int) -> int:
    if number == 3:  # as the kernel does when memory is short
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CLASSIFY_WORKERS", "4")  # so that it is as before afterwards
    limit_workers(1)


@pytest.mark.usefixtures("one_worker")
def test_a_process_that_is_killed_is_one_line_with_what_it_worked_on() -> None:
    work = in_processes(square_or_die, range(9), describe=lambda number: f"photo {number}")
    assert [next(work) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(EdgeClassifyError) as ended:
        next(work)
    assert "ended a process that worked on photo 3, probably for want of memory: close other" in str(ended.value)
    assert len(str(ended.value).splitlines()) == 1
    assert ended.value.exit_code == 1


def test_with_more_processes_all_that_were_at_work_are_named() -> None:
    if worker_count() < 2:
        pytest.skip("one core: there is never a second process")
    with pytest.raises(EdgeClassifyError, match=r"photo 3.*: use --workers 1, or close other programs"):
        list(in_processes(square_or_die, range(9), describe=lambda number: f"photo {number}"))


def test_fewer_processes_compute_the_same(one_worker: None) -> None:  # noqa: ARG001
    assert worker_count() == 1
    threads = threads_per_worker()
    limit_workers(4)
    assert threads_per_worker() == threads  # sums of floats go by it


def test_photos_are_named_by_the_first_and_the_last() -> None:
    assert name_photos([Path("a.jpg")]) == "a.jpg"
    assert name_photos([Path("a.jpg"), Path("b.jpg"), Path("c.jpg")]) == "the 3 photos from a.jpg to c.jpg"
