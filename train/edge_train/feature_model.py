"""The backbone as a TFLite model: LiteRT computes features three to four times as fast as TensorFlow does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edge_classify.errors import DataError, first_line
from edge_classify.images.preprocessing import Image
from edge_classify.model.interpreter import interpreter_class

from .backbone import (
    LAST_FROZEN,
    SCALINGS,
    Backbone,
    BackboneCost,
    add_middle,
    count_cost,
    freeze,
    is_backbone_file,
    load_backbone,
    on_pixels,
)
from .backbone_file import read_backbone_file
from .workers import threads_per_worker

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def make_feature_model(backbone: Backbone) -> tuple[bytes, BackboneCost]:
    """A TFLite model, uint8 RGB [1, R, R, 3] → features [1, F] and, if it has one, middle [1, M]; and its cost.

    That of a backbone file is in it; any other is made by TensorFlow.
    Raises DataError if the weights do not fit, or the SavedModel is no feature vector that TFLite can compute.
    """
    if is_backbone_file(backbone.weights):
        file = read_backbone_file(backbone.weights)
        return file.model, file.cost
    if backbone.kind == "hub":
        return _make_hub_model(backbone)
    return _convert(on_pixels(add_middle(load_backbone(backbone.weights, backbone.alpha))), backbone.resolution)


def split_for_fine_tuning(model: keras.Model, resolution: int) -> tuple[bytes, keras.Model]:
    """The network in two: prepared photos → maps of the last layer that stays frozen → features.

    The first part is a TFLite model, uint8 RGB [1, R, R, 3] → [1, h, w, C], of the weights as they are now; the second
    shares its layers with `model`.
    """
    import keras

    maps = model.get_layer(LAST_FROZEN).output
    lower, _ = _convert(on_pixels(keras.Model(model.input, maps)), resolution)
    return lower, keras.Model(maps, model.output)


def open_feature_model(model: bytes) -> Callable[[Image], np.ndarray]:
    """The function from one prepared photo (uint8 RGB [R, R, 3]) to the model's outputs, one after the other.

    Their shape is [F + M], or [h, w, C] for the lower part of a split network; float32.
    """
    interpreter = interpreter_class()(model_content=model, num_threads=threads_per_worker())
    interpreter.allocate_tensors()
    (input_index,) = (details["index"] for details in interpreter.get_input_details())
    output_indices = [details["index"] for details in interpreter.get_output_details()]

    def compute(prepared: Image) -> np.ndarray:
        interpreter.set_tensor(input_index, prepared[None])
        interpreter.invoke()
        return np.concatenate([interpreter.get_tensor(index)[0] for index in output_indices])

    return compute


def _make_hub_model(backbone: Backbone) -> tuple[bytes, BackboneCost]:
    import tensorflow as tf
    import tensorflow_hub

    def compute(pixels: tf.Tensor) -> list[tf.Tensor]:
        return [module(SCALINGS["hub"].divide(tf.cast(pixels, tf.float32)))]

    where = f"--backbone {backbone.name}"
    side = backbone.resolution
    try:
        module = tensorflow_hub.load(str(backbone.weights))
        width = compute(tf.reshape(tf.range(side * side * 3) % 256, (1, side, side, 3)))[0].shape
    except Exception as error:  # a SavedModel can fail in any way
        raise DataError(
            f"{where}: it computes no features from [0, 1] images of {side}x{side} pixels ({first_line(error)[:200]}): "
            "use a TF2 feature vector, with --resolution set to its own"
        ) from error
    if len(width) != 2:
        raise DataError(f"{where}: expected one vector per image, found shape {tuple(width)}: use a feature vector")
    try:
        return _convert(compute, side)
    except Exception as error:  # the converter raises kinds of its own
        operators = sorted(set(re.findall(r"'tf\.(\w+)' op", str(error))))
        reason = f"unsupported: {', '.join(operators)}" if operators else first_line(error)[:200]
        raise DataError(f"{where}: TFLite cannot compute it ({reason}): use another feature vector") from error


def _convert(compute: Callable[[tf.Tensor], list[tf.Tensor]], resolution: int) -> tuple[bytes, BackboneCost]:
    import tensorflow as tf

    frozen = freeze(compute, resolution)
    model: bytes = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    return model, count_cost(frozen)
