"""The graph that becomes a model file: MobileNetV2, the head and the `unknown` output, arranged for the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


class ModelGraph:
    """The whole graph, as TensorFlow functions.

    backbone: scaled image → features, and those of the middle layer if it has one.
    head: `kernel` [F, K] and `bias` [K]; with `unknown` also `basis` [d, F + M], `prototypes` [P, d],
        `votes` [K, P], `vote_weight`, `sharpness` [2], `threshold` [2], `steepness`, `leak`, `tail`; `shares` [P],
        `density_steepness`, `density_weight`, unless the nearest prototype counts, as for a still camera; and, if
        fitted, `direction` [F + M] and `offset`, to be added to what basis and direction give: [d], or [d + 1] with a
        direction.
    """

    def __init__(
        self,
        backbone: Callable[[tf.Tensor], list[tf.Tensor]],
        scaling: Scaling,
        head: Mapping[str, np.ndarray],
        resolution: int,
    ) -> None:
        self._backbone = backbone
        self._scaling = scaling
        self._head = head
        self._resolution = resolution

    def features_from_scaled(self) -> tf.types.experimental.ConcreteFunction:
        """float32 [1, R, R, 3], scaled → what the backbone gives."""
        import tensorflow as tf

        specification = tf.TensorSpec((1, self._resolution, self._resolution, 3), tf.float32, name="image")
        return tf.function(self._backbone, [specification], autograph=False).get_concrete_function()

    def from_scaled(self) -> tf.types.experimental.ConcreteFunction:
        """float32 [1, R, R, 3], scaled → probabilities; quantization folds the scaling into the input."""
        import tensorflow as tf

        specification = tf.TensorSpec((1, self._resolution, self._resolution, 3), tf.float32, name="image")
        return tf.function(self._probabilities, [specification], autograph=False).get_concrete_function()

    def features_from_pixels(self) -> tf.types.experimental.ConcreteFunction:
        """uint8 [1, R, R, 3] → what the backbone gives; the scaling is part of the graph."""
        return self._on_pixels(self._backbone)

    def from_pixels(self) -> tf.types.experimental.ConcreteFunction:
        """uint8 [1, R, R, 3] → probabilities; the scaling is part of the graph."""
        return self._on_pixels(self._probabilities)

    def _on_pixels(self, compute: Callable[[tf.Tensor], Any]) -> tf.types.experimental.ConcreteFunction:
        import tensorflow as tf

        def classify(image: tf.Tensor) -> Any:
            scale = np.float32(1 / self._scaling.deviation)
            scaled = tf.cast(image, tf.float32) * scale
            if self._scaling.mean:
                scaled -= np.float32(self._scaling.mean / self._scaling.deviation)
            return compute(scaled)

        specification = tf.TensorSpec((1, self._resolution, self._resolution, 3), tf.uint8, name="image")
        return tf.function(classify, [specification], autograph=False).get_concrete_function()

    def _probabilities(self, image: tf.Tensor) -> tf.Tensor:
        """With `unknown` as `edge_classify.learn.open_set` defines it, in few operators, all of which XNNPACK runs.

        What is linear is one product: lengths divide it afterwards, and constants are folded into weights. There are no
        additions but biases: those would stay in int8, since the backbone has some too (see `HEAD_OPERATORS`).
        """
        import tensorflow as tf

        features, *middle = self._backbone(image)
        head = self._head
        if "prototypes" not in head:
            return tf.nn.softmax(tf.matmul(features, head["kernel"]) + head["bias"], name="probabilities")
        classes, steepness = head["bias"].size, head["steepness"]
        rows = head["basis"] * steepness
        if "direction" in head:
            rows = np.vstack([rows, head["direction"] * steepness])
        ends = features.shape[1]
        weights = np.hstack([head["kernel"], rows[:, :ends].T])
        # All columns are scaled to one maximum, so that in int8 one scale does for all of them.
        scale = np.maximum(np.abs(weights).max(axis=0), np.float32(1e-6))
        products = tf.matmul(features, weights / scale)
        inside = products[:, classes:] * (_inverse_length(features) * scale[classes:])
        for part in middle:
            inside -= tf.matmul(part, -rows[:, ends:].T) * _inverse_length(part)
        if "offset" in head:
            inside -= head["offset"] * -steepness
        known, less_votes = self._known(inside)
        shares = tf.nn.softmax(products[:, :classes] * scale[:classes] - -head["bias"] - less_votes) * known
        return tf.concat([shares, np.float32(1.0) - known], axis=1, name="probabilities")

    def _known(self, inside: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The probability that a picture shows one of the classes, [1, 1], and minus what votes add to logits, [1, K].

        inside: the vector inside the subspace, and its product with the direction if there is one, times `steepness`.

        Both scores are computed in units of familiarity / steepness / sharpness: the bent lines, leak and tail, do not
        mind a factor.
        """
        import tensorflow as tf

        head = self._head
        steepness, sharpness, threshold = head["steepness"], head["sharpness"], head["threshold"]
        dimensions, unit = len(head["basis"]), sharpness[0] / steepness
        if "direction" in head:
            inside, along = inside[:, :dimensions], inside[:, dimensions:]
        offset = np.full(len(head["prototypes"]), -steepness, np.float32)
        nearness = tf.matmul(inside, head["prototypes"].T) + offset
        length = tf.sqrt(tf.reduce_sum(inside * inside, axis=1, keepdims=True))
        unfamiliar = self._distance_from_prototypes(nearness) - length
        if "direction" in head:
            unfamiliar -= along
        votes_scale = np.sqrt(sharpness[1] / unit)
        votes = tf.matmul(tf.sigmoid(nearness), head["votes"].T * votes_scale)
        ones = np.ones((len(head["votes"]), 1), np.float32)
        member = tf.matmul(votes * votes, ones) + np.array([-threshold[1] * sharpness[1] / unit], np.float32)
        logit = member - tf.nn.leaky_relu(unfamiliar, float(head["leak"]))
        known = tf.sigmoid(tf.nn.leaky_relu(logit, float(head["tail"])) * np.float32(unit))
        return known, votes * np.float32(-head["vote_weight"] / votes_scale)

    def _distance_from_prototypes(self, nearness: tf.Tensor) -> tf.Tensor:
        """What familiarity lacks to its threshold apart from the length, times `steepness`: [1, 1]."""
        import tensorflow as tf

        head = self._head
        steepness, threshold = head["steepness"], head["threshold"][0]
        if "shares" not in head:
            return np.float32(steepness * (threshold - 1)) - tf.reduce_max(nearness, axis=1, keepdims=True)
        influence = tf.exp(nearness * (head["density_steepness"] / steepness))
        density = tf.math.log(tf.matmul(influence, head["shares"][:, None]))
        weight = head["density_weight"] * steepness / head["density_steepness"]
        return np.float32(steepness * threshold) - density * weight


def _inverse_length(vector: tf.Tensor) -> tf.Tensor:
    """Of [1, n]: [1, 1]."""
    import tensorflow as tf

    squares = tf.reduce_sum(vector * vector, axis=1, keepdims=True)
    return tf.math.rsqrt(tf.maximum(squares, np.float32(1e-12)))
