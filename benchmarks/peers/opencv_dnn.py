"""OpenCV's DNN module, on our file or on what tf2onnx made of it: resized and recoloured by OpenCV.

Its blobFromImage makes only channels-first floats, which these files do not take.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from worker import Classify, best, serve


def load(model: str, labels: list[str]) -> Classify:
    net = cv2.dnn.readNet(model)
    side = int(Path(model).stem.split("_")[3])  # a net does not tell the size of its input

    def classify(frame: np.ndarray) -> tuple[str, float]:
        rgb = cv2.cvtColor(cv2.resize(frame, (side, side)), cv2.COLOR_BGR2RGB)
        net.setInput(rgb[np.newaxis])
        return best(net.forward()[0], labels)

    return classify


if __name__ == "__main__":
    serve(load)
