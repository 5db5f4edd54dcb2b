"""Converting cells on a Ray cluster: the run folder goes to the nodes, the cells' model files come back."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edge_classify.system.atomic_write import write_atomic
from edge_train.cache import cache_folder
from edge_train.cluster import Cluster, bring_file, get_keeping_core
from edge_train.run_folder import INDEX

from .cell_files import CellFiles, CellJob, describe, make_cell_files

# What their results depend on, beside edge-train's: the second line only if TensorFlow converts.
_PACKAGES = ("ai-edge-quantizer",)
_TENSORFLOW = ("tensorflow", "keras")


def convert_on(
    cluster: Cluster, jobs: Sequence[CellJob], prepare: Callable[[], None] | None, memory: int
) -> Iterator[CellFiles]:
    """As `make_cell_files` of each job, in order: its files are in its folder then.

    prepare, memory: as of `in_processes`; without `prepare` no node needs TensorFlow.
    """
    cluster = cluster.needing(*_PACKAGES, *(_TENSORFLOW if prepare is not None else ()))
    make = partial(_make_on_node, cluster.shelf, cluster.node)
    made = cluster(make, jobs, prepare, memory, describe)
    for job, (files, contents) in zip(jobs, made, strict=True):
        for name, content in contents.items():
            write_atomic(job.folder / name, content)
        yield files


def _make_on_node(shelf: Any, driver: str, job: CellJob) -> tuple[CellFiles, dict[str, bytes]]:
    """Make a cell's files; returns their contents too, by name. driver: the node that has the run folder."""
    import ray

    run = job.run if ray.get_runtime_context().get_node_id() == driver else _bring_run(shelf, job.run)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        folder = Path(name)
        files = make_cell_files(replace(job, run=run, folder=folder))
        return files, {entry["file"]: (folder / entry["file"]).read_bytes() for entry in files.entries}


def _bring_run(shelf: Any, run: Path) -> Path:
    """The run folder on this node, which fetches it once and keeps it in its cache."""
    sizes: dict[str, int] = get_keeping_core(shelf.list_files.remote(run))
    with tempfile.TemporaryDirectory() as name:
        index = Path(name) / INDEX
        bring_file(shelf, run / INDEX, sizes[INDEX], index)
        # It is written last and names all else: by it a run is known.
        copy = cache_folder() / "runs" / hashlib.sha256(index.read_bytes()).hexdigest()[:16]
    for name, size in sizes.items():
        path = copy / name
        if not path.exists() or path.stat().st_size != size:
            bring_file(shelf, run / name, size, path)
    return copy
