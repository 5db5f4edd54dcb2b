"""The way of TensorFlow's `label_image.py`: Pillow resizes, the tensor is copied in and out, all scores are sorted."""

from __future__ import annotations

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from worker import Classify, serve


def load(model: str, labels: list[str]) -> Classify:
    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    _, height, width, _ = into["shape"]

    def classify(frame: np.ndarray) -> tuple[str, float]:
        image = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).resize((width, height))
        interpreter.set_tensor(into["index"], np.expand_dims(np.asarray(image), axis=0))
        interpreter.invoke()
        results = np.squeeze(interpreter.get_tensor(out["index"]))
        first, *_ = results.argsort()[-5:][::-1]
        score = float(results[first])
        return labels[first], score if out["dtype"] == np.float32 else score / 255

    return classify


if __name__ == "__main__":
    serve(load)
