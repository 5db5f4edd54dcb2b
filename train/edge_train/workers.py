"""Work in several processes at once, with results in order: edge-train and edge-convert share it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

# Each may hold a TensorFlow of its own.
_MAX_WORKERS = 4
_MEMINFO = Path("/proc/meminfo")


def worker_count(memory: int = 0) -> int:
    """How many processes are worth starting on this machine, if each may need this many bytes of memory."""
    fitting = _MAX_WORKERS
    if memory and _MEMINFO.exists():
        available = next(line for line in _MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        fitting = max(1, int(available.split()[1]) * 1024 // memory)
    return min(os.cpu_count() or 1, _MAX_WORKERS, fitting)


def threads_per_worker() -> int:
    """How many threads each worker process may use."""
    return max(1, (os.cpu_count() or 1) // worker_count())


def in_processes(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    prepare: Callable[[], None] | None = None,
    memory: int = 0,
) -> Iterator[Result]:
    """`function` of each job, in the jobs' order.

    function, prepare: at the top level of a module, since they are pickled; `prepare` is called once in each process.
    memory: what a process may need, in bytes; if less is free, fewer are started.
    Only a few jobs are under way at a time, so that neither they nor their results pile up in memory.
    An exception of a job is raised here, and the jobs not yet started are dropped.
    """
    workers = worker_count(memory)
    # One thread each for numpy's matrix products, too: sums are in the same order whatever the machine is doing.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(prepare,)) as pool:
        running: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                running.append(pool.submit(function, job))
                if len(running) > 2 * workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start(prepare: Callable[[], None] | None) -> None:
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _exit_with_parent() -> None:
    """Without it, the workers of a killed parent would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
