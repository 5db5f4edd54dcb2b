"""The way of pycoral's `classify_image.py` and adapters, on LiteRT: pycoral itself no longer installs.

Pillow resizes with its best filter; all scores are made numbers of 64 bits before the best is taken.
"""

from __future__ import annotations

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from worker import Classify, serve


def load(model: str, labels: list[str]) -> Classify:
    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()

    def classify(frame: np.ndarray) -> tuple[str, float]:
        into = interpreter.get_input_details()[0]
        _, height, width, _ = into["shape"]
        image = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        interpreter.tensor(into["index"])()[0][:, :] = image.resize((width, height), Image.Resampling.LANCZOS)
        interpreter.invoke()
        out = interpreter.get_output_details()[0]
        scores = interpreter.tensor(out["index"])().flatten()
        if np.issubdtype(out["dtype"], np.integer):
            scale, zero_point = out["quantization"]
            scores = scale * (scores.astype(np.int64) - zero_point)
        first = np.argpartition(scores, -1)[-1]
        return labels[first], float(scores[first])

    return classify


if __name__ == "__main__":
    serve(load)
