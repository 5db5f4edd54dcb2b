"""Makes the model files beside it, which let most tests run without TensorFlow; needs TensorFlow itself.

.venv/bin/python tests/models/make.py

drawn/    what edge-train and edge-convert make of drawn photos of three shapes, with a backbone of one convolution
          of random weights: complete model files with manifest, 20 to 100 kB each
colors/   classifiers as other tools make them: no metadata, and every type of input and output
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from conftest import write_photos  # noqa: E402


class OneConvolution(tf.Module):
    """A feature vector in the form of TensorFlow Hub's."""

    def __init__(self) -> None:
        super().__init__()
        tf.random.set_seed(1)
        self.kernel = tf.Variable(tf.random.normal((8, 8, 3, 64)) / 8)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, self.kernel, 8, "VALID")), axis=(1, 2))


def make_drawn(output: Path, work: Path) -> None:
    photos, backbone, run = write_photos(work / "photos", 40), work / "one convolution", work / "run"
    tf.saved_model.save(OneConvolution(), str(backbone))
    programs = Path(sys.executable).parent
    cell = ("--backbone", f"hub:{backbone}", "--alpha", "1.0", "--resolution", "96", "--learning-rate", "0.01")
    subprocess.run([programs / "edge-train", photos, "-o", run, *cell], check=True)
    subprocess.run(
        [programs / "edge-convert", run, "-o", work / "models", "--max-drop", "25", "--max-accepted", "100"], check=True
    )
    for path in [*(work / "models").glob("*.tflite"), work / "models" / "manifest.json"]:
        shutil.copy(path, output)


def color_model(input_type: str, *, logits: bool) -> bytes:
    """Which of red, green and blue a picture has most of."""

    def classify(image: tf.Tensor) -> tf.Tensor:
        strength = 4.0 * tf.reduce_mean(image, axis=[1, 2])
        return strength if logits else tf.nn.softmax(strength)

    specification = tf.TensorSpec((1, 32, 32, 3), tf.float32)
    function = tf.function(classify, input_signature=[specification]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if input_type != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        corners = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
        converter.representative_dataset = lambda: ([np.full((1, 32, 32, 3), c, np.float32)] for c in corners)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(input_type)
    return converter.convert()


def main() -> None:
    for folder in (HERE / "drawn", HERE / "colors"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    with tempfile.TemporaryDirectory() as work:
        make_drawn(HERE / "drawn", Path(work))
    for input_type in ("float32", "int8", "uint8"):
        for output in ("probabilities", "logits"):
            path = HERE / "colors" / f"{input_type}_{output}.tflite"
            path.write_bytes(color_model(input_type, logits=output == "logits"))


if __name__ == "__main__":
    main()
