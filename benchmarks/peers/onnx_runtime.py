"""ONNX Runtime on a file that tf2onnx made of ours: resized and recoloured by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime
from worker import Classify, best, serve


def load(model: str, labels: list[str]) -> Classify:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    _, height, width, _ = session.get_inputs()[0].shape

    def classify(frame: np.ndarray) -> tuple[str, float]:
        rgb = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
        return best(session.run(None, {name: rgb[np.newaxis]})[0][0], labels)

    return classify


if __name__ == "__main__":
    serve(load)
