"""Work on a Ray cluster: the same functions on the same jobs as in local processes, with the same bytes as results.

Nodes need no common disk. What a node's own cache lacks (backbones, the features of a cell to fit) it asks of an actor
beside the driver, which reads the driver's cache; results come back through Ray. What a lost node worked on is done
anew by another.
"""

from __future__ import annotations

import logging
import os
import platform
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from threading import Timer
from typing import Any

from edge_classify.errors import DataError, EdgeClassifyError, UsageError, first_line
from edge_classify.options import Parser, suggest
from edge_classify.system.atomic_write import atomic_file, write_atomic
from edge_classify.system.counted import counted
from edge_classify.system.packages import install_command

from .backbone import Backbone
from .cache import ask_elsewhere, cache_folder, open_cache
from .cell import fit_cell, read_fitted
from .features import feature_keys, keep_features, missing_features
from .training_run import CellJob, TrainingRun
from .workers import ONE_THREAD, Job, Pool, Result, WorkerKilledError, worker_count

log = logging.getLogger(__name__)

AUTO = "auto"
# What must be the same on all nodes, beside Python and Ray, which Ray itself compares.
_PACKAGES = ("edge-classify", "numpy", "opencv-python-headless", "ai-edge-litert")
# Instruction sets that make a backbone's last bits differ.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")
# Features, and bytes of a file, that are sent to a node at a time.
_ROWS_PER_MESSAGE = 1000
_BYTES_PER_MESSAGE = 16_000_000
# One thread for each matrix product, as in local processes: sums are in the same order on any machine.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", ONE_THREAD: "1"}
# A node that is lost takes its work with it: so often it is tried on another.
_TRIES = 20
# A cluster that answers does so in a few seconds, on a busy machine too.
_PATIENCE_S = 30.0
# Jobs under way for each core: of those that are done, the first must wait for none.
_JOBS_PER_CORE = 3


@dataclass(frozen=True)
class Cluster:
    """A pool (`workers.Pool`) whose processes are on the nodes of a Ray cluster.

    shelf: the actor that reads this machine's cache and files for them. node: this machine's, by Ray's name.
    packages: those that must have the same versions on all nodes.
    """

    shelf: Any
    node: str
    packages: tuple[str, ...] = _PACKAGES

    def needing(self, *packages: str) -> Cluster:
        """The cluster for work that depends on the versions of these packages too."""
        return replace(self, packages=(*self.packages, *packages))

    def __call__(
        self,
        function: Callable[[Job], Result],
        jobs: Iterable[Job],
        prepare: Callable[[], None] | None = None,
        memory: int = 0,
        describe: Callable[[Job], str] = str,
    ) -> Iterator[Result]:
        """As `in_processes`."""
        import ray

        # A job that wants more than any node has would wait forever.
        memory = min(memory, max(int(node["Resources"].get("memory", 0)) for node in _nodes()))
        work = ray.remote(_work).options(num_cpus=1, max_retries=_TRIES, memory=memory, scheduling_strategy="SPREAD")
        # Sent once, not with each job.
        common = ray.put((self.shelf, Path.cwd(), _versions(self.packages), prepare, function))
        running: deque[tuple[Job, Any]] = deque()
        processors = {_processor()}
        # After an error those under way are not cancelled: Ray's driver may abort when such a task ends meanwhile.
        # They end with the connection.
        for job in jobs:
            running.append((job, work.remote(common, job)))
            if len(running) >= _JOBS_PER_CORE * core_count(self):
                yield _take(running, describe, processors)
        while running:
            yield _take(running, describe, processors)

    def fit_cells(self, run: TrainingRun, backbones: Sequence[Backbone]) -> Iterator[dict[str, Any]]:
        """The entries of these cells, each of which one node fits. Its files are written to the run folder here."""
        fitted = {backbone: read_fitted(CellJob(run, backbone)) for backbone in backbones}
        yield from (entry for entry in fitted.values() if entry is not None)
        missing = [backbone for backbone, entry in fitted.items() if entry is None]
        fit = partial(_fit_on_node, self.shelf, run)
        cluster = self.needing("tensorflow", "keras") if run.settings.fine_tune else self
        for entry, files in cluster(fit, missing, describe=lambda backbone: CellJob(run, backbone).title):
            # The entry is written last: with it the cell is complete.
            for name in sorted(files, key=lambda name: name.endswith(".json")):
                write_atomic(run.folder / name, files[name])
            yield entry


