"""Frame to label: our loop against bare `invoke` of the same interpreter, and against MediaPipe Tasks.

    python benchmarks/loop.py

One process, one thread for inference, blocks of 250 frames, two ways in turn, frames of the demo (640×480, BGR as a
camera gives them). A frame is in the processor's cache, as one that was just captured is; "cold" goes round eight
frames of 7 MB, which drop out of it before their turn. Prints medians over the rounds, and quartiles.
"""

from __future__ import annotations

import time

import cv2
import mediapipe
import numpy as np
from common import CELLS, Row, in_turns, machine, model_file, ratio, read_words, record, show
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

from edge_classify import Classifier, Frame
from edge_classify.pipeline.latency import Latency
from edge_classify.pipeline.loop import classify_frames
from edge_classify.sources import demo

FRAMES, ROUNDS = 250, 40
IMAGES = [demo.draw(number).image for number in range(20, 20 + 30 * 8, 30)]


def ours(classifier: Classifier, images: list[np.ndarray]) -> None:
    latency = Latency()
    frames = (Frame(images[number % len(images)], number, time.perf_counter(), "") for number in range(FRAMES))
    for result in classify_frames(frames, classifier):
        latency.append(result.timing_ms, result.finished_at)


def bare(classifier: Classifier) -> None:
    invoke = classifier._interpreter.invoke
    for _ in range(FRAMES):
        invoke()


def peer(classifier: vision.ImageClassifier) -> None:
    for _ in range(FRAMES):
        rgb = cv2.cvtColor(IMAGES[0], cv2.COLOR_BGR2RGB)
        classifier.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb))


def main() -> None:
    read_words(__doc__)
    print(machine())
    print("ours: the loop; cold: the loop with frames out of cache; bare: invoke alone; peer: MediaPipe Tasks")
    rows: list[Row] = []
    for alpha, resolution in CELLS:
        path = model_file(alpha, resolution)
        mine = Classifier(path)
        options = vision.ImageClassifierOptions(tasks.BaseOptions(model_asset_path=str(path)), max_results=1)
        with vision.ImageClassifier.create_from_options(options) as theirs:
            ways = {
                "ours": lambda c=mine: ours(c, IMAGES[:1]),
                "cold": lambda c=mine: ours(c, IMAGES),
                "bare": lambda c=mine: bare(c),
                "peer": lambda c=theirs: peer(c),
            }
            for name, base in (("ours", "bare"), ("cold", "bare"), ("peer", "ours")):
                seconds = in_turns({name: ways[name], base: ways[base]}, ROUNDS)
                middle, low, high = ratio(seconds, name, base)
                microseconds = np.median(seconds[base]) / FRAMES * 1e6
                row: Row = {
                    "cell": f"{alpha}@{resolution}",
                    "compared": f"{name} / {base}",
                    "ratio": round(middle, 3),
                    "lower quartile": round(low, 3),
                    "upper quartile": round(high, 3),
                    "the latter (µs)": round(float(microseconds)),
                }
                rows.append(show(row))
    record(__file__, rows)


if __name__ == "__main__":
    main()
