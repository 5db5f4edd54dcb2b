"""The backbone as a TFLite model: LiteRT computes features three to four times as fast as TensorFlow does."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_classify.errors import DataError, first_line
from edge_classify.images.preprocessing import Image
from edge_classify.model.interpreter import interpreter_class

from .backbone import Backbone, load_backbone
from .workers import threads_per_worker

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Where features of the middle are taken, and above which fine-tuning changes weights: MobileNetV2's last narrow layer
# at a sixteenth of the picture's size.
_MIDDLE = "block_12_add"
# Bytes for making a model: 1.4 at 224 was seen to need 1.1 GB; and a half more.
MEMORY = 1_600_000_000


@dataclass(frozen=True)
class BackboneCost:
    """What a backbone computes and costs.

    features: numbers a picture, for the head. middle: further ones, of the middle layer, for telling strangers.
    parameters: batch norm folded in. multiply_adds: of one picture.
    """

    features: int
    middle: int
    parameters: int
    multiply_adds: int


def make_feature_model(backbone: Backbone) -> tuple[bytes, BackboneCost]:
    """A TFLite model, uint8 RGB [1, R, R, 3] → features [1, F] and, if it has one, middle [1, M]; its size.

    Raises DataError where the weights do not fit, or the SavedModel is no feature vector that TFLite can compute.
    """
    if backbone.kind == "hub":
        return _make_hub_model(backbone)
    return _convert(_on_pixels(_with_middle(load_backbone(backbone.weights, backbone.alpha))), backbone.resolution)


def split_at_middle(model: keras.Model, resolution: int) -> tuple[bytes, keras.Model]:
    """The network in two: prepared photos → the middle layer's maps → features.

    The first part is a TFLite model, uint8 RGB [1, R, R, 3] → [1, h, w, C], of the weights as they are now; the second
    shares its layers with `model`.
    """
    import keras

    middle = model.get_layer(_MIDDLE).output
    lower, _ = _convert(_on_pixels(keras.Model(model.input, middle)), resolution)
    return lower, keras.Model(middle, model.output)


def open_feature_model(model: bytes) -> Callable[[Image], np.ndarray]:
    """What maps one prepared photo (uint8 RGB, [R, R, 3]) to the model's outputs, in a row where there are several.

    float32 [F + M], or [h, w, C].
    """
    interpreter = interpreter_class()(model_content=model, num_threads=threads_per_worker())
    interpreter.allocate_tensors()
    (entrance,) = (details["index"] for details in interpreter.get_input_details())
    exits = [details["index"] for details in interpreter.get_output_details()]

    def compute(prepared: Image) -> np.ndarray:
        interpreter.set_tensor(entrance, prepared[None])
        interpreter.invoke()
        return np.concatenate([interpreter.get_tensor(index)[0] for index in exits])

    return compute


def _with_middle(model: keras.Model) -> keras.Model:
    """The same network with a second output: the mean of the middle layer, [n, M]."""
    import keras

    middle = keras.layers.GlobalAveragePooling2D(name="middle")(model.get_layer(_MIDDLE).output)
    return keras.Model(model.input, [model.output, middle])


def _on_pixels(model: keras.Model) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    import tensorflow as tf

    def compute(pixels: tf.Tensor) -> list[tf.Tensor]:
        outputs = model(tf.cast(pixels, tf.float32) / 127.5 - 1.0, training=False)
        return outputs if isinstance(outputs, list) else [outputs]

    return compute


def _make_hub_model(backbone: Backbone) -> tuple[bytes, BackboneCost]:
    import tensorflow as tf
    import tensorflow_hub

    def compute(pixels: tf.Tensor) -> list[tf.Tensor]:
        return [module(tf.cast(pixels, tf.float32) / 255.0)]

    where = f"--backbone {backbone.name}"
    side = backbone.resolution
    try:
        module = tensorflow_hub.load(str(backbone.weights))
        width = compute(tf.reshape(tf.range(side * side * 3) % 256, (1, side, side, 3)))[0].shape
    except Exception as error:  # a SavedModel can fail in any way
        raise DataError(
            f"{where}: it does not turn [0, 1] images of {side} pixels into features ({first_line(error)[:200]}): "
            "take a TF2 feature vector, and its own resolution by --resolution"
        ) from error
    if len(width) != 2:
        raise DataError(f"{where}: it gives {tuple(width)} and not a vector for each image: take a feature vector")
    try:
        return _convert(compute, side)
    except Exception as error:  # the converter's is one of TensorFlow's own
        operators = sorted(set(re.findall(r"'tf\.(\w+)' op", str(error))))
        reason = f"it has no {', '.join(operators)}" if operators else first_line(error)[:200]
        raise DataError(f"{where}: TFLite cannot compute it ({reason}): take another feature vector") from error


def _convert(compute: Callable[[tf.Tensor], list[tf.Tensor]], resolution: int) -> tuple[bytes, BackboneCost]:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # It warns that frozen functions are deprecated; `_count` counts in one, where batch norms are folded in.
    logging.getLogger("absl").setLevel(logging.ERROR)
    specification = tf.TensorSpec((1, resolution, resolution, 3), tf.uint8)
    frozen = convert_variables_to_constants_v2(
        tf.function(compute, input_signature=[specification]).get_concrete_function()
    )
    model: bytes = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    widths = [int(output.shape[-1]) for output in frozen.outputs]
    return model, BackboneCost(widths[0], sum(widths[1:]), *_count(frozen))


def _count(function: Any) -> tuple[int, int]:
    """Parameters and multiply-adds of a frozen function's convolutions and matrix products, as published tables do."""
    parameters = multiply_adds = 0
    for operation in function.graph.get_operations():
        if operation.type not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            continue
        kernel, output = operation.inputs[1].shape, operation.outputs[0].shape
        positions = int(np.prod(output[1:-1])) if len(output) == 4 else 1
        parameters += int(np.prod(kernel)) + int(output[-1])
        multiply_adds += positions * int(np.prod(kernel))
    return parameters, multiply_adds
