"""What the `unknown` output costs: a model file with it against the same one without, in every precision.

    python benchmarks/open_set.py

The cell 0.35@96 of Alien vs Predator, of which the share is largest. One process, one thread, blocks of 5 inferences,
the two files in turn. Prints the ratio of the shortest times, which other programs disturbed least, and the median of
the rounds' ratios; and in how many parts XNNPACK computes the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from common import WORK, Row, in_turns, machine, model_file, ratio, read_words, record, show

from edge_classify.model.interpreter import load_interpreter, running_operators
from edge_convert.conversion import Converter
from edge_convert.settings import PRECISIONS
from edge_train.run_folder import read_run

BLOCK, ROUNDS = 5, 600
PHOTOS_FOR_RANGES = 50


def invoke(path: Path) -> Callable[[], None]:
    interpreter = load_interpreter(path)

    def run() -> None:
        for _ in range(BLOCK):
            interpreter.invoke()

    return run


def main() -> None:
    read_words(__doc__)
    print(machine())
    model_file(0.35, 96)
    run = read_run(WORK / "runs" / "0.35_96")
    (cell,) = run.cells
    photos = run.calibration(cell.resolution, PHOTOS_FOR_RANGES)
    plain = replace(cell, arrays={name: cell.arrays[name] for name in ("kernel", "bias")})
    converters = {"with": Converter(cell, photos), "without": Converter(plain, photos)}
    folder = WORK / "open_set"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for precision in PRECISIONS:
        paths = {name: folder / f"{name}_{precision}.tflite" for name in converters}
        for name, converter in converters.items():
            paths[name].write_bytes(converter.convert(precision))
        seconds = in_turns({name: invoke(path) for name, path in paths.items()}, ROUNDS)
        middle, low, high = ratio(seconds, "with", "without")
        operators = running_operators(load_interpreter(paths["with"])) or []
        row: Row = {
            "precision": precision,
            "with / without, shortest times": round(min(seconds["with"]) / min(seconds["without"]), 3),
            "median of the rounds": round(middle, 3),
            "lower quartile": round(low, 3),
            "upper quartile": round(high, 3),
            "without (µs)": round(min(seconds["without"]) / BLOCK * 1e6),
            "parts in XNNPACK": operators.count("DELEGATE"),
            "outside": ", ".join(sorted(set(operators) - {"DELEGATE"})) or "nothing",
        }
        rows.append(show(row))
    record(__file__, rows)


if __name__ == "__main__":
    main()
