"""docs/multipliers.md: what every width, resolution and precision gives and costs.

    python benchmarks/multipliers.py

The files are those of benchmarks/converting.py (made if they are missing: an hour), 4 widths × 5 resolutions × 4
precisions, of Alien vs Predator and of flowers. Accuracies are those of the manifests, on held-out photos; latency is
edge-benchmark's, here; ARM instructions are those of benchmarks/instructions.py, which needs root and qemu-user.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

from common import GRID_SETS, ROOT, benchmark, convert_grid
from instructions import count_on_boards

from edge_classify.benchmark.candidates import read_candidates
from edge_classify.benchmark.tables import as_markdown, machine
from edge_classify.learn.metrics import pareto_front
from edge_classify.model.manifest import read_manifest

BOARDS = {"pi4": "Pi 4", "pi5": "Pi 5"}
PRECISIONS = ("float32", "float16", "dynamic", "int8")

Row = dict[str, Any]

TEXT = """\
# What each width and resolution costs

Made by `benchmarks/multipliers.py` on {date}. Which of your own files to take:
[the rule](converting.md#which-file-to-take).

Frozen MobileNetV2 backbones with ImageNet weights, a head trained by `edge-train` with its defaults, one seed; files
from `edge-convert`. All cells use the weights of 224 pixels (0.5: of 160), whatever the resolution. With weights of its
own resolution a small cell gains 1 to 3 points.

- **multiply-adds**: millions per frame. **kB**: size of the file.
- **Alien vs Predator, flowers**: accuracy of the file itself, in percent of {photos} held-out photos, on
  which nothing was fitted. A single figure is uncertain by some 3 points: compare groups of neighbouring cells.
- **ms**: p50 from a 640×480 frame to its label, one thread, on {machine}{dot_products}.
  Ratios between precisions differ between processors: run `edge-benchmark` on yours.
- **Pi 4, Pi 5**: million ARM instructions per inference ([what they show and what not](arm.md)). A Pi 5 has int8 dot
  products, a Pi 4 has none.
- A **star** marks a file on the Pareto front: no other file is better both in that cost and in accuracy (mean of the
  two sets).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instructions", type=Path, metavar="FILE", help="of the same files, by instructions.py")
    parser.add_argument("--markdown", type=Path, default=ROOT / "docs" / "multipliers.md", metavar="FILE")
    options = parser.parse_args()
    folders = {title: convert_grid(name) for title, name in GRID_SETS.items()}
    files = {title: read_manifest(folder)["files"] for title, folder in folders.items()}
    timed = folders["Alien vs Predator"]
    rows = {entry["file"]: gather(entry["file"], files) for entry in files["Alien vs Predator"]}
    measured, _ = benchmark([timed])
    for result in measured["results"]:
        rows[Path(result["model"]).name]["ms"] = result["stages"]["total"]["p50"]
    if options.instructions:
        counted = json.loads(options.instructions.read_text())["results"]
    else:
        counted = [count for _, counts in count_on_boards(read_candidates([timed])).values() for count in counts]
    for count in counted:
        rows[f"{count['model']}.tflite"][count["board"]] = count["inference"]["instructions"] / 1e6
    photos = " and ".join(f"{entries[0]['figures']['photos']} ({title})" for title, entries in files.items())
    options.markdown.write_text(page(list(rows.values()), photos, measured["environment"]))
    print(f"wrote {options.markdown}")


def gather(file: str, files: dict[str, list[Row]]) -> Row:
    """What the manifests say of one file."""
    of_sets = {title: next(entry for entry in entries if entry["file"] == file) for title, entries in files.items()}
    accuracies = {title: 100 * entry["figures"]["accuracy"] for title, entry in of_sets.items()}
    return {**of_sets["Alien vs Predator"], **accuracies, "mean": sum(accuracies.values()) / len(accuracies)}


def page(rows: list[Row], photos: str, environment: dict[str, Any]) -> str:
    costs = {"kB": lambda row: row["bytes"] / 1e3, "ms": lambda row: row["ms"]}
    costs |= {title: lambda row, board=board: row[board] for board, title in BOARDS.items()}
    fronts = {
        title: [row["file"] for row in pareto_front(rows, cost, lambda row: row["mean"])]
        for title, cost in costs.items()
    }
    formats = {"kB": "{:.0f}", "ms": "{:.2f}", "Pi 4": "{:.1f}", "Pi 5": "{:.1f}"}
    columns = ["alpha@resolution", "precision", "multiply-adds", *GRID_SETS, *costs]
    lines = [
        [
            f"{row['alpha']}@{row['resolution']}",
            row["precision"],
            f"{row['multiply_adds'] / 1e6:.1f}",
            *(f"{row[title]:.1f}" for title in GRID_SETS),
            *(
                formats[title].format(cost(row)) + " \\*" * (row["file"] in fronts[title])
                for title, cost in costs.items()
            ),
        ]
        for row in sorted(rows, key=lambda row: (row["alpha"], row["resolution"], PRECISIONS.index(row["precision"])))
    ]
    features = environment["features"]
    text = TEXT.format(
        date=date.today().isoformat(),
        photos=photos,
        machine=machine(environment),
        dot_products=""
        if any("vnni" in feature or feature == "asimddp" for feature in features)
        else ", no int8 dot products",
    )
    return f"{text}\n{as_markdown(columns, lines)}"


if __name__ == "__main__":
    main()
