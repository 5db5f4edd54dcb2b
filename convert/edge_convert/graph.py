"""The graph that becomes a model file: MobileNetV2, the head and the `unknown` output, arranged for the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
        `votes` [K, P], `sharpness` [2], `threshold` [2], `steepness`, `leak`, `tail` and, if fitted, `direction`
        [F + M] and `offset`, to be added to what basis and direction give: [d], or [d + 1] with a direction.
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

    def from_pixels(self) -> tf.types.experimental.ConcreteFunction:
        """uint8 [1, R, R, 3] → probabilities; the scaling is part of the graph."""
        import tensorflow as tf

        def classify(image: tf.Tensor) -> tf.Tensor:
            scale = np.float32(1 / self._scaling.deviation)
            scaled = tf.cast(image, tf.float32) * scale
            if self._scaling.mean:
                scaled -= np.float32(self._scaling.mean / self._scaling.deviation)
            return self._probabilities(scaled)

        specification = tf.TensorSpec((1, self._resolution, self._resolution, 3), tf.uint8, name="image")
        return tf.function(classify, [specification], autograph=False).get_concrete_function()

    def _probabilities(self, image: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        outputs = self._backbone(image)
        classes = tf.nn.softmax(tf.matmul(outputs[0], self._head["kernel"]) + self._head["bias"])
        if "prototypes" not in self._head:
            return tf.identity(classes, name="probabilities")
        unknown = self._unknown(outputs)
        return tf.concat([classes * (1.0 - unknown), unknown], axis=1, name="probabilities")

    def _unknown(self, outputs: list[tf.Tensor]) -> tf.Tensor:
        """The probability that a picture shows none of the classes, [1, 1]; `edge_classify.learn.open_set` defines it.

        Written without additions: those would stay in int8, since the backbone has some too (see `HEAD_OPERATORS`).
        """
        import tensorflow as tf

        parts = [tf.math.l2_normalize(part, axis=1) for part in outputs]
        rows = self._head["basis"]
        if "direction" in self._head:
            rows = np.vstack([rows, self._head["direction"]])
        ends = np.cumsum([part.shape[1] for part in parts])
        columns = np.split(rows, ends[:-1], axis=1)
        products = tf.matmul(parts[0], columns[0].T)
        for part, column in zip(parts[1:], columns[1:], strict=True):
            products -= tf.matmul(part, -column.T)
        if "offset" in self._head:
            products -= -self._head["offset"]
        dimensions = len(self._head["basis"])
        inside = products[:, :dimensions]
        length = tf.sqrt(tf.reduce_sum(inside * inside, axis=1, keepdims=True))
        nearness = tf.matmul(inside, self._head["prototypes"].T)
        nearest = tf.reduce_max(nearness, axis=1, keepdims=True)
        familiarity = nearest - length * np.float32(-1.0)
        if "direction" in self._head:
            familiarity -= products[:, dimensions:] * np.float32(-1.0)
        kernel = tf.sigmoid((nearness - np.float32(1.0)) * self._head["steepness"])
        votes = tf.matmul(kernel, self._head["votes"].T)
        membership = tf.reduce_sum(votes * votes, axis=1, keepdims=True)
        sharpness, threshold = self._head["sharpness"], self._head["threshold"]
        familiar = (familiarity - threshold[0]) * sharpness[0]
        foreign = (membership - threshold[1]) * -sharpness[1]
        strange = foreign - tf.minimum(familiar, familiar * self._head["leak"])
        return tf.sigmoid(tf.minimum(strange, strange * self._head["tail"]))
