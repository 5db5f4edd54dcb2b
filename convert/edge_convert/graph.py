"""The graph that becomes a model file: MobileNetV2, the head, and the `unknown` output, made for the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_classify.errors import DataError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Where the trainer takes the features of the middle.
_MIDDLE = "block_12_add"


@dataclass(frozen=True)
class Scaling:
    """How a backbone wants its pixels: (pixel − mean) / deviation."""

    mean: float
    deviation: float

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 → float32."""
        scaled: np.ndarray = (pixels.astype(np.float32) - np.float32(self.mean)) / np.float32(self.deviation)
        return scaled


# By a cell's backbone.
SCALINGS = {"mobilenet_v2": Scaling(127.5, 127.5), "hub": Scaling(0.0, 255.0)}


def load_mobilenet(weights: Path | None, alpha: float, resolution: int) -> keras.Model:
    """MobileNetV2 without its top, as Keras has it: float32 [1, R, R, 3] in [-1, 1] → [1, F].

    weights: a `.weights.h5` file; None leaves them random. Raises DataError where they do not fit.
    """
    import keras

    model = keras.applications.MobileNetV2(
        input_shape=(resolution, resolution, 3), alpha=alpha, include_top=False, weights=None, pooling="avg"
    )
    if weights is not None:
        try:
            model.load_weights(weights)
        except (ValueError, OSError, KeyError) as error:
            raise DataError(f"{weights}: not the weights of a MobileNetV2 of alpha {alpha} without its top") from error
    return model


def build_backbone(weights: Path, alpha: float, resolution: int) -> keras.Model:
    """MobileNetV2 without its top and without its padding layers: float32 [1, R, R, 3] in [-1, 1] → [1, F], [1, M].

    The second output is the mean of the middle layer.

    Keras pads before each stride-2 convolution and convolves without padding. For the even sizes of the
    grid `same` computes exactly that, and spares the device five operations. Raises DataError where the
    weights do not fit.
    """
    import keras

    # Keras numbers its names by process, and they get into the file: equal cells, equal files.
    keras.backend.clear_session()
    padded = load_mobilenet(weights, alpha, resolution)

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
    middle = keras.layers.GlobalAveragePooling2D(name="middle")(backbone.get_layer(_MIDDLE).output)
    return keras.Model(backbone.input, [backbone.output, middle])


def load_hub(folder: Path) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """A SavedModel's features: float32 [1, R, R, 3] in [0, 1] → [1, F]."""
    import tensorflow_hub

    try:
        module = tensorflow_hub.load(str(folder))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: this run's backbone cannot be loaded ({error}): train again") from error
    return lambda image: [module(image)]


class Classifier:
    """The whole graph, as TensorFlow functions.

    backbone: scaled image → features, and those of the middle if it has one.
    head: `kernel` [F, K] and `bias` [K]; with `unknown` also `basis` [d, F + M], `prototypes` [P, d],
        `votes` [K, P], `sharpness` [2], `threshold` [2], `steepness`, `leak`, `tail` and, if fitted, `direction`
        [F + M].
    square_root: the Edge TPU has none, and XNNPACK has not what stands in for it.
    """

    def __init__(
        self,
        backbone: Callable[[tf.Tensor], list[tf.Tensor]],
        scaling: Scaling,
        head: Mapping[str, np.ndarray],
        resolution: int,
        *,
        square_root: bool = True,
    ) -> None:
        self._backbone = backbone
        self._scaling = scaling
        self._head = head
        self._resolution = resolution
        self._square_root = square_root

    def from_scaled(self) -> tf.types.experimental.ConcreteFunction:
        """float32 [1, R, R, 3], scaled → probabilities; quantization folds the scaling into its input."""
        import tensorflow as tf

        specification = tf.TensorSpec((1, self._resolution, self._resolution, 3), tf.float32, name="image")
        return tf.function(self._probabilities, [specification], autograph=False).get_concrete_function()

    def from_pixels(self) -> tf.types.experimental.ConcreteFunction:
        """uint8 [1, R, R, 3] → probabilities: the scaling is part of the graph."""
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
        """The probability that a picture is of none of the classes, [1, 1], as `edge_train.unknown` defines it.

        Written without additions, which the int8 file keeps in integers everywhere: see `HEAD_OPERATORS`.
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
        dimensions = len(self._head["basis"])
        inside = products[:, :dimensions]
        if self._square_root:
            length = tf.sqrt(tf.reduce_sum(inside * inside, axis=1, keepdims=True))
        else:
            length = tf.reduce_sum(inside * tf.math.l2_normalize(inside, axis=1), axis=1, keepdims=True)
        nearness = tf.matmul(inside, self._head["prototypes"].T)
        nearest = tf.reduce_max(nearness, axis=1, keepdims=True)
        familiarity = nearest - length * np.float32(-1.0)
        if "direction" in self._head:
            familiarity -= products[:, dimensions:] * np.float32(-1.0)
        said = tf.sigmoid((nearness - np.float32(1.0)) * self._head["steepness"])
        answers = tf.matmul(said, self._head["votes"].T)
        membership = tf.reduce_sum(answers * answers, axis=1, keepdims=True)
        sharpness, threshold = self._head["sharpness"], self._head["threshold"]
        familiar = (familiarity - threshold[0]) * sharpness[0]
        foreign = (membership - threshold[1]) * -sharpness[1]
        strange = foreign - tf.minimum(familiar, familiar * self._head["leak"])
        return tf.sigmoid(tf.minimum(strange, strange * self._head["tail"]))
