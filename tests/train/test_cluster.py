"""A Ray cluster in place of local processes: the same bytes, whatever nodes are lost, and whenever the driver is."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import Command, write_photos
from edge_train.cluster import get_keeping_core, open_cluster
from edge_train.shards.making import make_shards

pytestmark = pytest.mark.slow

# Many views of few photos: enough work that a node can be lost in the middle of it.
OPTIONS = ("--weights", "none", "--alpha", 0.35, "--resolution", 96, 128, "--learning-rate", 0.003, "--views", 16)
ENTRIES = ("heads/0.35_96.json", "heads/0.35_128.json")
FILES = ("heads/0.35_96.npz", "heads/0.35_128.npz", "photo_check.json", "started.json", "prepared/96_held_out.npy")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    """Three nodes of one core each; each has a cache of its own, as on machines of their own."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=node(tmp_path, "head"))
    # Addresses of their own: the driver connects to the node that has this machine's.
    for number, name in enumerate(("second", "third"), 2):
        cluster.add_node(**node(tmp_path, name), node_ip_address=f"127.0.0.{number}")
    yield cluster
    cluster.shutdown()


def node(tmp_path: Path, name: str, **variables: str) -> dict[str, Any]:
    variables |= {"XDG_CACHE_HOME": str(tmp_path / "caches" / name), "RAY_USAGE_STATS_ENABLED": "0"}
    return {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False, "env_vars": variables}


def start(program: str, tmp_path: Path, cluster: Any, *arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", program, *arguments, "--cluster", cluster.address]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "caches" / "driver")}
    return subprocess.Popen(
        list(map(str, words)), env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_features(process: subprocess.Popen[str], tmp_path: Path, more_than: int) -> int:
    """Wait until the driver's cache has more features than that; returns how many."""
    for _ in range(2400):
        with closing(sqlite3.connect(tmp_path / "caches/driver/edge-classify/features.sqlite")) as database:
            (count,) = database.execute("SELECT count(*) FROM features").fetchone()
        if count > more_than:
            return int(count)
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError("no features within two minutes")


def test_a_lost_node_and_a_lost_driver_change_nothing(
    warm_cache: Callable[[Path], Path], tmp_path: Path, cluster: Any, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache(tmp_path / "caches" / "local")))
    make_shards(write_photos(tmp_path / "photos", 40), tmp_path / "shards", 190_000)
    assert len(list((tmp_path / "shards").glob("*.tar"))) >= 30
    done = command("edge-train", tmp_path / "shards", "-o", tmp_path / "local", *OPTIONS)
    assert done.returncode == 0, done.stderr
    warm_cache(tmp_path / "caches" / "driver")

    run = start("edge_train.cli", tmp_path, cluster, tmp_path / "shards", "-o", tmp_path / "run", *OPTIONS)
    kept = wait_for_features(run, tmp_path, 100)
    run.kill()
    run.communicate()
    run = start("edge_train.cli", tmp_path, cluster, tmp_path / "shards", "-o", tmp_path / "run", *OPTIONS)
    wait_for_features(run, tmp_path, kept)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    output, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    assert "cores" in output
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
    for name in ENTRIES:
        entries = [json.loads((tmp_path / which / name).read_text()) for which in ("run", "local")]
        assert {**entries[0], "seconds": 0} == {**entries[1], "seconds": 0}
    # The cells were fitted on nodes, which had none of their features at first.
    assert any((tmp_path / "caches" / name).exists() for name in ("head", "second", "third"))

    # A node with another version of something that results depend on.
    (tmp_path / "other" / "numpy-0.1.dist-info").mkdir(parents=True)
    (tmp_path / "other" / "numpy-0.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: numpy\nVersion: 0.1"
    )
    for other in list(cluster.worker_nodes):
        cluster.remove_node(other)
    for number, name in enumerate(("old", "old too"), 4):
        old = node(tmp_path, name, PYTHONPATH=str(tmp_path / "other"))
        cluster.add_node(**old, node_ip_address=f"127.0.0.{number}")
    run = start(
        "edge_train.cli",
        tmp_path,
        cluster,
        tmp_path / "shards",
        "-o",
        tmp_path / "other run",
        *OPTIONS,
        "--crop",
        "0,0,0.9,1",
    )
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 6, errors
    assert "has numpy 0.1, and the machine that started this has" in errors
    assert "Traceback" not in errors


def test_cells_are_converted_on_nodes_as_here(run_folder: Path, models: Path, tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    # The driver's own node has no core: the run folder must travel.
    cluster = Cluster(initialize_head=True, head_node_args={**node(tmp_path, "head"), "num_cpus": 0})
    try:
        for number, name in enumerate(("second", "third"), 2):
            cluster.add_node(**node(tmp_path, name), node_ip_address=f"127.0.0.{number}")
        run = Path(os.path.relpath(run_folder))
        options = ("--precision", "int8", "float16", "--max-drop", 25, "--max-accepted", 100)
        converting = start("edge_convert.cli", tmp_path, cluster, run, "-o", tmp_path / "models", *options)
        _, errors = converting.communicate(timeout=300)
    finally:
        cluster.shutdown()
    assert converting.returncode == 0, errors
    made = sorted((tmp_path / "models").glob("*.tflite"))
    assert len(made) == 2 * len(list((run_folder / "heads").glob("*.npz")))
    for path in made:
        assert path.read_bytes() == (models / path.name).read_bytes(), path.name
    assert list((tmp_path / "caches").glob("*/edge-classify/runs/*/run.json"))


def test_the_autoscaler_file_of_the_docs_is_what_ray_takes() -> None:
    import ray
    import yaml  # type: ignore[import-untyped]
    from jsonschema import validate  # type: ignore[import-untyped]

    text = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    validate(yaml.safe_load(text.split("```yaml\n")[1].split("```")[0]), schema)


def test_a_cluster_whose_head_is_gone_is_waited_for_and_named(tmp_path: Path) -> None:
    current = tmp_path / "ray" / "ray_current_cluster"
    current.parent.mkdir()
    current.write_text("127.0.0.1:1")
    program = (
        "import logging\nfrom edge_train import cluster\nlogging.basicConfig()\ncluster._PATIENCE_S = 0.5\n"
        "with cluster.open_cluster('auto', print): pass"
    )
    environment = {**os.environ, "RAY_TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        assert any("`ray stop` ends what is left of one on this machine" in line for line in process.stderr)
        process.kill()


def test_a_task_that_waits_for_the_driver_keeps_its_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    class Slow:
        def answer(self) -> int:
            time.sleep(0.5)
            return 1

    def ask(actor: Any, _: int) -> tuple[float, float]:
        began = time.monotonic()
        get_keeping_core(actor.answer.remote())
        time.sleep(0.5)
        return began, time.monotonic()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("EDGE_CLASSIFY_WORKERS", "1")
    # A cluster of its own, whatever else runs here; sockets are in that folder, whose names must be short.
    with tempfile.TemporaryDirectory() as short, monkeypatch.context() as own:
        own.setenv("RAY_TMPDIR", short)
        with open_cluster("auto", print) as cluster:
            actor = ray.remote(Slow).options(num_cpus=0).remote()
            works = sorted(cluster(partial(ask, actor), range(4)))
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(works))
