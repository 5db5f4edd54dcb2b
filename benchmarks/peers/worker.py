"""What every worker does: load one model file, then classify frames whenever it is told to, and say how long each took.

    python WORKER.py MODEL FRAMES.npy LABEL …

The first line on standard output is {} once the model is loaded, or {"error": …} in the peer's own words. For each line
on standard input, a number of frames, it answers with a line: {"nanoseconds": [of each frame], "labels": [of each]}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from time import perf_counter_ns

import cv2
import numpy as np

# A frame, uint8 BGR (480, 640, 3), to its label and that label's score, 0 to 1.
Classify = Callable[[np.ndarray], tuple[str, float]]


def serve(load: Callable[[str, list[str]], Classify]) -> None:
    """Do as told on standard input until it ends. load: makes a `Classify` of a model file and its labels."""
    cv2.setNumThreads(1)
    model, frames, *labels = sys.argv[1:]
    try:
        classify = load(model, labels)
    except Exception as error:
        print(json.dumps({"error": str(error).strip().partition("\n")[0]}), flush=True)
        return
    pictures = cycle(np.load(frames, mmap_mode="r"))
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(classify, islice(pictures, int(line)))), flush=True)


def run(classify: Classify, pictures: islice[np.ndarray]) -> dict[str, list[int] | list[str]]:
    nanoseconds, labels = [], []
    frame = np.empty((480, 640, 3), np.uint8)
    for picture in pictures:
        # As a camera does: always into the same memory, which the processor's cache then holds.
        np.copyto(frame, picture)
        began = perf_counter_ns()
        label, _ = classify(frame)
        nanoseconds.append(perf_counter_ns() - began)
        labels.append(label)
    return {"nanoseconds": nanoseconds, "labels": labels}


def best(scores: np.ndarray, labels: Sequence[str]) -> tuple[str, float]:
    """The largest of one output's scores; our int8 files give them in steps of 1/256."""
    index = int(scores.argmax())
    score = float(scores[index])
    return labels[index], score / 256 if scores.dtype == np.uint8 else score
