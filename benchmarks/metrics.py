"""What --metrics costs: of a frame, of a scrape, and of the start.

    python benchmarks/metrics.py

All in processor time, which other programs do not change much. A frame: the output's `append` for drawn results, less a
loop that does nothing with them; against prometheus_client's own histograms and counters, in turn. A scrape: rendering
for 20 classes. The start: processes that classify one picture, with and without, in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import prometheus_client
from common import Row, machine, read_words, record, show

from edge_classify import Category, Classification, Classifier, Frame, Result
from edge_classify.model.classifier import Timing
from edge_classify.outputs.metric_counts import BOUNDS_MS, ModelCounts
from edge_classify.outputs.metric_families import Families
from edge_classify.outputs.metrics import Metrics
from edge_classify.outputs.run import Run
from edge_classify.pipeline.latency import StageTimes
from edge_classify.pipeline.loop import Model
from edge_classify.pipeline.models import Models
from edge_classify.sources import demo
from edge_classify.sources.opening import open_source

FRAMES, ROUNDS, STARTS = 2000, 40, 40
LABELS = tuple(f"class {number}" for number in range(20))
PICTURE = Path(demo.__file__).with_name("demo_digits.png")
START = """
import os, sys, time
from edge_classify.outputs.console import Console

def append(self, result):
    print(time.process_time() * 1e3, flush=True)
    os._exit(0)

Console.append = append
from edge_classify.cli import main
main(sys.argv[1:])
"""


class Nowhere:
    """A publisher that publishes nothing."""

    serves = True
    lost = 0

    def run(self, families: Families) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


def drawn_results() -> list[Result]:
    rng = np.random.default_rng(0)
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 0, 0.0, "drawn")
    results = []
    for number in range(FRAMES):
        label = LABELS[number // 100 % len(LABELS)]
        answer = Classification(label, 0.9, (Category(0, label, 0.9),), np.zeros(20, np.float32), Timing(1, 1, 1))
        times = StageTimes(*map(float, rng.lognormal(1.0, 1.0, 5)))
        results.append(Result(frame, answer, label, None, times, 0.0, float(number), False, "builtin"))
    return results


def appending(results: list[Result], append: Callable[[Result], object]) -> float:
    """Microseconds of this thread for one result."""
    began = time.thread_time()
    for result in results:
        append(result)
    return (time.thread_time() - began) / len(results) * 1e6


def peer() -> Callable[[Result], object]:
    registry = prometheus_client.CollectorRegistry()
    buckets = [bound / 1e3 for bound in BOUNDS_MS]
    stages = prometheus_client.Histogram("stage_seconds", "", ["stage"], buckets=buckets, registry=registry)
    children = [stages.labels(stage) for stage in StageTimes._fields]
    frames = prometheus_client.Counter("frames", "", registry=registry)

    def append(result: Result) -> None:
        for child, milliseconds in zip(children, result.timing_ms, strict=True):
            child.observe(milliseconds / 1e3)
        frames.inc()

    return append


def a_frame(results: list[Result], run: Run) -> list[Row]:
    ways = {"nothing": lambda _: None, "metrics": Metrics(run, Nowhere()).append, "prometheus_client": peer()}
    turns = [{name: appending(results, append) for name, append in ways.items()} for _ in range(ROUNDS)]
    rows = []
    for name in ("metrics", "prometheus_client"):
        costs = [turn[name] - turn["nothing"] for turn in turns]
        rows.append(cost(f"a frame, {name}", f"{statistics.median(costs):.2f} µs", f"{min(costs):.2f} µs"))
    return rows


def cost(what: str, median: str, best: str | None = None) -> Row:
    return show({"what": what, "processor time": median, "at best": best})


def a_scrape(results: list[Result], run: Run) -> Row:
    counts = ModelCounts(LABELS)
    for result in results:
        counts.append(result)
    families = Families(run, lambda: {"builtin": counts}, threading.Event(), process=True)
    page = prometheus_client.generate_latest(families)
    times = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        prometheus_client.generate_latest(families)
        times.append((time.thread_time() - began) * 1e3)
    series = sum(not line.startswith(b"#") for line in page.splitlines())
    what = f"a scrape: {series} series, {len(page)} bytes"
    return cost(what, f"{statistics.median(times):.2f} ms", f"{min(times):.2f} ms")


def to_first_result(*options: str) -> float:
    """Milliseconds of processor time, of all threads, that a process takes until the console has its first result."""
    done = subprocess.run([sys.executable, "-c", START, str(PICTURE), *options], capture_output=True, check=True)
    return float(done.stdout)


def the_start() -> Row:
    options = ("--metrics", "127.0.0.1:19465")
    to_first_result(*options)  # fills the file cache
    turns = [(to_first_result(), to_first_result(*options)) for _ in range(STARTS)]
    without = statistics.median(turn[0] for turn in turns)
    more = statistics.median(turn[1] - turn[0] for turn in turns)
    return cost(f"from the start to the first result, more than without ({without:.0f} ms)", f"{more:+.1f} ms")


def main() -> None:
    read_words(__doc__)
    print(machine(), f"load {os.getloadavg()[0]:.0f}")
    results = drawn_results()
    with open_source("demo") as source:
        run = Run(source, Models([Model("builtin", Classifier())]))
        rows = [*a_frame(results, run), a_scrape(results, run)]
    record(__file__, [*rows, the_start()])


if __name__ == "__main__":
    main()
