"""A backbone's TFLite models, converted by TensorFlow from its weights; and backbone files, which hold such models."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_classify.images.preprocessing import Image
from edge_train.backbone import MOBILENET, SCALINGS, Backbone, count_cost
from edge_train.backbone_file import BackboneFile, encode_backbone_file

from .backbone_graph import build_backbone, load_hub, on_pixels, on_scaled
from .bias_correction import round_weights
from .versions import converter_versions

if TYPE_CHECKING:
    import tensorflow as tf


class ConvertedBackbone:
    """TFLite models of a backbone: uint8 [1, R, R, 3] → features, float32 [1, F], and of MobileNetV2 the middle [1, M].

    kind: a key of SCALINGS. calibration: prepared photos, uint8 RGB [n, R, R, 3], from which int8 takes its ranges.

    Each is made when first asked for. Raises DataError if the weights do not fit. To be used in a process that
    `cell_files.prepare_process` prepared.
    """

    def __init__(self, weights: Path, kind: str, alpha: float, resolution: int, calibration: Image) -> None:
        self._scaling = SCALINGS[kind]
        self._resolution = resolution
        self._calibration = calibration
        # TensorFlow calls freezing variables deprecated; its other way leaves them in the model, unfolded.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self._compute: Any = build_backbone(weights, alpha, resolution) if kind == MOBILENET else load_hub(weights)
        self._is_mobilenet = kind == MOBILENET
        self.function = on_pixels(self._compute, self._scaling, resolution)

    @cached_property
    def model(self) -> bytes:
        """In float32, with the scaling in the graph."""
        import tensorflow as tf

        model: bytes = tf.lite.TFLiteConverter.from_concrete_functions([self.function]).convert()
        return model

    @cached_property
    def int8(self) -> bytes:
        """In int8 but for its outputs, with the scaling in the input's quantization."""
        import tensorflow as tf

        return self._quantize(self._rounded, tf.float32)

    def int8_with_head(self, kernel: np.ndarray, bias: np.ndarray) -> bytes:
        """Integer throughout: uint8 pixels → probabilities, softmax(features · kernel + bias), uint8 [1, K]."""
        import tensorflow as tf

        def compute(image: tf.Tensor) -> tf.Tensor:
            features, *_ = self._rounded(image)
            return tf.nn.softmax(tf.matmul(features, kernel) + bias, name="probabilities")

        return self._quantize(compute, tf.uint8)

    @cached_property
    def _rounded(self) -> Any:
        """What the backbone computes with weights as int8 will hold them."""
        _ = self.model  # of the weights as they are: they are rounded in place
        if self._is_mobilenet:
            round_weights(self._compute, self._calibration)
        return self._compute

    def _quantize(self, compute: Any, output_type: tf.DType) -> bytes:
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about input statistics that only the old converter used
            converter = tf.lite.TFLiteConverter.from_concrete_functions([on_scaled(compute, self._resolution)])
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = self._scaled_photos
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type, converter.inference_output_type = tf.uint8, output_type
            model: bytes = converter.convert()
            return model

    def _scaled_photos(self) -> Iterator[list[np.ndarray]]:
        for photo in reach_all_pixels(self._calibration):
            yield [self._scaling.apply(photo[None])]


def reach_all_pixels(calibration: Image) -> Image:
    """Prepared photos, uint8 [n, R, R, 3], that together reach 0 and 255: without both, two corners of a copy are set.

    The input's range is that of the calibration photos, and devices hand over pixels as they are: a still camera's
    photos may have neither black nor white in them.
    """
    if calibration.min() == 0 and calibration.max() == 255:
        return calibration
    reaching = calibration.copy()
    reaching[0, 0, 0], reaching[0, -1, -1] = 0, 255
    return reaching


def make_backbone_file(backbone: Backbone, calibration: Image) -> bytes:
    """The backbone file of a MobileNetV2, as bytes, for edge-train and edge-convert to use without TensorFlow.

    calibration: prepared photos of anything, as `ConvertedBackbone` takes them. Raises DataError if the weights do not
    fit.
    """
    converted = ConvertedBackbone(backbone.weights, backbone.kind, backbone.alpha, backbone.resolution, calibration)
    return encode_backbone_file(
        BackboneFile(
            alpha=backbone.alpha,
            resolution=backbone.resolution,
            trained_at=backbone.trained_at,
            cost=count_cost(converted.function),
            weights={"name": backbone.name, "sha256": backbone.sha256},
            calibration={
                "photos": len(calibration),
                "fingerprint": hashlib.sha256(np.ascontiguousarray(calibration).tobytes()).hexdigest(),
            },
            versions=converter_versions(),
            model=converted.model,
            int8=converted.int8,
        )
    )
