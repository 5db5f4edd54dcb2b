"""edge-benchmark over 20 cells × 2 precisions, twice: how long it takes, and how well its results agree.

    python benchmarks/repeatability.py

The float32 and int8 files of Alien vs Predator of benchmarks/converting.py, one thread. Stop other programs first.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from common import Row, benchmark, convert_grid, machine, read_words, record, show


def main() -> None:
    read_words(__doc__)
    print(machine())
    folder = convert_grid("alien_vs_predator")
    models = sorted(path for precision in ("float32", "int8") for path in folder.glob(f"*_{precision}.tflite"))
    first, second = measure(models), measure(models)
    rows: list[Row] = []
    for stage in ("inference", "total"):
        changes = [
            abs(before["stages"][stage]["p50"] / after["stages"][stage]["p50"] - 1)
            for before, after in zip(first, second, strict=True)
        ]
        apart, most = (round(100 * value, 1) for value in (statistics.median(changes), max(changes)))
        rows.append(show({"stage": f"{stage}.p50", "apart, median of files (%)": apart, "at most (%)": most}))
    record(__file__, rows)


def measure(models: list[Path]) -> list[dict[str, Any]]:
    measured, seconds = benchmark(models)
    print(f"{len(models)} files: {seconds:.0f} s; other programs used {measured['watch']['others']} cores meanwhile")
    entries: list[dict[str, Any]] = measured["results"]
    return entries


if __name__ == "__main__":
    main()
