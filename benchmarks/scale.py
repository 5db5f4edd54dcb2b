"""What shards, tables and a Ray cluster reach: memory and time with very many photos, nodes added and lost, the plan.

    python benchmarks/scale.py memory --photos 100000 300000     # a table that names 2,000 pictures again and again
    python benchmarks/scale.py memory --photos 100000 --distinct # as many different pictures, in shards
    python benchmarks/scale.py plan same nodes overhead
    python benchmarks/scale.py kills --kills 10

One cell, 0.35@96, where no other is named. Nodes are Ray's own processes on this machine, each with a cache of its own
and one core: what is found about several machines leaves out the network. Stores are tried by `make test-stores`.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import cv2
import numpy as np
from common import DATA, WORK, Row, machine, model_file, parse_with_parts, record, show

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures

FOLDER = WORK / "scale"
CELL = ("--alpha", "0.35", "--resolution", "96")
GRID = ("--alpha", "0.35", "0.5", "0.75", "1.0", "--resolution", "all")
PLANNED = {"0.35@96": CELL, "all 20": GRID}
RANDOM_WEIGHTS = ("--weights", "none")
SETS = ("flowers", "alien_vs_predator", "trashnet")
CLASSES = ("a", "b", "c", "d")
PICTURES = 2000
PHOTOS_PER_SHARD = 5000
# The smallest pictures and the cheapest cell, of which the driver's work is the largest share; and what is usual.
DRAWN, REAL = "drawn, 96 × 96", "TrashNet, enlarged to 640 × 480"
NODE_RUNS = ((DRAWN, 0.35, 96), (DRAWN, 0.5, 160), (REAL, 0.5, 160))
COPIES = 20  # of each photo of TrashNet
INFERENCE_SECONDS, INFERENCE_ROUNDS = 2.0, 7
# What progress bars say is being done.
STEPS = ("reading", "computing features", "fitting heads")
# Whatever a run's result is.
FILES = ("heads/0.35_96.npz", "photo_check.json", "started.json", "prepared/96_held_out.npy")


class Watched(NamedTuple):
    """A run of edge-train: its seconds, those of its steps by progress bar, and its processes' peak memory in MB."""

    seconds: float
    steps: dict[str, float]
    driver: float
    workers: float
    output: str


def main() -> None:
    parts: dict[str, tuple[Callable[[argparse.Namespace], Iterator[Row]], str]] = {
        "memory": (memory, "0.35@96, random weights, --views 0."),
        "plan": (plan, "The backbones were there already."),
        "same": (same, "0.35@96: a folder, shards of it, and these on three nodes of one core each, on this machine."),
        "nodes": (nodes, "20,000 drawn pictures or 17,740 photos, random weights, --views 3; nodes on this machine."),
        "overhead": (overhead, "Alien vs Predator, 20 cells."),
        "kills": (kills, "900 pictures in 30 shards, 0.35@96, three nodes of one core each, on this machine."),
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, nargs="+", default=[30_000], help="of memory: how many")
    parser.add_argument("--distinct", action="store_true", help="of memory: no picture is named twice")
    parser.add_argument("--epochs", type=int, default=60, help="of memory: of the heads, at most")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="of same")
    parser.add_argument("--kills", type=int, default=10, help="of kills: how many runs lose a node")
    parser.add_argument("--seed", type=int, default=0, help="of kills: when, and which nodes")
    parser.add_argument("--rounds", type=int, default=3, help="of nodes and overhead: how often each way is run")
    options = parse_with_parts(parser, parts)
    print(machine(), f"load {os.getloadavg()[0]:.1f}", flush=True)
    for name in options.parts:
        part, notes = parts[name]
        record(__file__, [show(row) for row in part(options)], name, notes)


