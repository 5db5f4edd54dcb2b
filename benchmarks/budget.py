"""The choice for a time budget against measuring every file: is it the same, and in what part of the time?

    python benchmarks/budget.py [--metric total.p50] [MODELS]

Without model files it makes those of 2 widths × 3 resolutions, float32 and int8, of Alien vs Predator. Everything is
measured once, then a file is chosen for each of ten budgets: the middles of ten parts, of equal ratio, of the range
from the fastest file's metric (total.p90) to the slowest's. Prints each, and how many are right: the same file as after
measuring everything, or another that is as accurate, and as fast but for noise. A p90 is of the machine as it is: stop
other programs; how much of it they took is printed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from common import PHOTOS, WORK, Row, benchmark, command, machine, record, show

from edge_classify.benchmark.candidates import read_candidates
from edge_classify.benchmark.choice_cache import find_choice
from edge_classify.benchmark.environment import Watch
from edge_classify.benchmark.metric import metric
from edge_classify.benchmark.rule import SAME_COST, as_accurate_as, best_of, cheapest, comparable
from edge_classify.benchmark.turns import Length
from edge_classify.errors import BudgetError
from edge_classify.model.manifest import MANIFEST
from edge_classify.system.machine import System

BUDGETS = 10
GRID = ("--alpha", 0.35, 0.75, "--resolution", 96, 160, 224)


def grid() -> Path:
    """The model files, made when first asked for."""
    run = WORK / "runs" / "budget"
    folder = WORK / "budget"
    if not (folder / MANIFEST).exists():
        weights = PHOTOS.parent.parent / "weights"
        command("edge-train", PHOTOS, "-o", run, "--weights", weights, *GRID)
        command(
            "edge-convert",
            run,
            "-o",
            folder,
            "--precision",
            "float32",
            "int8",
            "--max-drop",
            100,
            "--max-accepted",
            100,
        )
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--metric", type=metric, default="total.p90")
    options = parser.parse_args()
    print(machine())
    models = options.models or [str(grid())]
    watch = Watch(System())
    measured, whole = benchmark(models)
    entries = measured["results"]
    times = [options.metric.of(entry["stages"]) for entry in entries]
    print(f"all {len(entries)} files: {whole:.1f} s, {options.metric} {min(times):.2f} to {max(times):.2f} ms")
    value_ms = {entry["model"]: options.metric.of(entry["stages"]) for entry in entries}
    files = comparable(read_candidates(models))
    rows: list[Row] = []
    # Not on the ends: whether a file fits a budget that is its own time is a matter of chance.
    edges = np.geomspace(min(times), max(times), BUDGETS + 1)
    for budget in np.sqrt(edges[1:] * edges[:-1]).tolist():
        fitting = [file for file in files if value_ms[str(file.path)] <= budget]
        rivals = as_accurate_as(best_of(fitting), fitting)
        best = cheapest(rivals, lambda file: value_ms[str(file.path)], lambda file: file.bytes)
        began = time.perf_counter()
        try:
            choice, _ = find_choice(models, options.metric, budget, 1, Length())
            chosen, count = choice["model"], len(choice["measured"])
        except BudgetError:
            chosen, count = "none fits", 0
        seconds = time.perf_counter() - began
        # Times that differ by no more are equal to the rule too.
        limit = value_ms[str(best.path)] * (1 + 2 * SAME_COST)
        is_right = any(str(file.path) == chosen and value_ms[chosen] <= limit for file in rivals)
        row: Row = {
            "budget (ms)": round(budget, 2),
            "chosen": Path(chosen).stem.removeprefix("mobilenet_v2_"),
            "after measuring everything": best.name.removeprefix("mobilenet_v2_"),
            "files measured": count,
            "seconds": round(seconds, 1),
            "of the whole time": round(seconds / whole, 2),
            "right": "yes" if is_right else "no",
        }
        rows.append(show(row))
    others = watch.finish()["others"]
    record(__file__, rows, notes=f"All files took {whole:.1f} s. Other programs used {others} cores meanwhile.")


if __name__ == "__main__":
    main()
