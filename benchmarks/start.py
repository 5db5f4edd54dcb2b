"""Process start to first label: our command against bare imports, and MediaPipe Tasks, in turn.

    python benchmarks/start.py [--model FILE --picture FILE] [--no-peer]

Each run is a new process that classifies one JPEG with the same model file; "imports only" loads numpy, OpenCV and
LiteRT's interpreter, which no program that uses them can avoid, and does nothing. MediaPipe has an environment of its
own. Prints medians, minima, peak memory, and the median of each turn's ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from common import PHOTOS, Row, environment, machine, model_file, record, show

RUNS = 25
IMPORTS = "import numpy, cv2; from ai_edge_litert.interpreter import Interpreter; print('imported', flush=True)"
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


class Start(NamedTuple):
    """One process: milliseconds from its start to its first line, and its peak memory in MB."""

    milliseconds: float
    megabytes: float


def start(words: list[str]) -> Start:
    # As an installed program: with its bytecode at hand.
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=settings)
    assert process.stdout is not None
    line = process.stdout.readline()
    elapsed = (time.perf_counter() - began) * 1e3
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status or not line:
        raise SystemExit(f"failed: {' '.join(words)}")
    return Start(elapsed, usage.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="default: 0.35@96 int8, trained on the shared photos")
    parser.add_argument("--picture", help="default: one of the shared photos")
    parser.add_argument("--no-peer", action="store_true", help="leave MediaPipe out")
    arguments = parser.parse_args()
    model = arguments.model or str(model_file(0.35, 96))
    picture = arguments.picture or str(min((PHOTOS / "validation" / "alien").glob("*.jpg")))
    commands = {
        "imports only": [sys.executable, "-c", IMPORTS],
        "edge-classify": [str(Path(sys.executable).with_name("edge-classify")), picture, "--model", model],
    }
    if not arguments.no_peer:
        commands["MediaPipe Tasks"] = [str(environment("mediapipe_tasks", "mediapipe")), "-c", PEER, model, picture]
    print(machine())
    for words in commands.values():
        start(words)  # fills the file cache
    turns = [{name: start(words) for name, words in commands.items()} for _ in range(RUNS)]
    rows: list[Row] = []
    for name in commands:
        times = [turn[name].milliseconds for turn in turns]
        memory = statistics.median(turn[name].megabytes for turn in turns)
        ratio = statistics.median(turn[name].milliseconds / turn["edge-classify"].milliseconds for turn in turns)
        row: Row = {
            "program": name,
            "to the first label (ms)": round(statistics.median(times)),
            "at best (ms)": round(min(times)),
            "to edge-classify": round(ratio, 2),
            "peak memory (MB)": round(memory),
        }
        rows.append(show(row))
    record(__file__, rows)


if __name__ == "__main__":
    main()
