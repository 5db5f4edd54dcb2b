"""The backbone: MobileNetV2 without its top, or a feature vector from TF Hub; its layers, its scaling, its cost."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_classify.errors import DataError
from edge_classify.system.atomic_write import atomic_file
from edge_classify.system.packages import install_command

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

MOBILENET = "mobilenet_v2"
HUB = "hub:"
ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
RESOLUTIONS = (96, 128, 160, 192, 224)
# Keras offers these widths' weights at 224 only.
ONLY_AT_224 = (1.3, 1.4)
# Of the files that Keras saves weights in.
WEIGHTS_SUFFIXES = (".weights.h5", ".h5", ".keras")
# Of backbone files, which are TFLite models: see `backbone_file`.
BACKBONE_FILE_SUFFIX = ".tflite"
# The first bytes of such a file, after the first four.
_TFLITE_IDENTIFIER = b"TFL3"
# What an array takes in such a file beyond its own bytes, at most.
_HDF5_BYTES = 4096
# Where the middle's features are taken: MobileNetV2's first narrow layer at a thirty-second of the picture's size. At
# small resolutions padding outweighs the picture in the layers after it.
MIDDLE = "block_13_project_BN"
# Above this layer fine-tuning changes weights: the last narrow one at a sixteenth of the picture's size.
LAST_FROZEN = "block_12_add"
# For a process that converts a network: 1.0 and 1.4 at 224 were seen to need 1.1 GB; and a half more.
TENSORFLOW_MEMORY_BYTES = 1_600_000_000


@dataclass(frozen=True)
class Backbone:
    """One backbone with its weights: MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381), or another.

    kind: "mobilenet_v2" or "hub". weights: a file, in a format of WEIGHTS_SUFFIXES or a backbone file, or the folder of
    a SavedModel.
    trained_at: the resolution that the weights were trained at, 0 if nothing says so.
    name: what the weights are called, without their folder.
    """

    kind: str
    alpha: float
    resolution: int
    weights: Path
    sha256: str
    trained_at: int
    name: str


@dataclass(frozen=True)
class BackboneCost:
    """What a backbone computes and costs.

    features: how many numbers it gives for the head. middle: how many more, of the middle layer, for `unknown`.
    parameters: batch norm folded in. multiply_adds: for one picture.
    """

    features: int
    middle: int
    parameters: int
    multiply_adds: int

    def with_head(self, arrays: Mapping[str, np.ndarray]) -> BackboneCost:
        """The cost of the whole model; arrays: the head's, whose matrices are each multiplied with once."""
        return replace(
            self,
            parameters=self.parameters + sum(int(array.size) for array in arrays.values()),
            multiply_adds=self.multiply_adds + sum(int(array.size) for array in arrays.values() if array.ndim == 2),
        )