def add_cluster_option(parser: Parser) -> None:
    """The option --cluster, for `open_cluster`."""
    cluster = parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="work on a Ray cluster, with the same result: HOST:PORT, or auto for the one that this machine is in, "
        "or else one of this machine alone; needs Ray",
    )
    suggest(cluster, AUTO)


@contextmanager
def open_cluster(address: str, report: Callable[[str], None]) -> Iterator[Cluster]:
    """Connect to the cluster at `address`; AUTO: to the one that this machine is a node of, or to a new one of its own.

    report: is handed a line on what was found. Raises UsageError.
    """
    if "://" in address:
        raise UsageError(
            f"--cluster {address}: results go to this machine's cache, so it must be a node of the cluster: give "
            "HOST:PORT or auto there, or send the command by `ray job submit`"
        )
    try:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
    except ImportError:
        raise UsageError(f"--cluster: Ray is not installed: {install_command('ray')}") from None
    _connect(ray, address)
    try:
        nodes = _nodes()
        cores = int(ray.cluster_resources().get("CPU", 0))
        if not cores:
            raise UsageError(f"--cluster {address}: none of its nodes offers a core: start one that does")
        report(f"cluster: {counted(len(nodes), 'node')}, {counted(cores, 'core')}")
        node = ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        shelf = ray.remote(_Shelf).options(num_cpus=0, max_concurrency=4, scheduling_strategy=here)
        yield Cluster(shelf.remote(cache_folder(), Path.cwd()), node)
    finally:
        ray.shutdown()


def node_count() -> int:
    """How many machines the cluster has that this process is connected to."""
    return len({node["NodeManagerAddress"] for node in _nodes()})


def core_count(pool: Pool) -> int:
    """How many cores a pool has."""
    if not isinstance(pool, Cluster):
        return worker_count()
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    # What is left of a cluster whose head is gone is found, and asked for minutes.
    words = "waiting for a Ray cluster that does not answer: `ray stop` ends what is left of one on this machine"
    waiting = Timer(_PATIENCE_S, log.warning, [words])
    waiting.daemon = True
    waiting.start()
    try:
        ray.init(address=address, runtime_env={"env_vars": _ENVIRONMENT}, **options)
    except ConnectionError as error:
        if address != AUTO:
            raise UsageError(f"--cluster {address}: no Ray cluster answers there: {first_line(error)}") from None
        # Its processes inherit the environment: those that Ray has started beforehand are of use then.
        with _environment(_ENVIRONMENT):
            ray.init(address="local", num_cpus=worker_count(), include_dashboard=False, **options)
    except (RuntimeError, ValueError) as error:  # another version of Python or Ray
        raise UsageError(f"--cluster {address}: {' '.join(str(error).split())}") from None
    finally:
        waiting.cancel()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables for a while; what else changes meanwhile stays."""
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(before)


def _take(running: deque[tuple[Job, Any]], describe: Callable[[Job], str], processors: set[str]) -> Any:
    """The result of the first job. Warns once of each kind of processor that is not this machine's."""
    import ray

    job, reference = running[0]
    try:
        processor, result = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, EdgeClassifyError | OSError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise WorkerKilledError(
            f"the cluster lost its work on {describe(job)} ({first_line(error)}): see that its nodes have memory, and "
            "run this again: what is finished is kept"
        ) from error
    running.popleft()
    if processor not in processors:
        processors.add(processor)
        log.warning(
            "a node has another processor than this machine (%s): the last bits of features may differ from those "
            "of a run on one machine",
            processor,
        )
    return result