def memory(options: argparse.Namespace) -> Iterator[Row]:
    """Time and peak memory against the number of photos. A run that was stopped goes on where it was."""
    for count in options.photos:
        source = make_shards(count) if options.distinct else make_table(count)
        name = source.stem if source.suffix else source.name
        arguments = (source, "-o", FOLDER / "runs" / name, *RANDOM_WEIGHTS, *CELL, "--views", "0")
        cache = FOLDER / "caches" / name
        watch(*arguments, "--plan", cache=cache)  # makes the backbone, which takes 1 GB
        run = watch(*arguments, "--epochs", options.epochs, cache=cache, with_memory=True)
        yield {
            "photos": count,
            "different": count if options.distinct else min(count, PICTURES),
            "seconds": round(run.seconds),
            **{f"{step} (s)": round(run.steps.get(step, 0)) for step in STEPS},
            "driver (MB)": round(run.driver),
            "largest worker (MB)": round(run.workers),
        }


def plan(options: argparse.Namespace) -> Iterator[Row]:
    """What --plan says, against what the run then takes; the backbones are there already."""
    for name, (title, cells) in itertools.product(options.sets, PLANNED.items()):
        photos, cache, folder = DATA / "data" / name, FOLDER / "caches" / "plan", FOLDER / "runs" / "plan"
        prepare_cache(cache)
        fresh(folder)
        arguments = (photos, "-o", folder, "--weights", DATA / "weights", *cells)
        planned = watch(*arguments, "--plan", cache=cache)
        (said,) = re.findall(r"on \d+ cores?: about ([\d.,]+) (h|min|s)", planned.output)
        seconds = float(said[0].replace(",", "")) * {"h": 3600, "min": 60, "s": 1}[said[1]]
        run = watch(*arguments, cache=cache)
        yield {
            "photos": name,
            "cells": title,
            "planned (s)": round(seconds),
            "took (s)": round(run.seconds),
            "planned / took": round(seconds / run.seconds, 2),
            **{f"{step} (s)": round(run.steps.get(step, 0)) for step in STEPS},
        }


def same(options: argparse.Namespace) -> Iterator[Row]:
    """The folder, shards of it, and shards on three nodes: are the results the same bytes?"""
    for name in options.sets:
        photos, shards = DATA / "data" / name, FOLDER / f"shards of {name}"
        if not (shards / "index.json").exists():
            run_command("edge_train.cli", "make-shards", photos, shards, "--size", 20)
        runs = {}
        for way, source in (("folder", photos), ("shards", shards), ("cluster", shards)):
            runs[way] = FOLDER / "runs" / f"{name} {way}"
            cache = FOLDER / "caches" / f"{name} {way}"
            fresh(runs[way], cache)
            arguments = (source, "-o", runs[way], "--weights", DATA / "weights", *CELL)
            if way == "cluster":
                with start_nodes(3) as cluster:
                    watch(*arguments, "--cluster", cluster.address, cache=cache)
            else:
                watch(*arguments, cache=cache)
        differing = [way for way in runs if result(runs[way]) != result(runs["folder"])]
        keys = {way: feature_keys(FOLDER / "caches" / f"{name} {way}") for way in runs}
        differing += [f"features of {way}" for way in runs if keys[way] != keys["folder"]]
        found = f"DIFFERENT: {', '.join(differing)}" if differing else "the same bytes"
        yield {"photos": name, "features": len(keys["folder"]), "result": found}


