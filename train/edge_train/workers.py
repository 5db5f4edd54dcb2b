"""Work in several processes at once, with results in order: edge-train and edge-convert share it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from edge_classify.errors import EdgeClassifyError
from edge_classify.options import Parser, integer

Job = TypeVar("Job")
Result = TypeVar("Result")

# Each may hold a TensorFlow of its own.
_MAX_WORKERS = 4
_MEMINFO = Path("/proc/meminfo")


# Set on the nodes of a cluster, which starts a process for each core.
ONE_THREAD = "EDGE_CLASSIFY_ONE_THREAD"
# What --workers says, for this process and those that it starts.
_LIMIT = "EDGE_CLASSIFY_WORKERS"


class Pool(Protocol):
    """Whatever does work elsewhere: `in_processes`, or a cluster."""

    def __call__(
        self,
        function: Callable[[Job], Result],
        jobs: Iterable[Job],
        prepare: Callable[[], None] | None = None,
        memory: int = 0,
        describe: Callable[[Job], str] = str,
    ) -> Iterator[Result]:
        """As `in_processes`."""


class WorkerKilledError(EdgeClassifyError):
    """A process that ended without a result: nearly always the system took it, for want of memory."""


def add_workers_option(parser: Parser) -> None:
    """The option --workers, for `limit_workers`."""
    parser.add_argument(
        "--workers",
        type=integer(1),
        metavar="N",
        help="work in at most N processes at once; fewer need less memory, and give the same result "
        f"(default: one per core, {_MAX_WORKERS} at most, and fewer if memory is short)",
    )


def limit_workers(count: int | None) -> None:
    """Start no more processes than this at once from now on; None leaves it to `worker_count`."""
    if count is not None:
        os.environ[_LIMIT] = str(count)


def worker_count(memory: int = 0) -> int:
    """How many processes are worth starting on this machine, if each may need this many bytes of memory."""
    fitting = int(os.environ.get(_LIMIT, _MAX_WORKERS))
    if memory and _MEMINFO.exists():
        available = next(line for line in _MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        fitting = min(fitting, max(1, int(available.split()[1]) * 1024 // memory))
    return min(fitting, _full_count())


def threads_per_worker() -> int:
    """How many threads each worker process may use; --workers leaves it as it is, so that sums are as they were."""
    return 1 if os.environ.get(ONE_THREAD) else max(1, (os.cpu_count() or 1) // _full_count())


def _full_count() -> int:
    return min(os.cpu_count() or 1, _MAX_WORKERS)


def in_processes(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    prepare: Callable[[], None] | None = None,
    memory: int = 0,
    describe: Callable[[Job], str] = str,
) -> Iterator[Result]:
    """`function` of each job, in the jobs' order.

    function, prepare: at the top level of a module, since they are pickled; `prepare` is called once in each process.
    memory: what a process may need, in bytes; if less is free, fewer are started.
    describe: what a job works on, for the error if its process is killed.
    Only a few jobs are under way at a time, so that neither they nor their results pile up in memory.
    An exception of a job is raised here, and the jobs not yet started are dropped. Raises WorkerKilledError.
    """
    workers = worker_count(memory)
    # One thread each for numpy's matrix products, too: sums are in the same order whatever the machine is doing.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Workers are forked from a process that has loaded our modules, once for all pools of a run: loading them takes a
    # second, which is longer than much of the work.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.startswith("edge_")])
    given = prepare, dict(os.environ)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=given) as pool:
        running: deque[tuple[Job, Future[Result]]] = deque()
        try:
            for job in jobs:
                running.append((job, pool.submit(function, job)))
                if len(running) > 2 * workers:
                    yield running[0][1].result()
                    running.popleft()
            while running:
                yield running[0][1].result()
                running.popleft()
        except BrokenProcessPool as error:
            # Of the jobs without a result as many as there are processes had been begun, in this order.
            begun = islice((job for job, future in running if not future.done() or future.exception()), workers)
            raise WorkerKilledError(_why_killed(workers, [describe(job) for job in begun])) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def results_of(
    pool: Pool,
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    prepare: Callable[[], None] | None = None,
    describe: Callable[[Job], str] = str,
) -> Iterator[tuple[Job, Result]]:
    """Each job with its result, in the jobs' order; they are asked for as the pool can take more."""
    waiting: deque[Job] = deque()

    def asked_for() -> Iterator[Job]:
        for job in jobs:
            waiting.append(job)
            yield job

    for result in pool(function, asked_for(), prepare, describe=describe):
        yield waiting.popleft(), result


def name_photos(paths: Sequence[object]) -> str:
    """The photos of a job, which are done one after the other, in words."""
    return f"{paths[0]}" if len(paths) == 1 else f"the {len(paths)} photos from {paths[0]} to {paths[-1]}"


def _why_killed(workers: int, works: list[str]) -> str:
    remedy = "close other programs" if workers == 1 else "use --workers 1, or close other programs"
    return (
        f"the system ended a process that worked on {' or '.join(works)}, probably for want of memory: {remedy}; "
        "what is finished is kept, so that the same command goes on from there"
    )


def _start(prepare: Callable[[], None] | None, environment: Mapping[str, str]) -> None:
    # That of the process that workers are forked from is older.
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _exit_with_parent() -> None:
    """Without it, the workers of a killed parent would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
