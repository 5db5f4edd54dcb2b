"""The graph that becomes a model file: MobileNetV2, the head, and the `unknown` output, made for the device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_classify.errors import DataError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from .run_folder import Cell


def build_backbone(weights: Path, alpha: float, resolution: int) -> keras.Model:
    """MobileNetV2 without its top and without its padding layers: float32 [1, R, R, 3] in [-1, 1] → [1, F].

    Keras pads before each stride-2 convolution and convolves without padding. For the even sizes of the
    grid `same` computes exactly that, and spares the device five operations. Raises DataError where the
    weights do not fit.
    """
    import keras

    padded = keras.applications.MobileNetV2(
        input_shape=(resolution, resolution, 3), alpha=alpha, include_top=False, weights=None, pooling="avg"
    )
    try:
        padded.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"{weights}: not the weights of a MobileNetV2 of alpha {alpha} without its top") from error

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
    return backbone


class Classifier:
    """The whole graph, as TensorFlow functions.

    head: `kernel` [F, K] and `bias` [K]; with `unknown` also `prototypes` [P, F], `sharpness`, `threshold`.
    """

    def __init__(self, backbone: keras.Model, head: dict[str, np.ndarray], resolution: int) -> None:
        self._backbone = backbone
        self._head = head
        self._resolution = resolution

    def from_scaled(self) -> tf.types.experimental.ConcreteFunction:
        """float32 [1, R, R, 3] in [-1, 1] → probabilities; quantization folds the scaling into its input."""
        import tensorflow as tf

        specification = tf.TensorSpec((1, self._resolution, self._resolution, 3), tf.float32, name="image")
        return tf.function(self._probabilities, input_signature=[specification]).get_concrete_function()

    def from_pixels(self) -> tf.types.experimental.ConcreteFunction:
        """uint8 [1, R, R, 3] → probabilities: the scaling is part of the graph."""
        import tensorflow as tf

        def classify(image: tf.Tensor) -> tf.Tensor:
            return self._probabilities(tf.cast(image, tf.float32) * np.float32(1 / 127.5) - np.float32(1))

        specification = tf.TensorSpec((1, self._resolution, self._resolution, 3), tf.uint8, name="image")
        return tf.function(classify, input_signature=[specification]).get_concrete_function()

    def _probabilities(self, image: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        features = self._backbone(image, training=False)
        classes = tf.nn.softmax(tf.matmul(features, self._head["kernel"]) + self._head["bias"])
        if "prototypes" not in self._head:
            return tf.identity(classes, name="probabilities")
        cosines = tf.matmul(tf.math.l2_normalize(features, axis=1), self._head["prototypes"].T)
        nearest = tf.reduce_max(cosines, axis=1, keepdims=True)
        known = tf.sigmoid(self._head["sharpness"] * (nearest - self._head["threshold"]))
        return tf.concat([classes * known, 1.0 - known], axis=1, name="probabilities")


def count_parameters(cell: Cell) -> int:
    """Numbers that the model holds: the backbone's weights, with batch norm folded in, and the head's."""
    convolutions = sum(shape.kernel + shape.channels for shape in _convolutions(cell.alpha, cell.resolution))
    return convolutions + sum(int(np.size(array)) for array in cell.head.values())


def count_multiply_adds(cell: Cell) -> int:
    """Multiply-adds of one inference: convolutions and matrix products, as published tables count them."""
    convolutions = sum(shape.positions * shape.kernel for shape in _convolutions(cell.alpha, cell.resolution))
    return convolutions + sum(int(array.size) for array in cell.head.values() if array.ndim == 2)


@dataclass(frozen=True)
class _Convolution:
    """positions: outputs a channel. kernel: weights. channels: outputs."""

    positions: int
    kernel: int
    channels: int


def _convolutions(alpha: float, resolution: int) -> list[_Convolution]:
    import keras

    backbone = keras.applications.MobileNetV2(
        input_shape=(resolution, resolution, 3), alpha=alpha, include_top=False, weights=None
    )
    return [
        _Convolution(
            layer.output.shape[1] * layer.output.shape[2], int(np.prod(layer.kernel.shape)), layer.output.shape[3]
        )
        for layer in backbone.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
