"""What the benchmarks share: where things are, model files of real photos to measure, and how results are recorded."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("EDGE_CLASSIFY_DATA", ROOT.parent / "shared"))
WORK = ROOT / "build" / "benchmarks"
PHOTOS = DATA / "data" / "alien_vs_predator"
FLOWERS = DATA / "data" / "flowers" / "validation"
CELLS = ((0.35, 96), (0.5, 160), (1.0, 224))
# The sets that the whole grid is made of, and its cells, as far as there are weights.
GRID_SETS = {"Alien vs Predator": "alien_vs_predator", "flowers": "flowers"}
ALPHAS = ("0.35", "0.5", "0.75", "1.0")
RESOLUTIONS = ("96", "128", "160", "192", "224")

# A line of a table: what was measured, by the name of the column, which has the unit.
Row = dict[str, str | int | float | None]


def read_words(description: str | None, metavar: str = "") -> list[str]:
    """What stands behind the program's name. Answers --help with the description, and refuses options.

    metavar: what the words are; without it there are none.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if metavar:
        parser.add_argument("words", nargs="*", metavar=metavar)
    words: list[str] = getattr(parser.parse_args(), "words", [])
    return words


def parse_with_parts(parser: argparse.ArgumentParser, parts: Iterable[str]) -> argparse.Namespace:
    """Parse a program's arguments, and with them, as `parts`, which of its parts to run: all, if none is named."""
    names = list(parts)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(names)} (default: all)")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(names):
        parser.error(f"no part {', '.join(sorted(unknown))}")
    options.parts = options.parts or names
    return options


def command(name: str, *arguments: object, env: dict[str, str] | None = None) -> float:
    """Run a command of ours, its output discarded; returns its seconds."""
    words = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stderr}")
    return time.perf_counter() - began


def run_folder(alpha: float, resolution: int) -> Path:
    """Each cell has its own, since training is timed; its model files are in `models` there."""
    return WORK / "runs" / f"{alpha}_{resolution}"


def train_arguments(alpha: float, resolution: int) -> list[object]:
    """edge-train's arguments for one cell of Alien vs Predator; its run goes below the benchmarks' folder."""
    cell = ("--alpha", alpha, "--resolution", resolution)
    return [PHOTOS, "-o", run_folder(alpha, resolution), "--weights", DATA / "weights", *cell]


def model_file(alpha: float, resolution: int, precision: str = "int8") -> Path:
    """A model file of Alien vs Predator, made when first asked for."""
    path = run_folder(alpha, resolution) / "models" / f"mobilenet_v2_{alpha}_{resolution}_{precision}.tflite"
    if not path.exists():
        arguments = train_arguments(alpha, resolution)
        command("edge-train", *arguments)
        command("edge-convert", arguments[2], "-o", path.parent, "--precision", precision)
    return path


def train_grid(
    name: str, alphas: Sequence[object] = ALPHAS, resolutions: Sequence[object] = RESOLUTIONS
) -> tuple[Path, Path]:
    """Train the cells on a set of the shared photos; returns the run, and where its model files belong."""
    run = WORK / "converting" / name
    command(
        *("edge-train", DATA / "data" / name, "-o", run, "--weights", DATA / "weights"),
        *("--alpha", *alphas, "--resolution", *resolutions),
    )
    return run, run.with_name(f"{name}_models")


def convert_grid(name: str) -> Path:
    """The model files of the whole grid, all precisions; those that are there already are not made again."""
    run, models = train_grid(name)
    command("edge-convert", run, "-o", models, "--max-drop", 100, "--max-accepted", 100)
    return models


def benchmark(models: Sequence[object]) -> tuple[dict[str, Any], float]:
    """edge-benchmark over model files or folders, one thread: its JSON, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        seconds = command("edge-benchmark", *models, "--num-threads", 1, "--result-json", result)
        return json.loads(result.read_text()), seconds


def environment(name: str, *packages: str) -> Path:
    """The Python of a virtual environment with these packages and nothing else, made when first asked for.

    Versions are those of constraints.txt; the environment is made anew when it or the packages change.
    """
    folder, constraints = WORK / "environments" / name, ROOT / "constraints.txt"
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = f"{' '.join(packages)}\n{platform.python_version()}\n{constraints.read_text()}"
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-c", constraints, *packages], check=True)
        stamp.write_text(wanted)
    return python


def in_turns(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Run each way once a round, in turn, after one round that does not count; returns their seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for counted in [False] + [True] * rounds:
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if counted:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, base: str) -> tuple[float, float, float]:
    """Median of the rounds' ratios, and their lower and upper quartile."""
    ratios = [a / b for a, b in zip(seconds[name], seconds[base], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return middle, low, high


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    flags = next((line.split(":")[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    # What int8 is fast by; the same name of a processor can stand for some with it and some without.
    dot_products = next((flag for flag in flags if "vnni" in flag or flag == "asimddp"), "no int8 dot products")
    return f"{platform.machine()}, {model}, {dot_products}, {os.cpu_count()} cores, Python {platform.python_version()}"


def show(row: Row) -> Row:
    """Print what was measured, on one line; returns it."""
    print(", ".join(f"{name}: {value}" for name, value in row.items()), flush=True)
    return row


def record(program: str, rows: Sequence[Row], part: str = "", notes: str = "") -> None:
    """Write a table as JSON, with machine, date, commit and arguments, to build/benchmarks/results.

    It is published by hand, if the machine had nothing else to do: a copy in benchmarks/results, then
    docs/make_measurements.py, which says how a page shows it.
    program: its `__file__`. part: if the program has several tables. notes: what a reader of the figures must know.
    """
    changes = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(changes, cwd=ROOT, capture_output=True, text=True, check=False)
    path = WORK / "results" / f"{Path(program).stem}{f'-{part}' if part else ''}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {
        "program": f"benchmarks/{Path(program).name}",
        "arguments": sys.argv[1:],
        "date": date.today().isoformat(),
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
        "commit": found.stdout.strip() or None,
        "notes": notes,
    }
    path.write_text(as_json(head, rows))
    print(f"wrote {path.relative_to(ROOT)}")


def as_json(head: dict[str, Any], rows: Sequence[Row]) -> str:
    """A result file: a row a line, for a commit to show what has changed."""
    facts = "".join(f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)},\n" for name, value in head.items())
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    return f'{{\n{facts} "rows": [\n{lines}\n ]\n}}\n'
