"""The loop that `edge-classify` runs: with stages timed, and a state decided, which no peer does."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import numpy as np
from worker import Classify, serve

from edge_classify import Classifier, Frame
from edge_classify.pipeline.decision import Decision
from edge_classify.pipeline.loop import classify_frames


def load(model: str, _: list[str]) -> Classify:
    classifier = Classifier(model)
    newest: list[np.ndarray] = []

    def frames() -> Iterator[Frame]:
        while True:
            yield Frame(newest.pop(), 0, perf_counter(), "")

    results = classify_frames(frames(), classifier, Decision(classifier.labels))

    def classify(frame: np.ndarray) -> tuple[str, float]:
        newest.append(frame)
        found = next(results).classification
        return found.label, found.score

    return classify


if __name__ == "__main__":
    serve(load)
