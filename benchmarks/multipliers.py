"""What every width, resolution and precision gives and costs: docs/multipliers.md.

    python benchmarks/multipliers.py

The files are those of benchmarks/converting.py (made if they are missing: an hour), 4 widths × 5 resolutions × 4
precisions, of Alien vs Predator and of flowers. Accuracies are those of the manifests, on held-out photos; latency is
edge-benchmark's, here; ARM instructions are those of benchmarks/instructions.py, which needs root and qemu-user.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import GRID_SETS, Row, benchmark, convert_grid, record, show
from instructions import PRECISIONS, count_on_boards

from edge_classify.benchmark.candidates import read_candidates
from edge_classify.model.manifest import ManifestEntry, read_manifest

BOARDS = {"pi4": "Pi 4 (million instructions)", "pi5": "Pi 5 (million instructions)"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instructions", type=Path, metavar="FILE", help="of the same files, by instructions.py")
    options = parser.parse_args()
    folders = {title: convert_grid(name) for title, name in GRID_SETS.items()}
    files = {title: read_manifest(folder)["files"] for title, folder in folders.items()}
    timed = folders["Alien vs Predator"]
    in_order = sorted(
        files["Alien vs Predator"],
        key=lambda entry: (entry["alpha"], entry["resolution"], PRECISIONS.index(entry["precision"])),
    )
    rows = {entry["file"]: gather(entry["file"], files) for entry in in_order}
    measured, _ = benchmark([timed])
    for result in measured["results"]:
        rows[Path(result["model"]).name]["a frame (ms)"] = round(result["stages"]["total"]["p50"], 2)
    if options.instructions:
        counted = json.loads(options.instructions.read_text())["results"]
    else:
        counted = [count for _, counts in count_on_boards(read_candidates([timed])).values() for count in counts]
    for count in counted:
        if count["board"] in BOARDS:
            million = count["inference"]["instructions"] / 1e6
            rows[f"{count['model']}.tflite"][BOARDS[count["board"]]] = round(million, 1)
    photos = " and ".join(f"{entries[0]['figures']['photos']} ({title})" for title, entries in files.items())
    record(__file__, [show(row) for row in rows.values()], notes=f"{photos} held-out photos.")


def gather(file: str, files: dict[str, list[ManifestEntry]]) -> Row:
    """What the manifests say of one file."""
    of_sets = {title: next(entry for entry in entries if entry["file"] == file) for title, entries in files.items()}
    entry = of_sets["Alien vs Predator"]
    return {
        "cell": f"{entry['alpha']}@{entry['resolution']}",
        "precision": entry["precision"],
        "multiply-adds (million)": round(entry["multiply_adds"] / 1e6, 1),
        **{f"{title} (%)": round(100 * of_set["figures"]["accuracy"], 1) for title, of_set in of_sets.items()},
        "kB": round(entry["bytes"] / 1e3),
    }


if __name__ == "__main__":
    main()
