"""From a cell to TFLite's flatbuffer, by TensorFlow's converter and the AI Edge Quantizer.

Of a backbone file, TensorFlow is not needed: the head is appended to it.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_classify.images.preprocessing import Image
from edge_classify.learn.photos.views import in_other_light
from edge_classify.learn.teaching.graph import Graph
from edge_classify.learn.teaching.head_graph import write_head
from edge_train.backbone import SCALINGS, is_backbone_file
from edge_train.backbone_file import BackboneFile, read_backbone_file
from edge_train.run_folder import Cell

from .bias_correction import round_weights
from .graph import ModelGraph, build_backbone, load_hub
from .head_correction import adjust_threshold, correct_head
from .settings import DYNAMIC, FLOAT16, FLOAT32, INT8

if TYPE_CHECKING:
    import tensorflow as tf
    from ai_edge_quantizer import quantizer

# `dynamic` has int8 weights in convolutions with at least this many multiply-adds for each number that they take in or
# give out: fewest instructions on Cortex-A72 and A76 (docs/design-decisions.md).
_MIN_WORK = 24

# The head of int8 files is fitted to the features of each calibration photo as it is, and in so many other lights: what
# rounding does depends on the light, and a camera sees others than its photos have.
_OTHER_LIGHTS = 2

# The operators of the head with an `unknown` output; the backbone has none of them.
HEAD_OPERATORS = [
    "FULLY_CONNECTED",
    "SOFTMAX",
    "REDUCE_MAX",
    "SUB",
    "MUL",
    "MAXIMUM",
    "LEAKY_RELU",
    "LOGISTIC",
    "SQUARE",
    "SUM",
    "SQRT",
    "RSQRT",
    "STRIDED_SLICE",
    "SLICE",
    "EXP",
    "LOG",
]


class Converter:
    """Makes the TFLite models of one cell, input uint8 [1, R, R, 3], without metadata.

    calibration: prepared photos, uint8 RGB [n, R, R, 3], from which int8 takes its ranges.

    What several precisions have in common is made once.
    """

    def __init__(self, cell: Cell, calibration: Image) -> None:
        self.cell = cell
        self.calibration = calibration
        self._scaling = SCALINGS[cell.backbone]
        self._file = read_backbone_file(cell.weights) if is_backbone_file(cell.weights) else None
        # TensorFlow calls freezing variables deprecated; its other way leaves them in the model, unfolded.
        logging.getLogger("absl").setLevel(logging.ERROR)

    def convert(self, precision: str) -> bytes:
        """The cell's model in one of PRECISIONS.

        Of a backbone file int8 has the ranges that are in it; only its head is fitted to the calibration photos.

        "float32", "float16" (most weights stored as such, computed in float32) and "dynamic" (weights of the larger
        convolutions in int8, but for the depthwise ones) have the scaling in the graph and float32 out; "int8" has the
        scaling in its quantization parameters and uint8 out. With an `unknown` output both have int8 weights in the
        head's product with the features.
        """
        if precision == FLOAT32:
            return self._float32
        if precision == FLOAT16:
            return _halve_weights(self._float32)
        if precision == DYNAMIC:
            return self._with_int8_weights(self._float32, convolutions=True)
        return self._int8()

    @cached_property
    def _float32(self) -> bytes:
        if self._file is not None:
            return append_head(self._file.model, self.cell.head, FLOAT32)
        import tensorflow as tf

        graph = self._graph(self._backbone, self.cell.head)
        model: bytes = tf.lite.TFLiteConverter.from_concrete_functions([graph.from_pixels()]).convert()
        return model

    def _int8(self) -> bytes:
        if self._file is not None:
            return self._int8_of(self._file)
        import tensorflow as tf

        def scaled_photos(photos: Iterable[Image] = self.calibration) -> Iterator[list[np.ndarray]]:
            for photo in photos:
                yield [self._scaling.apply(photo[None])]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about input statistics that only the old converter used
            exact = self._exact_features(scaled_photos(self._in_all_lights()))
            features = self._graph(self._rounded_backbone, self.cell.head).features_from_scaled()
            model = quantizing(features, scaled_photos).convert()
            rounded = _run(model, scaled_photos(self._in_all_lights()), [part.shape[1] for part in exact])
            head = self._fit_to(exact, rounded)
            converter = quantizing(self._graph(self._rounded_backbone, head).from_scaled(), scaled_photos)
            if self.cell.has_unknown:
                # The features come in int8, and little is lost by rounding them again.
                return self._with_int8_weights(_convert_with_float_head(converter, scaled_photos), convolutions=False)
            converter.inference_input_type = converter.inference_output_type = tf.uint8
            whole: bytes = converter.convert()
            return whole

    def _int8_of(self, file: BackboneFile) -> bytes:
        lengths = [file.cost.features, file.cost.middle]
        models = file.model, file.int8
        exact, rounded = (_run(model, ([photo[None]] for photo in self._in_all_lights()), lengths) for model in models)
        return append_head(file.int8, self._fit_to(exact, rounded), INT8)

    def _fit_to(self, exact: Sequence[np.ndarray], rounded: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The head for int8's features, from both kinds of those of the photos in the order of `_in_all_lights`."""
        corrected = correct_head(self.cell.head, exact, rounded)
        return adjust_threshold(self.cell.head, corrected, exact, rounded, len(self.calibration))

    def _in_all_lights(self) -> Iterator[Image]:
        """The calibration photos as they are, then in other lights: the same pictures each time."""
        yield from self.calibration
        rng = np.random.default_rng(0)
        for _ in range(_OTHER_LIGHTS):
            for photo in self.calibration:
                yield in_other_light(photo, rng)

    def _with_int8_weights(self, model: bytes, *, convolutions: bool) -> bytes:
        """The model with int8 weights, and inputs quantized at run time, in the head's product with the features, if
        the cell has an `unknown` output, and in the larger convolutions.

        That product has most of the head's weights, and reading them takes longer than multiplying. Not in what follows
        it: its values differ a little from one machine to the next, and rounding them would make that more. Not in
        depthwise convolutions: XNNPACK has no such kernels for them, and each would split the graph once more.
        """
        from ai_edge_quantizer import qtyping, quantizer

        product = self.cell.head["kernel"].shape[0] if self.cell.has_unknown else 0
        outputs = {
            qtyping.TFLOperationName.FULLY_CONNECTED: _outputs(model, "FULLY_CONNECTED", lambda k: k[-1] == product),
            qtyping.TFLOperationName.CONV_2D: _outputs(model, "CONV_2D", _is_large) if convolutions else [],
        }
        # tflite-runtime takes one scale per row for one of all rows, and says nothing.
        granularity = {
            qtyping.TFLOperationName.FULLY_CONNECTED: qtyping.QuantGranularity.TENSORWISE,
            qtyping.TFLOperationName.CONV_2D: qtyping.QuantGranularity.CHANNELWISE,
        }
        if not any(outputs.values()):
            return model
        recipe = quantizer.Quantizer(bytearray(model))
        for operation, names in outputs.items():
            for name in names:
                recipe.add_dynamic_config(
                    regex=re.escape(name), operation_name=operation, num_bits=8, granularity=granularity[operation]
                )
        return _apply(recipe)

    def _exact_features(self, photos: Iterator[list[np.ndarray]]) -> list[np.ndarray]:
        """Features [n, F] and, if there is one, middle layer [n, M] of scaled photos, in float32."""
        import tensorflow as tf

        features = self._graph(self._backbone, self.cell.head).features_from_scaled()
        outputs = [features(tf.constant(photo)) for (photo,) in photos]
        return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]

    def _graph(self, backbone: Any, head: Mapping[str, np.ndarray]) -> ModelGraph:
        return ModelGraph(backbone, self._scaling, head, self.cell.resolution)

    @cached_property
    def _backbone(self) -> Any:
        """As `ModelGraph` takes it: a Keras model, or a TF Hub module's function."""
        cell = self.cell
        if cell.backbone == "hub":
            return load_hub(cell.weights)
        return build_backbone(cell.weights, cell.alpha, cell.resolution)

    @cached_property
    def _rounded_backbone(self) -> Any:
        import keras

        if self.cell.backbone == "hub":
            return self._backbone
        rounded = keras.models.clone_model(self._backbone)
        rounded.set_weights(self._backbone.get_weights())
        round_weights(rounded, self.calibration)
        return rounded


