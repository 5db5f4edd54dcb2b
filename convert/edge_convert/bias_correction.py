"""Rounding the convolutions' weights to int8 without shifting what they compute.

Rounding a kernel moves the mean of each output channel, by the rounding error times the mean of the inputs.
MobileNetV2's depthwise channels have nine weights each, over which that does not average out, and the shift
grows from layer to layer. Subtracting it in the batch norm that follows restores most of what int8 loses
(bias correction: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
https://arxiv.org/abs/1906.04721; here with the inputs' means measured on calibration photos).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_classify.images.preprocessing import Image
from edge_train.backbone import MOBILENET, SCALINGS

if TYPE_CHECKING:
    import keras

# Photos to measure the inputs' means on.
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
    """Round to the steps that the converter will use.

    It folds the batch norm in, and divides each channel's largest weight into 127 steps.
    """
    folded = kernel * np.maximum(scale, 1e-12)
    step = np.maximum(np.abs(folded).max(axis=axes, keepdims=True) / 127, 1e-12)
    return np.round(folded / step) * step / np.maximum(scale, 1e-12)


def _input_means(backbone: keras.Model, layers: list[keras.layers.Layer], calibration: Image) -> list[np.ndarray]:
    import keras
    import tensorflow as tf

    inputs = keras.Model(backbone.input, [layer.input for layer in layers])
    # Traced, since running it operation by operation from Python takes four times as long.
    traced = tf.function(lambda image: inputs(image, training=False), autograph=False)
    chosen = np.linspace(0, len(calibration) - 1, min(_PHOTOS, len(calibration))).astype(int)
    means = [np.zeros(layer.input.shape[-1]) for layer in layers]
    for index in chosen:
        scaled = SCALINGS[MOBILENET].divide(calibration[index][None].astype(np.float32))
        for mean, values in zip(means, traced(tf.constant(scaled)), strict=True):
            np.add(mean, np.asarray(values).mean(axis=(0, 1, 2)) / len(chosen), out=mean)
    return means


def _batch_norm_after(layer: keras.layers.Layer) -> keras.layers.Layer:
    following = layer._outbound_nodes[0].operation  # Keras has no public way to walk its own graph
    if len(layer._outbound_nodes) != 1 or type(following).__name__ != "BatchNormalization":
        raise TypeError(f"{layer.name} is not followed by a batch norm")
    return following
