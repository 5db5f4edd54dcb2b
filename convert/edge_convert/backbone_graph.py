"""Backbones as TensorFlow functions, arranged for the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_classify.errors import DataError
from edge_train.backbone import Scaling, add_middle, load_backbone

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def build_backbone(weights: Path, alpha: float, resolution: int) -> keras.Model:
    """MobileNetV2 without its top and without its padding layers: float32 [1, R, R, 3] in [-1, 1] → [1, F], [1, M].

    The second output is the mean of the middle layer.

    Keras pads before each stride-2 convolution and convolves without padding. For the even resolutions of the grid,
    `same` padding computes exactly that, and spares the device five operations. Raises DataError if the weights do
    not fit.
    """
    import keras

    # Keras numbers its layers per process, and the numbers get into the file: equal cells must give equal files.
    keras.backend.clear_session()
    padded = load_backbone(weights, alpha, resolution)

    def without_padding(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return keras.layers.Identity(name=layer.name)
        config = layer.get_config()
        if config.get("strides") == (2, 2):
            config["padding"] = "same"
        return layer.__class__.from_config(config)

    backbone = keras.models.clone_model(
        padded, input_tensors=keras.Input((resolution, resolution, 3), batch_size=1), clone_function=without_padding
    )
    backbone.set_weights(padded.get_weights())
    return add_middle(backbone)


def load_hub(folder: Path) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """A SavedModel's features: float32 [1, R, R, 3] in [0, 1] → [1, F]."""
    import tensorflow_hub

    try:
        module = tensorflow_hub.load(str(folder))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: cannot load this run's backbone ({error}): train again") from error
    return lambda image: [module(image)]


def on_scaled(compute: Callable[[tf.Tensor], Any], resolution: int) -> tf.types.experimental.ConcreteFunction:
    """float32 [1, R, R, 3], scaled → what `compute` gives; quantization folds the scaling into the input."""
    import tensorflow as tf

    specification = tf.TensorSpec((1, resolution, resolution, 3), tf.float32, name="image")
    return tf.function(compute, [specification], autograph=False).get_concrete_function()


def on_pixels(
    compute: Callable[[tf.Tensor], Any], scaling: Scaling, resolution: int
) -> tf.types.experimental.ConcreteFunction:
    """uint8 [1, R, R, 3] → what `compute` gives; the scaling is part of the graph."""
    import tensorflow as tf

    def scale(image: tf.Tensor) -> Any:
        scaled = tf.cast(image, tf.float32) * np.float32(1 / scaling.deviation)
        if scaling.mean:
            scaled -= np.float32(scaling.mean / scaling.deviation)
        return compute(scaled)

    specification = tf.TensorSpec((1, resolution, resolution, 3), tf.uint8, name="image")
    return tf.function(scale, [specification], autograph=False).get_concrete_function()
