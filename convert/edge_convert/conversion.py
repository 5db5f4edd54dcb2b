"""From a cell to TFLite's flatbuffer: the backbone's, rounded as the precision wants it, with the head appended."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_classify.images.preprocessing import Image
from edge_classify.learn.photos.views import in_other_light
from edge_classify.learn.teaching.graph import Graph
from edge_classify.learn.teaching.head_graph import write_head
from edge_train.backbone import is_backbone_file
from edge_train.backbone_file import BackboneFile, read_backbone_file
from edge_train.run_folder import Cell

from .backbone_making import ConvertedBackbone
from .head_correction import adjust_threshold, correct_head
from .settings import DYNAMIC, FLOAT16, INT8

if TYPE_CHECKING:
    from ai_edge_quantizer import quantizer

# `dynamic` has int8 weights in convolutions with at least this many multiply-adds for each number that they take in or
# give out: fewest instructions on Cortex-A72 and A76 (docs/design-decisions.md).
_MIN_WORK = 24

# The head of int8 files is fitted to the features of each calibration photo as it is, and in so many other lights: what
# rounding does depends on the light, and a camera sees others than its photos have.
_OTHER_LIGHTS = 2


class Converter:
    """Makes the TFLite models of one cell, input uint8 [1, R, R, 3], without metadata: its backbone's, with a head.

    calibration: prepared photos, uint8 RGB [n, R, R, 3]. int8 takes its ranges from them, unless the cell's backbone is
    a file, which has ranges of its own, and its head is fitted to them.

    What several precisions have in common is made once.
    """

    def __init__(self, cell: Cell, calibration: Image) -> None:
        self.cell = cell
        self.calibration = calibration
        self._backbone: BackboneFile | ConvertedBackbone = (
            read_backbone_file(cell.weights)
            if is_backbone_file(cell.weights)
            else ConvertedBackbone(cell.weights, cell.backbone, cell.alpha, cell.resolution, calibration)
        )

    def convert(self, precision: str) -> bytes:
        """The cell's model in one of PRECISIONS.

        "float32", "float16" (most weights stored as such, computed in float32) and "dynamic" (weights of the larger
        convolutions in int8, but for the depthwise ones) have the scaling in the graph and float32 out; "int8" has the
        scaling in its quantization parameters and uint8 out. Both, "dynamic" and "int8", have int8 weights in the
        head's product with the features, and compute the rest of the head in float32; but without an `unknown` output
        int8 is integer throughout, unless the backbone is a file.
        """
        if precision == INT8:
            return self._int8()
        backbone = self._backbone.model
        if precision == FLOAT16:
            backbone = _halve_weights(backbone)
        if precision == DYNAMIC:
            backbone = _round_large_convolutions(backbone)
        return append_head(backbone, self.cell.head, precision)

    def _int8(self) -> bytes:
        head = self._fit_head()
        if self.cell.has_unknown or isinstance(self._backbone, BackboneFile):
            return append_head(self._backbone.int8, head, INT8)
        return self._backbone.int8_with_head(head["kernel"], head["bias"])

    def _fit_head(self) -> dict[str, np.ndarray]:
        """The head for what int8 makes of the features."""
        head, photos = self.cell.head, len(self.calibration)
        widths = [len(head["kernel"])]
        if self.cell.has_unknown and head["basis"].shape[1] > widths[0]:
            widths.append(head["basis"].shape[1] - widths[0])
        exact, rounded = (
            _run(model, self._in_all_lights(), widths) for model in (self._backbone.model, self._backbone.int8)
        )
        corrected = correct_head(head, exact, rounded)
        return adjust_threshold(head, corrected, exact, rounded, photos)

    def _in_all_lights(self) -> Iterator[Image]:
        """The calibration photos as they are, then in other lights: the same pictures each time."""
        yield from self.calibration
        rng = np.random.default_rng(0)
        for _ in range(_OTHER_LIGHTS):
            for photo in self.calibration:
                yield in_other_light(photo, rng)


def append_head(backbone: bytes, head: Mapping[str, np.ndarray], precision: str) -> bytes:
    """A backbone's TFLite model with the head, as `write_head` takes it, after its outputs."""
    graph = Graph(backbone)
    return graph.pack(write_head(graph, graph.outputs, head, precision))


def _run(backbone: bytes, photos: Iterable[Image], widths: Sequence[int]) -> list[np.ndarray]:
    """What a backbone's TFLite model gives, float32, for prepared photos: of its outputs those of these widths, each
    as an array [n, width]."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=backbone, num_threads=1)
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    index_of = {int(output["shape"][-1]): output["index"] for output in interpreter.get_output_details()}
    rows: list[list[np.ndarray]] = [[] for _ in widths]
    for photo in photos:
        interpreter.set_tensor(image["index"], photo[None])
        interpreter.invoke()
        for width, row in zip(widths, rows, strict=True):
            row.append(interpreter.get_tensor(index_of[width]))
    return [np.concatenate(row) for row in rows]


def _halve_weights(backbone: bytes) -> bytes:
    """The float32 model with float16 weights, but for biases and the depthwise convolutions.

    Those are a twentieth of the numbers at most, and rounding them makes most of float16's error: over nine weights,
    or one, it does not average out.
    """
    from ai_edge_quantizer import qtyping, quantizer

    recipe = quantizer.Quantizer(bytearray(backbone))
    algorithm = quantizer.AlgorithmName.FLOAT_CASTING
    for operation in (qtyping.TFLOperationName.CONV_2D, qtyping.TFLOperationName.FULLY_CONNECTED):
        recipe.add_weight_only_config(".*", operation, 16, algorithm_key=algorithm)
    return _apply(recipe)


def _round_large_convolutions(backbone: bytes) -> bytes:
    """The float32 model with int8 weights, and inputs quantized at run time, in the larger convolutions.

    Not in depthwise ones: XNNPACK has no such kernels for them, and each would split the graph once more.
    """
    from ai_edge_quantizer import qtyping, quantizer

    operation, granularity = qtyping.TFLOperationName.CONV_2D, qtyping.QuantGranularity.CHANNELWISE
    names = _large_convolutions(backbone)
    if not names:
        return backbone
    recipe = quantizer.Quantizer(bytearray(backbone))
    for name in names:
        recipe.add_dynamic_config(regex=re.escape(name), operation_name=operation, num_bits=8, granularity=granularity)
    return _apply(recipe)


def _large_convolutions(model: bytes) -> list[str]:
    """The names of the outputs of the convolutions that do at least `_MIN_WORK`."""
    interpreter = _open_without_delegates(model)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    return [
        details[operation["outputs"][0]]["name"]
        for operation in interpreter._get_ops_details()
        if operation["op_name"] == "CONV_2D" and _is_large(details[operation["inputs"][1]]["shape"].tolist())
    ]


def _apply(recipe: quantizer.Quantizer) -> bytes:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it prints sizes and progress bars
        quantized = recipe.quantize().quantized_model
    return bytes(quantized)


def _is_large(kernel: Sequence[int]) -> bool:
    """Whether a convolution does at least `_MIN_WORK`. kernel: its weights' shape."""
    channels_out, _, _, channels_in = kernel
    return channels_in * channels_out >= _MIN_WORK * (channels_in + channels_out)


def _open_without_delegates(model: bytes) -> Any:
    """An interpreter that shows every operator: delegates would hide those that they take."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    return interpreter
