"""Rounding the convolutions' weights to int8 without shifting what they compute.

Rounding a kernel moves the mean of each output channel, by the rounding error times the mean of the inputs.
MobileNetV2's depthwise channels have nine weights each, over which that does not average out, and the shift
grows from layer to layer. Taking it back in the batch norm that follows restores most of what int8 loses
(bias correction: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
here with the inputs' means measured on calibration photos).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_classify.images.preprocessing import Image

if TYPE_CHECKING:
    import keras

_PHOTOS = 100


def round_weights(backbone: keras.Model, calibration: Image) -> None:
    """Round all convolution kernels of `backbone`, in place, to what int8 will hold, and correct the biases.

    calibration: prepared photos, uint8 RGB [n, R, R, 3].
    """
    import keras

    pairs = [
        (layer, _batch_norm_after(layer))
        for layer in backbone.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
    means = _input_means(backbone, [layer for layer, _ in pairs], calibration)
    for (layer, batch_norm), mean in zip(pairs, means, strict=True):
        kernel = layer.get_weights()[0]
        gamma, beta, moving_mean, moving_variance = batch_norm.get_weights()
        scale = np.abs(gamma) / np.sqrt(moving_variance + batch_norm.epsilon)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            rounded = _round_channels(kernel, scale[:, None], axes=(0, 1))
            shift = (rounded - kernel).sum(axis=(0, 1))[:, 0] * mean
        else:
            rounded = _round_channels(kernel, scale, axes=(0, 1, 2))
            shift = np.einsum("hwio,i->o", rounded - kernel, mean)
        layer.set_weights([rounded])
        batch_norm.set_weights([gamma, beta, moving_mean + shift, moving_variance])


def _round_channels(kernel: np.ndarray, scale: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Round on the grid that the converter will choose.

    It folds the batch norm in, and has 127 steps to each channel's largest weight.
    """
    folded = kernel * np.maximum(scale, 1e-12)
    step = np.maximum(np.abs(folded).max(axis=axes, keepdims=True) / 127, 1e-12)
    rounded: np.ndarray = np.round(folded / step) * step / np.maximum(scale, 1e-12)
    return rounded


def _input_means(backbone: keras.Model, layers: list[keras.layers.Layer], calibration: Image) -> list[np.ndarray]:
    import keras
    import tensorflow as tf

    inputs = keras.Model(backbone.input, [layer.input for layer in layers])
    # Traced: from Python, operation by operation, it takes four times as long.
    traced = tf.function(lambda image: inputs(image, training=False), autograph=False)
    chosen = np.linspace(0, len(calibration) - 1, min(_PHOTOS, len(calibration))).astype(int)
    means = [np.zeros(layer.input.shape[-1]) for layer in layers]
    for index in chosen:
        for mean, value in zip(
            means, traced(tf.constant(calibration[index][None] / np.float32(127.5) - 1)), strict=True
        ):
            np.add(mean, np.asarray(value).mean(axis=(0, 1, 2)) / len(chosen), out=mean)
    return means


def _batch_norm_after(layer: keras.layers.Layer) -> keras.layers.Layer:
    following = layer._outbound_nodes[0].operation  # Keras has no public way to walk its own graph
    if len(layer._outbound_nodes) != 1 or type(following).__name__ != "BatchNormalization":
        raise TypeError(f"{layer.name} is not followed by a batch norm")
    return following
