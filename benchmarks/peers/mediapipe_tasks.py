"""MediaPipe Tasks' ImageClassifier, one picture at a time, as its guide for Python has it. It prepares by itself."""

from __future__ import annotations

import cv2
import mediapipe
import numpy as np
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision
from worker import Classify, serve


def load(model: str, _: list[str]) -> Classify:
    options = vision.ImageClassifierOptions(tasks.BaseOptions(model_asset_path=model), max_results=1)
    classifier = vision.ImageClassifier.create_from_options(options)

    def classify(frame: np.ndarray) -> tuple[str, float]:
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        found = classifier.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb))
        category = found.classifications[0].categories[0]
        return category.category_name, category.score

    return classify


if __name__ == "__main__":
    serve(load)
