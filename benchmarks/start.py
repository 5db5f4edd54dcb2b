"""Process start to first label, and peak memory: our command against MediaPipe Tasks, in turn.

    python benchmarks/start.py

Each run is a new process that classifies one JPEG with the same model file. MediaPipe has an environment of
its own. Prints medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import PHOTOS, environment, machine, model_file

RUNS = 15
PEER = """
import sys
import mediapipe
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision
options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=sys.argv[1]), max_results=1)
with vision.ImageClassifier.create_from_options(options) as classifier:
    result = classifier.classify(mediapipe.Image.create_from_file(sys.argv[2]))
    print(result.classifications[0].categories[0], flush=True)
"""


def first_line(words: list[str]) -> tuple[float, float]:
    """Milliseconds from start to the first line on standard output, and the process's peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    line = process.stdout.readline()
    elapsed = (time.perf_counter() - began) * 1e3
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status or not line:
        raise SystemExit(f"failed: {' '.join(words)}")
    return elapsed, usage.ru_maxrss / 1024


def main() -> None:
    print(machine())
    model = str(model_file(0.35, 96))
    picture = str(min((PHOTOS / "validation" / "alien").glob("*.jpg")))
    ways = {
        "edge-classify": [str(Path(sys.executable).with_name("edge-classify")), picture, "--model", model],
        "MediaPipe Tasks": [str(environment("mediapipe_tasks", "mediapipe")), "-c", PEER, model, picture],
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for counted in [False] + [True] * RUNS:
        for name, words in ways.items():
            figures = first_line(words)
            if counted:
                runs[name].append(figures)
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in runs.items()}
    for name, (milliseconds, megabytes) in medians.items():
        print(f"{name}: {milliseconds:.0f} ms to the first label, {megabytes:.0f} MB peak")
    ours, theirs = medians["edge-classify"], medians["MediaPipe Tasks"]
    print(f"MediaPipe / ours: {theirs[0] / ours[0]:.1f} in time, {theirs[1] / ours[1]:.1f} in memory")


if __name__ == "__main__":
    main()
