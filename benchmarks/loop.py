"""Frame to label: our loop against bare `invoke` of the same interpreter, and against MediaPipe Tasks.

    python benchmarks/loop.py

One process, one thread for inference, blocks of frames in turn, frames of the demo in memory (640×480, BGR
as a camera gives them). Prints medians over the rounds, and quartiles.
"""

from __future__ import annotations

import time

import cv2
import mediapipe
import numpy as np
from common import CELLS, in_turns, machine, model_file, ratio
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

from edge_classify import Classifier, Frame, demo
from edge_classify.latency import Latency
from edge_classify.pipeline import classify_frames

FRAMES, ROUNDS = 40, 100
IMAGES = [demo.draw(number).image for number in range(20, 20 + 30 * 8, 30)]


def ours(classifier: Classifier) -> None:
    latency = Latency()
    frames = (Frame(IMAGES[number % 8], number, time.perf_counter(), "") for number in range(FRAMES))
    for result in classify_frames(frames, classifier):
        latency.append(result.timing_ms, result.finished_at)


def bare(classifier: Classifier) -> None:
    invoke = classifier._interpreter.invoke
    for _ in range(FRAMES):
        invoke()


def peer(classifier: vision.ImageClassifier) -> None:
    for number in range(FRAMES):
        rgb = cv2.cvtColor(IMAGES[number % 8], cv2.COLOR_BGR2RGB)
        classifier.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb))


def main() -> None:
    print(machine())
    for alpha, resolution in CELLS:
        path = model_file(alpha, resolution)
        mine = Classifier(path)
        options = vision.ImageClassifierOptions(tasks.BaseOptions(model_asset_path=str(path)), max_results=1)
        with vision.ImageClassifier.create_from_options(options) as theirs:
            ways = {"ours": lambda c=mine: ours(c), "bare": lambda c=mine: bare(c), "peer": lambda c=theirs: peer(c)}
            seconds = in_turns(ways, ROUNDS)
        print(f"{alpha}@{resolution} int8: bare invoke {np.median(seconds['bare']) / FRAMES * 1e6:.0f} µs", end="")
        for text, name, base in (("ours / bare", "ours", "bare"), ("MediaPipe / ours", "peer", "ours")):
            middle, low, high = ratio(seconds, name, base)
            print(f"; {text} {middle:.2f} (quartiles {low:.2f} to {high:.2f})", end="")
        print()


if __name__ == "__main__":
    main()