def nodes(options: argparse.Namespace) -> Iterator[Row]:
    """Photos per second of one node and of two, one core each, in turn; the driver's node has no core.

    And what two processes make of what one does, that share nothing but the machine's memory and clock. The driver,
    which keeps what nodes find, has a machine of its own in a cluster, and here takes turns with them.
    """
    model_file(0.35, 96, "float32")  # is made now if it is not there
    for number, (title, alpha, resolution) in itertools.product(range(options.rounds), NODE_RUNS):
        shards = make_shards(20_000, per_shard=500) if title == DRAWN else make_photo_shards(per_shard=500)
        count = json.loads((shards / "index.json").read_text())["photos"]
        cell = ("--alpha", alpha, "--resolution", resolution)
        rates: dict[int, float] = {}
        for node_count in (1, 2):
            cache = FOLDER / "caches" / "nodes"
            prepare_cache(cache)
            fresh(FOLDER / "runs" / "nodes")
            with start_nodes(node_count, head=0) as cluster:
                arguments = (shards, "-o", FOLDER / "runs" / "nodes", *RANDOM_WEIGHTS, *cell, "--views", "3")
                run = watch(*arguments, "--epochs", "1", "--cluster", cluster.address, cache=cache)
            rates[node_count] = count / run.steps["computing features"]
        yield {
            "photos": title,
            "cell": f"{alpha}@{resolution}",
            "round": number,
            "1 node (photos/s)": round(rates[1]),
            "2 nodes (photos/s)": round(rates[2]),
            "2 / 1": round(rates[2] / rates[1], 2),
            "two processes / one, without Ray": round(ratio_without_ray(), 2),
            "load": round(os.getloadavg()[0], 1),
        }


def ratio_without_ray() -> float:
    """How much more two processes that have nothing in common infer than one: what the machine allows. In turns."""
    return float(np.median([inferences(2) / inferences(1) for _ in range(INFERENCE_ROUNDS)]))


def inferences(processes: int) -> float:
    """How many a second so many processes make, each on a core of its own."""
    together = multiprocessing.get_context("spawn")
    ready, counts = together.Barrier(processes), together.Queue()
    running = [together.Process(target=_infer, args=(core, ready, counts)) for core in range(processes)]
    for process in running:
        process.start()
    total = sum(counts.get() for _ in running)
    for process in running:
        process.join()
    return total / INFERENCE_SECONDS


def _infer(core: int, ready: Any, counts: Any) -> None:
    os.sched_setaffinity(0, {core})
    classifier = Classifier(model_file(0.35, 96, "float32"), num_threads=1)
    picture, count = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8), 0
    classifier.classify(picture)
    ready.wait()
    end = time.perf_counter() + INFERENCE_SECONDS
    while time.perf_counter() < end:
        classifier.classify(picture)
        count += 1
    counts.put(count)


def overhead(options: argparse.Namespace) -> Iterator[Row]:
    """Alien vs Predator's grid with --cluster auto, and with local processes, in turn."""
    for number in range(options.rounds):
        seconds: dict[str, float] = {}
        for way in ("local", "cluster"):
            cache, run = FOLDER / "caches" / "overhead", FOLDER / "runs" / "overhead"
            prepare_cache(cache)
            fresh(run)
            arguments = (DATA / "data" / SETS[1], "-o", run, "--weights", DATA / "weights", *GRID)
            own = (*arguments, "--cluster", "auto") if way == "cluster" else arguments
            seconds[way] = watch(*own, cache=cache).seconds
        yield {
            "round": number,
            "local (s)": round(seconds["local"], 1),
            "cluster (s)": round(seconds["cluster"], 1),
            "cluster − local (s)": round(seconds["cluster"] - seconds["local"], 1),
            "load": round(os.getloadavg()[0], 1),
        }


def kills(options: argparse.Namespace) -> Iterator[Row]:
    """Of three nodes one is killed at a random time, in each of so many runs: is the result the same?"""
    shards, rng = make_shards(900, per_shard=30), random.Random(options.seed)
    cache = FOLDER / "caches" / "kills"
    arguments = (shards, *RANDOM_WEIGHTS, *CELL, "--views", "3", "--learning-rate", "0.003")
    prepare_cache(cache)
    run = FOLDER / "runs" / "kills"
    fresh(run)
    watch(*arguments, "-o", run, cache=cache)
    expected, took = result(run), 0.0
    for number in range(options.kills + 1):
        prepare_cache(cache)
        fresh(run)
        with start_nodes(3) as cluster:
            process = start(*arguments, "-o", run, "--cluster", cluster.address, cache=cache)
            # The first run loses none, and says how long one takes.
            moment, began = rng.uniform(0.1, 0.95) * took, time.perf_counter()
            while number and process.poll() is None and time.perf_counter() - began < moment:
                time.sleep(0.1)
            killed = number and process.poll() is None
            if killed:
                cluster.remove_node(rng.choice(sorted(cluster.worker_nodes, key=str)), allow_graceful=False)
            output, errors = process.communicate(timeout=400)
            took = took or time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{output}\n{errors}")
        same = "the same bytes" if result(run) == expected else "DIFFERENT"
        yield {
            "run": number,
            "a node killed after (s)": round(moment) if killed else None,
            "of (s)": round(took),
            "result": same,
        }