class _Shelf:
    """The driver's cache and files, for the nodes."""

    def __init__(self, cache: Path, folder: Path) -> None:
        self._path = cache / "features.sqlite"
        os.chdir(folder)  # where paths start

    def row(self, query: str, key: str) -> tuple[Any, ...] | None:
        with closing(sqlite3.connect(self._path, timeout=120)) as database:
            row: tuple[Any, ...] | None = database.execute(query, (key,)).fetchone()
            return row

    def features(self, keys: Sequence[str]) -> list[tuple[str, bytes]]:
        query = "SELECT vector FROM features WHERE key = ?"
        with closing(sqlite3.connect(self._path, timeout=120)) as database:
            found = ((key, database.execute(query, (key,)).fetchone()) for key in keys)
            return [(key, row[0]) for key, row in found if row is not None]

    def list_files(self, path: Path) -> dict[str, int]:
        """The files in a folder, or a file, under "", with their sizes."""
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        return {"" if file == path else str(file.relative_to(path)): file.stat().st_size for file in files}

    def read(self, path: Path, offset: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(_BYTES_PER_MESSAGE)


# What follows runs on the nodes.

_prepared: set[Callable[[], None]] = set()


def _work(common: tuple[Any, Path, dict[str, str], Callable[[], None] | None, Callable[[Any], Any]], job: Any) -> Any:
    shelf, folder, versions, prepare, function = common
    with suppress(OSError):  # a node that has no such folder finds no file by a relative path anyway
        os.chdir(folder)
    for name, here in _versions(versions).items():
        if here != versions[name]:
            raise DataError(
                f"node {platform.node()} has {name} {here or 'not at all'}, and the machine that started this has "
                f"{versions[name]}: install the same versions on all nodes"
            )
    ask_elsewhere(partial(_ask, shelf))
    if prepare is not None and prepare not in _prepared:
        prepare()
        _prepared.add(prepare)
    return _processor(), function(job)


def _ask(shelf: Any, query: str, key: str) -> Any:
    return get_keeping_core(shelf.row.remote(query, key))


def get_keeping_core(reference: Any) -> Any:
    """As `ray.get`, for tasks.

    It waits in a thread of its own: while the main thread of a task waits, Ray gives its core to another task, and
    starts a process for it, which takes more than a second; and then more tasks run than there are cores.
    """
    import ray

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(ray.get, reference).result()


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        found[package] = ""
        with suppress(ModuleNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> str:
    """The kind of processor, as far as results depend on it."""
    words = set()
    with suppress(OSError):
        words = set(Path("/proc/cpuinfo").read_text().split())
    return " ".join([platform.machine(), *(name for name in _INSTRUCTIONS if name in words)])


def _fit_on_node(shelf: Any, run: TrainingRun, backbone: Backbone) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Fit one cell; returns its entry, and the files that belong into the run folder, by name."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        folder = Path(name)
        job = CellJob(replace(run, folder=folder / "run"), _bring_weights(shelf, backbone, folder / "weights"))
        _bring_features(shelf, job)
        entry = fit_cell(job)
        written = (path for path in job.run.folder.rglob("*") if path.is_file())
        return entry, {path.relative_to(job.run.folder).as_posix(): path.read_bytes() for path in written}


def _bring_weights(shelf: Any, backbone: Backbone, folder: Path) -> Backbone:
    copy = folder / backbone.weights.name
    for name, size in get_keeping_core(shelf.list_files.remote(backbone.weights)).items():
        bring_file(shelf, backbone.weights / name, size, copy / name)
    return replace(backbone, weights=copy)


def bring_file(shelf: Any, path: Path, size: int, copy: Path) -> None:
    """Copy a file of the driver's machine to this node, a part at a time."""
    with atomic_file(copy) as file:
        for offset in range(0, size, _BYTES_PER_MESSAGE):
            file.write(get_keeping_core(shelf.read.remote(path, offset)))


def _bring_features(shelf: Any, job: CellJob) -> None:
    with open_cache() as database:
        missing = missing_features(database, feature_keys(job.run, job.backbone))
        while keys := list(islice(missing, _ROWS_PER_MESSAGE)):
            keep_features(database, get_keeping_core(shelf.features.remote(keys)))
