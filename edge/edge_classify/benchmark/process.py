"""The process in which a model file is measured: `turns` starts one for each turn and reads what it writes.

python -m edge_classify.benchmark.process ORDER

ORDER is a JSON object: model; threads, a list; frames or seconds, how long a block is; warmup, how many frames come
before it (null: until steady); slices, how many blocks in a row. Lines of JSON come back: facts, blocks, or an error.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import sys
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

Row = tuple[float, float, float]

_LEAST_FRAMES = 10
_WARM_FRAMES = 5
_WARM_SECONDS = 1.0
_STEADY = 0.98


def measure(order: dict[str, Any]) -> None:
    path, threads = order["model"], order["threads"]
    classifier = Classifier(path, num_threads=threads[0])
    classifier.classify(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    facts = {"first_label_at": monotonic()}
    frame = draw_card(0)
    for number in threads:
        if number != threads[0]:
            classifier = Classifier(path, num_threads=number)
        warmup = _warm_up(classifier, frame, order["warmup"])
        for _ in range(order["slices"]):
            _write({"threads": number, "warmup": warmup, "frames": _block(classifier, frame, order)})
        if number == threads[0]:
            facts["peak_memory"] = System().peak_memory() or 0
    _write({**facts, **_interpreter_facts(Path(path), threads[0])})


def _warm_up(classifier: Classifier, frame: np.ndarray, count: int | None) -> list[Row]:
    """Frames that do not count: so many, or until they no longer get faster."""
    if count is not None:
        return [classifier.classify(frame).timing for _ in range(count)]
    rows: list[Row] = []
    fastest, no_faster, began = float("inf"), 0, perf_counter()
    while no_faster < 2 and perf_counter() - began < _WARM_SECONDS:
        some = [classifier.classify(frame).timing for _ in range(_WARM_FRAMES)]
        rows += some
        middle = median(sum(row) for row in some)
        no_faster = no_faster + 1 if middle > _STEADY * fastest else 0
        fastest = min(fastest, middle)
    return rows


def _block(classifier: Classifier, frame: np.ndarray, order: dict[str, Any]) -> list[Row]:
    if order["frames"] is not None:
        return [classifier.classify(frame).timing for _ in range(order["frames"])]
    rows: list[Row] = []
    until = perf_counter() + order["seconds"]
    while len(rows) < _LEAST_FRAMES or perf_counter() < until:
        rows.append(classifier.classify(frame).timing)
    return rows


def _interpreter_facts(path: Path, threads: int) -> dict[str, Any]:
    began = perf_counter()
    interpreter = load_interpreter(path, threads)
    loaded = perf_counter()
    signatures: dict[str, Any] = getattr(interpreter, "get_signature_list", dict)()
    inputs = interpreter.get_input_details()
    return {
        "init_ms": (loaded - began) * 1e3,
        "signature": next(iter(signatures), ""),
        "input_bytes": sum(int(one["shape"].prod()) * np.dtype(one["dtype"]).itemsize for one in inputs),
        "operators": running_operators(interpreter),
    }


def _write(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    try:
        measure(json.loads(sys.argv[1]))
    except EdgeClassifyError as error:
        _write({"error": str(error), "exit_code": error.exit_code})
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)  # the command that started this was stopped; it has told so
