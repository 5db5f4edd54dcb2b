"""The process in which a model file is measured: `turns` starts one for each turn and reads what it writes.

    python -m edge_classify.benchmark.process TASK

TASK is a JSON object: model, a path; threads, a list; frames or seconds, how long a block is; warmup, the number of
uncounted frames before it (null: until they no longer get faster); slices, how many blocks to take without a pause;
third_party, an object with labels, input_range and input_size as `Classifier` takes them.
It writes JSON lines: the blocks, then facts about the model file, or else an error.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import sys
from functools import partial
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from ..errors import EdgeClassifyError
from ..model.classifier import Classifier
from ..model.interpreter import load_interpreter, running_operators
from ..model.self_test import HEIGHT, WIDTH, draw_card
from ..system.machine import System

# Milliseconds of preprocess, inference and postprocess.
FrameTimes = tuple[float, float, float]

_MIN_FRAMES = 10

# Warming up goes on until the median of this many frames has twice not been faster than before by more than 2 %.
_WARMUP_GROUP = 5
_NO_FASTER = 0.98
_MAX_WARMUP_S = 1.0


def measure(task: dict[str, Any]) -> None:
    threads = task["threads"]
    load = partial(Classifier, task["model"], **task["third_party"])
    classifier = load(num_threads=threads[0])
    classifier.classify(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    first_label_at = monotonic()
    peak_memory = 0
    frame = draw_card(0)
    for number in threads:
        if number != threads[0]:
            classifier = load(num_threads=number)
        _warm_up(classifier, frame, task["warmup"])
        for _ in range(task["slices"]):
            _write({"threads": number, "frames": _measure_block(classifier, frame, task)})
        if number == threads[0]:
            peak_memory = System().peak_memory() or 0
    operators = running_operators(load_interpreter(Path(task["model"]), threads[0]))
    facts = {"peak_memory": peak_memory, "operators": operators, "assumptions": classifier.assumptions}
    _write({"first_label_at": first_label_at, **facts})


def _warm_up(classifier: Classifier, frame: np.ndarray, count: int | None) -> None:
    """Classify `count` frames; None: until they no longer get faster, but no longer than a second."""
    if count is not None:
        for _ in range(count):
            classifier.classify(frame)
        return
    fastest, no_faster, started = float("inf"), 0, perf_counter()
    while no_faster < 2 and perf_counter() - started < _MAX_WARMUP_S:
        group_median = median(sum(classifier.classify(frame).timing) for _ in range(_WARMUP_GROUP))
        no_faster = no_faster + 1 if group_median > _NO_FASTER * fastest else 0
        fastest = min(fastest, group_median)


def _measure_block(classifier: Classifier, frame: np.ndarray, task: dict[str, Any]) -> list[FrameTimes]:
    if task["frames"] is not None:
        return [classifier.classify(frame).timing for _ in range(task["frames"])]
    times: list[FrameTimes] = []
    until = perf_counter() + task["seconds"]
    while len(times) < _MIN_FRAMES or perf_counter() < until:
        times.append(classifier.classify(frame).timing)
    return times


def _write(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    try:
        measure(json.loads(sys.argv[1]))
    except EdgeClassifyError as error:
        _write({"error": str(error), "exit_code": error.exit_code})
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)  # the command that started this was stopped, and has said so
