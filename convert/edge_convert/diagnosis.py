"""Why a file is worse than its float32 model: where the signal is lost on its way through the layers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from edge_classify.images.preprocessing import Image

from .operators import open_without_delegates

_PHOTOS = 8
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
# Keras' names of MobileNetV2's layers, somewhere in the name that TensorFlow's converter gives a tensor.
_LAYER = re.compile(r"(?:block_\d+_|expanded_conv_)?(?:expand|depthwise|project)|Conv_1|Conv1")


@dataclass(frozen=True)
class LayerLoss:
    """One convolution: its signal to noise in decibels, and how much lower that is than at the one before it."""

    layer: str
    signal_to_noise: float
    loss: float


def find_losses(exact: bytes, lossy: bytes, photos: Image) -> list[LayerLoss]:
    """The convolutions of `lossy`, a TFLite model, by how much signal they lose against `exact`; most first.

    exact: the same network in float32. photos: prepared, uint8 RGB [n, R, R, 3].
    """
    names, signals = _outputs(exact, photos)
    _, received = _outputs(lossy, photos)
    losses = []
    before = None
    for name, signal, other in zip(names, signals, received, strict=True):
        noise = float(((signal - other) ** 2).sum())
        ratio = 10 * np.log10(max(float((signal**2).sum()), 1e-12) / max(noise, 1e-12))
        losses.append(LayerLoss(name, float(ratio), 0.0 if before is None else float(before - ratio)))
        before = ratio
    return sorted(losses, key=lambda one: -one.loss)


def _outputs(model: bytes, photos: Image) -> tuple[list[str], list[np.ndarray]]:
    """Of each convolution in order: its layer, and what it gives for the photos, in float32."""
    interpreter = open_without_delegates(model)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    outputs = [
        details[operation["outputs"][0]]
        for operation in interpreter._get_ops_details()
        if operation["op_name"] in _CONVOLUTIONS
    ]
    gathered: list[list[np.ndarray]] = [[] for _ in outputs]
    for photo in photos[:: max(1, len(photos) // _PHOTOS)][:_PHOTOS]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], photo[None])
        interpreter.invoke()
        for values, output in zip(gathered, outputs, strict=True):
            value = interpreter.get_tensor(output["index"]).astype(np.float32)
            scale, zero_point = output["quantization"]
            values.append((value - zero_point) * np.float32(scale) if scale else value)
    return [_layer_of(output["name"]) for output in outputs], [np.stack(values) for values in gathered]


def _layer_of(tensor: str) -> str:
    found = _LAYER.search(tensor)
    return found[0] if found else tensor[:40]