def append_head(backbone: bytes, head: Mapping[str, np.ndarray], precision: str) -> bytes:
    """A backbone's TFLite model with the head, as `write_head` takes it, after its outputs."""
    graph = Graph(backbone)
    return graph.pack(write_head(graph, graph.outputs, head, precision))


def quantizing(
    function: tf.types.experimental.ConcreteFunction, photos: Callable[[], Iterator[list[np.ndarray]]]
) -> tf.lite.TFLiteConverter:
    """A converter to int8. photos: gives scaled ones, float32 [1, R, R, 3], to take ranges from."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = photos
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter


def _run(model: bytes, photos: Iterator[list[np.ndarray]], lengths: Sequence[int]) -> list[np.ndarray]:
    """What a model of features gives, float32, for photos as it takes them: an array [n, length] for each length."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    index_of = {int(output["shape"][-1]): output["index"] for output in interpreter.get_output_details()}
    rows: list[list[np.ndarray]] = [[] for _ in lengths]
    for (photo,) in photos:
        interpreter.set_tensor(image["index"], photo)
        interpreter.invoke()
        for length, row in zip(lengths, rows, strict=True):
            row.append(interpreter.get_tensor(index_of[length]))
    return [np.concatenate(row) for row in rows]


def _halve_weights(model: bytes) -> bytes:
    """The float32 model with float16 weights, but for biases and the depthwise convolutions.

    Those are a twentieth of the numbers at most, and rounding them makes most of float16's error: over nine weights,
    or one, it does not average out.
    """
    from ai_edge_quantizer import qtyping, quantizer

    recipe = quantizer.Quantizer(bytearray(model))
    for operation in (qtyping.TFLOperationName.CONV_2D, qtyping.TFLOperationName.FULLY_CONNECTED):
        recipe.add_weight_only_config(".*", operation, 16, algorithm_key=quantizer.AlgorithmName.FLOAT_CASTING)
    return _apply(recipe)


