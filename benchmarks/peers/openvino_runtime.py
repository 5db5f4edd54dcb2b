"""OpenVINO on our file, which it reads as it is: resized and recoloured by OpenCV.

Its own resize, built into the model by PrePostProcessor, takes longer.
"""

from __future__ import annotations

import cv2
import numpy as np
import openvino
from worker import Classify, best, serve

# One thread; and where the processor has bfloat16, it would else compute float32 files in that.
OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}


def load(model: str, labels: list[str]) -> Classify:
    compiled = openvino.Core().compile_model(model, "CPU", OPTIONS)
    request = compiled.create_infer_request()
    _, height, width, _ = compiled.input(0).shape

    def classify(frame: np.ndarray) -> tuple[str, float]:
        rgb = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
        return best(request.infer(rgb[np.newaxis], share_inputs=True, share_outputs=True)[0][0], labels)

    return classify


if __name__ == "__main__":
    serve(load)