def make_table(count: int) -> Path:
    """A table of so many photos that names PICTURES files again and again."""
    table = FOLDER / f"table{count}.csv"
    if not table.exists():
        folder = FOLDER / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for number, (label, data) in enumerate(draw_pictures(PICTURES)):
            (folder / f"{number}.jpg").write_bytes(data)
            rows.append((f"pictures/{number}.jpg", label))
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("uri", "label"))
            writer.writerows(rows[number % PICTURES] for number in range(count))
    return table


def make_shards(count: int, per_shard: int = PHOTOS_PER_SHARD) -> Path:
    """Shards of so many different pictures."""
    return write_shards(FOLDER / f"shards{count}", draw_pictures(count), CLASSES, per_shard)


def make_photo_shards(per_shard: int) -> Path:
    """Shards of the photos of TrashNet, as large as a camera's; COPIES files of each, which a comment tells apart."""
    root = DATA / "data" / SETS[2]
    photos = [(path.parent.name, enlarged(path)) for path in list_pictures(root)]
    copies = ((label, with_comment(data, copy)) for copy in range(COPIES) for label, data in photos)
    return write_shards(FOLDER / "photo shards", copies, sorted({label for label, _ in photos}), per_shard)


def enlarged(path: Path) -> bytes:
    picture = cv2.resize(read_photo(path), (640, 480), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def with_comment(jpeg: bytes, number: int) -> bytes:
    """With a comment after the first marker."""
    comment = str(number).encode()
    return jpeg[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + jpeg[2:]


def write_shards(folder: Path, pictures: Iterable[tuple[str, bytes]], labels: Sequence[str], per_shard: int) -> Path:
    """Shards of JPEG pictures with their labels, and an index; those that are there already stay."""
    from edge_train.shards.tar_shard import ShardWriter

    if (folder / "index.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    remaining, places = iter(pictures), itertools.count()
    while several := list(itertools.islice(remaining, per_shard)):
        path = folder / f"shards-{len(shards):04d}.tar"
        with path.open("wb") as file:
            writer = ShardWriter(file)
            for (label, data), place in zip(several, places, strict=False):
                about = {"label": label, "path": f"{label}/{place}.jpg"}
                writer.add(f"{place:09d}", ".jpg", data, labels.index(label), about)
            size, sha256 = writer.close()
        shards.append({"name": path.name, "photos": len(several), "bytes": size, "sha256": sha256})
    photos = sum(shard["photos"] for shard in shards)
    index = {"format": 1, "photos": photos, "labels": list(labels), "counts": {}, "shards": shards}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def draw_pictures(count: int) -> Iterator[tuple[str, bytes]]:
    """Different pictures of 96 × 96, as JPEG, each of one of four colours: classes that can be told apart."""
    rng = np.random.default_rng(0)
    colors = np.array([[200, 80, 60], [60, 180, 90], [70, 70, 210], [170, 170, 60]])
    for _ in range(count):
        label = int(rng.integers(len(CLASSES)))
        small = np.clip(colors[label] + rng.normal(0, 55, (7, 7, 3)), 0, 255).astype(np.uint8)
        picture = cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)
        yield CLASSES[label], cv2.imencode(".jpg", picture)[1].tobytes()


def fresh(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def prepare_cache(cache: Path) -> None:
    """Only backbones are in it: making them is no part of what is measured."""
    path = cache / "edge-classify" / "features.sqlite"
    if path.exists():
        with closing(sqlite3.connect(path)) as database, database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table in tables & {"features", "looks", "surveys"}:
                database.execute(f"DELETE FROM {table}")


def feature_keys(cache: Path) -> dict[str, bytes]:
    with closing(sqlite3.connect(cache / "edge-classify" / "features.sqlite")) as database:
        return dict(database.execute("SELECT key, vector FROM features"))


def result(run: Path) -> list[object]:
    entry = json.loads((run / "heads" / "0.35_96.json").read_text())
    return [*((run / name).read_bytes() for name in FILES), {**entry, "seconds": 0}]


@contextmanager
def start_nodes(count: int, head: int = 1) -> Iterator[Any]:
    """A cluster of so many nodes of one core, each with a cache of its own. head: cores of one more, the driver's."""
    from ray.cluster_utils import Cluster

    def node(name: str, cores: int) -> dict[str, Any]:
        variables = {"XDG_CACHE_HOME": str(FOLDER / "caches" / f"node {name}"), "RAY_USAGE_STATS_ENABLED": "0"}
        fresh(FOLDER / "caches" / f"node {name}")
        return {"num_cpus": cores, "object_store_memory": 200_000_000, "env_vars": variables}

    cluster = Cluster(initialize_head=True, head_node_args={**node("head", head), "include_dashboard": False})
    try:
        # Addresses of their own: the driver connects to the node that has this machine's.
        for number in range(count - head):
            cluster.add_node(**node(str(number), 1), node_ip_address=f"127.0.0.{number + 2}")
        yield cluster
    finally:
        cluster.shutdown()


def run_command(module: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True, capture_output=True)


def start(*arguments: object, cache: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "edge_train.cli", *map(str, arguments)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def watch(*arguments: object, cache: Path, with_memory: bool = False) -> Watched:
    """Run edge-train to its end. with_memory: look at its processes' memory, which costs time where they are many."""
    import threading

    began = time.perf_counter()
    process = start(*arguments, cache=cache)
    output: list[str] = []
    steps = Steps()
    reading = [
        threading.Thread(target=lambda: output.extend(process.stdout or ())),
        threading.Thread(target=steps.read, args=[process.stderr]),
    ]
    for thread in reading:
        thread.start()
    peaks: dict[int, float] = {}
    while with_memory and process.poll() is None:
        for pid in (process.pid, *children(process.pid)):
            peaks[pid] = max(peaks.get(pid, 0), peak_memory(pid))
        time.sleep(0.5)
    process.wait()
    seconds = time.perf_counter() - began
    for thread in reading:
        thread.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}\n{''.join(output)}\n{steps.text}")
    driver = peaks.pop(process.pid, 0)
    return Watched(seconds, steps.seconds(), driver, max(peaks.values(), default=0), "".join(output))


class Steps:
    """What a run says on standard error, and when its progress bars began and ended, by their names."""

    def __init__(self) -> None:
        self.text = ""
        self._seen: dict[str, list[float]] = {}

    def read(self, errors: TextIO) -> None:
        """Read to the end."""
        # Not by lines: what ends a bar's first state comes with the second, which may be the last.
        for written in iter(partial(os.read, errors.fileno(), 1 << 16), b""):
            text = written.decode(errors="replace")
            self.text += text
            for name in re.findall(r"([a-z ]+): [^\r\n]* so far", text):
                self._seen.setdefault(name, []).append(time.perf_counter())

    def seconds(self) -> dict[str, float]:
        """From the first state of each bar to its last."""
        return {name: times[-1] - times[0] for name, times in self._seen.items()}


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            own = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        found += own + [other for child in own for other in children(child)]
    return found


def peak_memory(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