def _apply(recipe: quantizer.Quantizer) -> bytes:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it prints sizes and progress bars
        quantized = recipe.quantize().quantized_model
    return bytes(quantized)


def _is_large(kernel: Sequence[int]) -> bool:
    """Whether a convolution does at least `_MIN_WORK`. kernel: its weights' shape."""
    channels_out, _, _, channels_in = kernel
    return channels_in * channels_out >= _MIN_WORK * (channels_in + channels_out)


def _outputs(model: bytes, operator: str, matches: Callable[[Sequence[int]], bool]) -> list[str]:
    """The names of the output tensors of these operators, where the weights' shape matches."""
    interpreter = _open_without_delegates(model)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    return [
        details[operation["outputs"][0]]["name"]
        for operation in interpreter._get_ops_details()
        if operation["op_name"] == operator and matches(details[operation["inputs"][1]]["shape"].tolist())
    ]


def _open_without_delegates(model: bytes) -> Any:
    """An interpreter that shows every operator: delegates would hide those that they take."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    return interpreter


def _convert_with_float_head(
    converter: tf.lite.TFLiteConverter, photos: Callable[[], Iterator[list[np.ndarray]]]
) -> bytes:
    """int8 with the head in float32, between uint8 ends.

    `unknown` needs finer steps than int8's: a unit vector of 1280 values has components of a few hundredths, and
    int8 has steps of 1/128.
    """
    import tensorflow as tf
    from tensorflow.lite.python.util import modify_model_io_type

    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=HEAD_OPERATORS)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=photos, debug_options=options
    )
    converted: bytes = modify_model_io_type(debugger.get_nondebug_quantized_model(), tf.uint8, tf.uint8)
    return converted
