"""What each precision keeps and costs over the grid: accuracy against the trained model, agreement, time.

    python benchmarks/converting.py                                        # 20 cells of two sets: 20 minutes and more
    python benchmarks/converting.py --alpha 0.35 --resolution 96 160       # some of them

Photos: Alien vs Predator and flowers; weights from local files. Figures are those of the manifest, and so of the
files themselves; times are bare inference, one thread, the precisions of a cell in turn.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import label_of
from common import ALPHAS, GRID_SETS, RESOLUTIONS, Row, command, in_turns, machine, ratio, record, show, train_grid
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

from edge_classify import Classifier
from edge_classify.model.interpreter import load_interpreter
from edge_classify.model.manifest import ManifestEntry, read_manifest

PRECISIONS = ("float32", "float16", "dynamic", "int8")
ROUNDS, INVOCATIONS = 20, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--alpha", nargs="+", default=ALPHAS)
    parser.add_argument("--resolution", nargs="+", default=RESOLUTIONS)
    options = parser.parse_args()
    print(machine())
    rows: list[Row] = []
    seconds: list[Row] = []
    for title, name in GRID_SETS.items():
        run, models = train_grid(name, options.alpha, options.resolution)
        convert = ("edge-convert", run, "-o", models, "--max-drop", 100, "--max-accepted", 100)
        shutil.rmtree(models, ignore_errors=True)
        first = command(*convert, "--precision", "float32", "int8")
        again = command(*convert, "--precision", "float32", "int8")
        both: Row = {"float32 and int8 files (s)": round(first), "again, nothing changed (s)": round(again, 1)}
        seconds.append(show({"photos": title, **both}))
        command(*convert)
        entries = read_manifest(models)["files"]
        cells = {(entry["alpha"], entry["resolution"]) for entry in entries}
        times = [compare_times(models, *cell) for cell in sorted(cells)]
        for precision in PRECISIONS:
            ratios = [cell_times[precision] for cell_times in times]
            figures = losses_of([entry for entry in entries if entry["precision"] == precision])
            took = f"{min(ratios):.2f} to {max(ratios):.2f}"
            rows.append(show({"photos": title, "precision": precision, **figures, "time, of float32's": took}))
        worst = min((agreement_with_mediapipe(models / entry["file"], run), entry["file"]) for entry in entries)
        print(f"  MediaPipe's label is ours on {worst[0]:.1%} of held-out photos at least ({worst[1]})")
    record(__file__, rows)
    record(__file__, seconds, part="seconds")


def losses_of(entries: list[ManifestEntry]) -> Row:
    """What a precision loses, over the cells."""
    losses = [100 * (entry["figures"]["float32_accuracy"] - entry["figures"]["accuracy"]) for entry in entries]
    worst = entries[int(np.argmax(losses))]
    agreements = [entry["figures"]["agreement"] for entry in entries]
    changes = [100 * abs(entry["figures"]["confidence_change"]) for entry in entries]
    return {
        "points lost, mean": round(float(np.mean(losses)), 2),
        "at most": round(max(losses), 1),
        "in cell": f"{worst['alpha']}@{worst['resolution']}" if max(losses) > 0 else None,
        "agreement, mean (%)": round(100 * float(np.mean(agreements)), 1),
        "at least (%)": round(100 * min(agreements), 1),
        "confidence changes by (points)": round(float(np.mean(changes)), 1),
    }


def compare_times(models: Path, alpha: float, resolution: int) -> dict[str, float]:
    """Each precision's time as a share of float32's."""
    ways: dict[str, Callable[[], None]] = {}
    for precision in PRECISIONS:
        interpreter = load_interpreter(models / f"mobilenet_v2_{alpha}_{resolution}_{precision}.tflite")
        ways[precision] = partial(invoke, interpreter)
    seconds = in_turns(ways, ROUNDS)
    return {precision: ratio(seconds, precision, "float32")[0] for precision in PRECISIONS}


def invoke(interpreter: Any) -> None:
    for _ in range(INVOCATIONS):
        interpreter.invoke()


def agreement_with_mediapipe(path: Path, run: Path) -> float:
    """The share of prepared held-out photos on which MediaPipe Tasks says our label."""
    classifier = Classifier(path)
    classifier.crop = None  # prepared photos show the part already
    photos = np.load(run / "prepared" / f"{classifier.input_size[0]}_held_out.npy", mmap_mode="r")
    options = vision.ImageClassifierOptions(tasks.BaseOptions(model_asset_path=str(path)), max_results=1)
    same = 0
    with vision.ImageClassifier.create_from_options(options) as peer:
        for photo in photos:
            frame = photo[..., ::-1]
            label = label_of(peer, frame)
            scores = classifier.probabilities(frame)
            # Where the best two are equal, either is right.
            same += scores[classifier.labels.index(label)] == scores.max()
    return same / len(photos)


if __name__ == "__main__":
    main()