@dataclass(frozen=True)
class Scaling:
    """How a backbone expects its pixels: (pixel − mean) / deviation.

    Two ways to compute it, equal but for the last bit: which of them is used where stays as it is, so that features
    and model files stay the same to the last bit.
    """

    mean: float
    deviation: float

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 → float32, of the same shape."""
        return (pixels.astype(np.float32) - np.float32(self.mean)) / np.float32(self.deviation)

    def divide(self, pixels: Any) -> Any:
        """pixel / deviation − mean / deviation, of a float32 array or tensor."""
        scaled = pixels / self.deviation
        return scaled - self.mean / self.deviation if self.mean else scaled


# By a backbone's kind.
SCALINGS = {MOBILENET: Scaling(127.5, 127.5), "hub": Scaling(0.0, 255.0)}


def is_backbone_file(weights: Path) -> bool:
    """Whether it is a TFLite file, which among weights is a backbone file, by its content. Raises OSError."""
    if not weights.is_file():
        return False
    with weights.open("rb") as file:
        return file.read(8)[4:] == _TFLITE_IDENTIFIER


def has_tensorflow() -> bool:
    return find_spec("tensorflow") is not None


def require_tensorflow(work: str, instead: str, packages: Sequence[str] = ("tensorflow>=2.20,<3",)) -> None:
    """Raise DataError if TensorFlow is not installed. work: what needs it. instead: what can be done without it."""
    if not has_tensorflow():
        raise DataError(f"{work} needs TensorFlow: {install_command(*packages)}, or {instead}")


def load_backbone(weights: Path | None, alpha: float, resolution: int | None = None) -> keras.Model:
    """MobileNetV2 as Keras Applications has it: float32 [n, R, R, 3] in [-1, 1] → features [n, F].

    F is 1280 up to alpha 1.0, 1664 at 1.3 and 1792 at 1.4. weights: a file of any name, whose content decides which
    format of Keras it is; None leaves them random. resolution: None for any. Raises DataError if they do not fit.
    """
    import keras

    model = keras.applications.MobileNetV2(
        input_shape=(resolution, resolution, 3), alpha=alpha, include_top=False, weights=None, pooling="avg"
    )
    if weights is not None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                # Keras goes by the name.
                named = Path(folder) / f"weights{find_weights_suffix(weights)}"
                named.symlink_to(weights.resolve())
                model.load_weights(named)
        except (ValueError, OSError, KeyError) as error:
            raise DataError(f"{weights}: not the weights of a MobileNetV2 of alpha {alpha} without its top") from error
    return model


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a network's weights as Keras does, `.weights.h5`, whole or not at all; folders are made.

    Raises OSError, with `path` as its file name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.partial.weights.h5")
    arrays = model.get_weights()
    try:
        # No room must show before HDF5 writes: if that fails, it crashes when the program ends.
        with partial.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, sum(array.nbytes + _HDF5_BYTES for array in arrays))
        model.save_weights(partial)
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def find_weights_suffix(path: Path) -> str:
    """Which suffix a weights file should have, by its content. Raises OSError if it is of no such format.

    Keras' downloads are of the format before Keras 3, `.h5`; what it saves now is `.weights.h5`, or a whole `.keras`.
    Without h5py, which comes with TensorFlow, the two kinds of HDF5 are told apart by the file's name.
    """
    if is_backbone_file(path):
        return BACKBONE_FILE_SUFFIX
    if zipfile.is_zipfile(path):
        return ".keras"
    if find_spec("h5py") is None:
        return ".weights.h5" if path.name.endswith(".weights.h5") else ".h5"
    import h5py

    with h5py.File(path) as file:
        return ".h5" if "layer_names" in file.attrs or "model_weights" in file else ".weights.h5"


def add_middle(model: keras.Model) -> keras.Model:
    """The same network with a second output: the mean of the middle layer, [n, M]."""
    import keras

    middle = keras.layers.GlobalAveragePooling2D(name="middle")(model.get_layer(MIDDLE).output)
    return keras.Model(model.input, [model.output, middle])


def on_pixels(model: keras.Model) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """A MobileNetV2 as a function of prepared photos, uint8 RGB [n, R, R, 3], to the list of its outputs."""
    import tensorflow as tf

    def compute(pixels: tf.Tensor) -> list[tf.Tensor]:
        outputs = model(SCALINGS[MOBILENET].divide(tf.cast(pixels, tf.float32)), training=False)
        return outputs if isinstance(outputs, list) else [outputs]

    return compute


def freeze(compute: Callable[[tf.Tensor], list[tf.Tensor]], resolution: int) -> Any:
    """`compute`, of one prepared photo (uint8 RGB [1, R, R, 3]), as a concrete function whose weights are constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # TensorFlow warns that frozen functions are deprecated.
    logging.getLogger("absl").setLevel(logging.ERROR)
    specification = tf.TensorSpec((1, resolution, resolution, 3), tf.uint8)
    return convert_variables_to_constants_v2(
        tf.function(compute, input_signature=[specification]).get_concrete_function()
    )


def count_cost(frozen: Any) -> BackboneCost:
    """The cost of a frozen function: convolutions and matrix products are counted, as published tables do."""
    parameters = multiply_adds = 0
    for operation in frozen.graph.get_operations():
        if operation.type not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            continue
        kernel, output = operation.inputs[1].shape, operation.outputs[0].shape
        positions = int(np.prod(output[1:-1])) if len(output) == 4 else 1
        parameters += int(np.prod(kernel)) + int(output[-1])
        multiply_adds += positions * int(np.prod(kernel))
    widths = [int(output.shape[-1]) for output in frozen.outputs]
    return BackboneCost(widths[0], sum(widths[1:]), parameters, multiply_adds)


def copy_weights(backbone: Backbone, folder: Path) -> Path:
    """Put the weights into `folder` once, named by content and format; returns the copy's path."""
    suffix = "" if backbone.weights.is_dir() else find_weights_suffix(backbone.weights)
    copy = folder / f"{backbone.sha256[:16]}{suffix}"
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{copy.name}.{os.getpid()}.partial"  # other cells may copy the same
        try:
            if backbone.weights.is_dir():
                shutil.copytree(backbone.weights, partial)
                partial.replace(copy)
            else:
                with backbone.weights.open("rb") as weights, atomic_file(copy) as file:
                    shutil.copyfileobj(weights, file)
        except OSError as error:
            if partial.is_dir():
                shutil.rmtree(partial)
            error.filename = str(copy)  # not the file that is copied
            raise
    return copy
