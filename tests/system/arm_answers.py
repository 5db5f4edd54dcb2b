"""Saves the probabilities of each model file as FOLDER/NAME.npz; runs inside test_arm.py's ARM system and outside.

arm_answers.py FOLDER NAME
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edge_classify import Classifier
from edge_classify.images.preprocessing import preprocess
from edge_classify.model.interpreter import BUILTIN_MODEL


def main(folder: Path, name: str) -> None:
    frames = np.load(folder / "frames.npy")
    answers = {}
    for side in (96, 128, 160, 192, 224):
        shape = (side, side, 3)
        answers[f"pixels {side}"] = np.stack([preprocess(frame, np.empty(shape, np.uint8)) for frame in frames])
    # The first run, which is the one on this machine, makes the pixels that all machines are given.
    if not (folder / "equal.npz").exists():
        np.savez(folder / "equal.npz", **answers)
    equal = np.load(folder / "equal.npz")
    for path in (BUILTIN_MODEL, *sorted(folder.glob("*.tflite"))):
        classifier = Classifier(path)
        answers[f"frames {path.stem}"] = np.stack([classifier.probabilities(frame) for frame in frames])
        # A picture of the model's own size is only copied.
        pictures = equal[f"pixels {classifier.input_size[0]}"][..., ::-1]
        answers[f"equal {path.stem}"] = np.stack([classifier.probabilities(picture) for picture in pictures])
    np.savez(folder / f"{name}.npz", **answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
