"""Making backbone files: from weights of Keras, by TensorFlow, what edge-train and edge-convert then use without it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator

import numpy as np

from edge_classify.images.preprocessing import Image
from edge_train.backbone import SCALINGS, Backbone, count_cost
from edge_train.backbone_file import BackboneFile, encode_backbone_file

from .bias_correction import round_weights
from .conversion import quantizing
from .graph import ModelGraph, build_backbone
from .versions import converter_versions


def make_backbone_file(backbone: Backbone, calibration: Image) -> bytes:
    """The backbone file of a MobileNetV2, as bytes.

    calibration: prepared photos of anything, uint8 RGB [n, R, R, 3], from which int8 takes its ranges.
    Raises DataError if the weights do not fit. To be called in a process that `cell_files.prepare_process` prepared.
    """
    import tensorflow as tf

    scaling = SCALINGS[backbone.kind]

    def scaled_photos() -> Iterator[list[np.ndarray]]:
        for photo in calibration:
            yield [scaling.apply(photo[None])]

    network = build_backbone(backbone.weights, backbone.alpha, backbone.resolution)
    function = ModelGraph(network, scaling, {}, backbone.resolution).features_from_pixels()
    model = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    round_weights(network, calibration)
    rounded = ModelGraph(network, scaling, {}, backbone.resolution).features_from_scaled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about input statistics that only the old converter used
        converter = quantizing(rounded, scaled_photos)
        converter.inference_input_type = tf.uint8
        int8 = converter.convert()
    return encode_backbone_file(
        BackboneFile(
            alpha=backbone.alpha,
            resolution=backbone.resolution,
            trained_at=backbone.trained_at,
            cost=count_cost(function),
            weights={"name": backbone.name, "sha256": backbone.sha256},
            calibration={
                "photos": len(calibration),
                "fingerprint": hashlib.sha256(np.ascontiguousarray(calibration).tobytes()).hexdigest(),
            },
            versions=converter_versions(),
            model=model,
            int8=int8,
        )
    )
