"""Runs under qemu for float16_arithmetic.py: beside it lie pictures.npy and 0.tflite, 1.tflite, …; it writes 0.npy, ….

Those are the probabilities that each model gives for each picture, float32 [n, labels].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main(folder: Path) -> None:
    pictures = np.load(folder / "pictures.npy")
    for path in sorted(folder.glob("*.tflite")):
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        (image,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
        answers = []
        for picture in pictures:
            interpreter.set_tensor(image["index"], picture[None])
            interpreter.invoke()
            answers.append(interpreter.get_tensor(scores["index"])[0])
        np.save(path.with_suffix(".npy"), np.stack(answers))


if __name__ == "__main__":
    main(Path(__file__).parent)
