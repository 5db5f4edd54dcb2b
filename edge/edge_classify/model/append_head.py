"""Appending a head to a backbone's TFLite model: the graph of `learn`, written by the schema in LiteRT's own wheel.

The result computes probabilities as `learn.head` and `learn.open_set` define them, in operators that XNNPACK runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

# Of uint8 probabilities: TFLite's own for a softmax.
_UINT8_SCALE = 1 / 256
# The smallest squared length that a vector is divided by.
_SMALLEST_SQUARE = 1e-12


def append_head(backbone: bytes, head: Mapping[str, np.ndarray], *, uint8: bool = False) -> bytes:
    """The TFLite model of the backbone and the head, whose only output is the probabilities [1, labels].

    backbone: a TFLite model with float32 outputs: features [1, F] and, if the head needs it, the middle layer [1, M].
    head: `kernel` [F, K] and `bias` [K]; with an `unknown` output also `basis` [d, F + M], `prototypes` [P, d],
        `votes` [K, P], `sharpness` [2], `threshold` [2], `steepness`, `leak`, `tail`; `shares` [P],
        `density_steepness`, `density_weight`, unless the nearest prototype counts; and, if fitted, `direction` [F + M],
        and `offset` [d], or [d + 1] with a direction, which is added to what basis and direction give.
    uint8: whether probabilities are uint8, in steps of 1/256, instead of float32.
    Equal arguments give equal bytes.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(backbone))
    graph = _Graph(model)
    features, *middle = (int(index) for index in model.subgraphs[0].outputs)
    probabilities = (
        _with_unknown(graph, features, middle, head)
        if "prototypes" in head
        else _softmax(graph, graph.product(features, head["kernel"].T, head["bias"]))
    )
    if uint8:
        probabilities = graph.apply("QUANTIZE", [probabilities], tensor_type=schema.TensorType.UINT8)
        graph.tensors[probabilities].quantization = _uint8_steps()
    graph.tensors[probabilities].name = b"probabilities"
    model.subgraphs[0].outputs = [probabilities]
    model.signatureDefs = []
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


class _Graph:
    """Operators added to a model's graph. Tensors are named by their index; all are float32 unless said otherwise."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.tensors = model.subgraphs[0].tensors

    def shape(self, tensor: int) -> list[int]:
        return [int(side) for side in self.tensors[tensor].shape]

    def constant(self, values: Any) -> int:
        """A tensor of fixed values, float32 or int32."""
        array = np.ascontiguousarray(values)
        kind = schema.TensorType.INT32 if array.dtype == np.int32 else schema.TensorType.FLOAT32
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.astype(np.int32 if kind else np.float32).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return self._add_tensor("constant", np.shape(values), kind, len(self._model.buffers) - 1)

    def apply(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int] | None = None,
        options: tuple[str, Mapping[str, Any]] | None = None,
        tensor_type: int = schema.TensorType.FLOAT32,
    ) -> int:
        """The output of one more operator, by its name in the schema.

        inputs: −1 for one that is left out. shape: the output's; None: what the inputs' shapes give by broadcasting.
        options: the table of the schema, and its fields.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._find_code(getattr(schema.BuiltinOperator, kind))
        operator.inputs = list(inputs)
        if options is not None:
            table, fields = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
            for name, value in fields.items():
                setattr(operator.builtinOptions, name, value)
        if shape is None:
            shape = np.broadcast_shapes(*(self.shape(tensor) for tensor in inputs))
        output = self._add_tensor(kind.lower(), shape, tensor_type, 0)
        operator.outputs = [output]
        self._model.subgraphs[0].operators.append(operator)
        return output

    def product(self, vector: int, weights: np.ndarray, bias: np.ndarray | None = None) -> int:
        """[1, n] by weights [m, n]: [1, m]."""
        inputs = [vector, self.constant(weights), -1 if bias is None else self.constant(bias)]
        return self.apply("FULLY_CONNECTED", inputs, [1, len(weights)], ("FullyConnectedOptions", {}))

    def multiply(self, left: int, right: int) -> int:
        return self.apply("MUL", [left, right], options=("MulOptions", {}))

    def subtract(self, left: int, right: int) -> int:
        return self.apply("SUB", [left, right], options=("SubOptions", {}))

    def reduce(self, kind: str, vector: int) -> int:
        """[1, n] → [1, 1]."""
        inputs = [vector, self.constant(np.array([1], np.int32))]
        return self.apply(kind, inputs, [1, 1], ("ReducerOptions", {"keepDims": True}))

    def part(self, vector: int, start: int, stop: int) -> int:
        """Of [1, n]: [1, stop − start]."""
        size = [1, stop - start]
        inputs = [vector, self.constant(np.array([0, start], np.int32)), self.constant(np.array(size, np.int32))]
        return self.apply("SLICE", inputs, size, ("SliceOptions", {}))

    def function(self, kind: str, tensor: int) -> int:
        """An operator that needs nothing but its input."""
        return self.apply(kind, [tensor])

    def bend(self, tensor: int, slope: float) -> int:
        """Values below 0 times `slope`, others as they are."""
        return self.apply("LEAKY_RELU", [tensor], options=("LeakyReluOptions", {"alpha": slope}))

    def _find_code(self, number: int) -> int:
        codes = self._model.operatorCodes
        for index, code in enumerate(codes):
            if code.builtinCode == number and code.version == 1:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        codes.append(code)
        return len(codes) - 1

    def _add_tensor(self, name: str, shape: Sequence[int], kind: int, buffer: int) -> int:
        tensor = schema.TensorT()
        # Numbers of one length: no name is the beginning of another.
        tensor.name = f"head/{name}_{len(self.tensors):05}".encode()
        tensor.shape, tensor.type, tensor.buffer = list(shape), kind, buffer
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def _softmax(graph: _Graph, logits: int) -> int:
    return graph.apply("SOFTMAX", [logits], options=("SoftmaxOptions", {"beta": 1.0}))


def _with_unknown(graph: _Graph, features: int, middle: Sequence[int], head: Mapping[str, np.ndarray]) -> int:
    """The classes' probabilities, and that of `unknown`: [1, K + 1].

    What is linear in the features is one product: lengths divide it afterwards, and constants are folded into weights.
    """
    classes, steepness = head["bias"].size, head["steepness"]
    rows = head["basis"] * steepness
    if "direction" in head:
        rows = np.vstack([rows, head["direction"] * steepness])
    ends = graph.shape(features)[1]
    weights = np.vstack([head["kernel"].T, rows[:, :ends]])
    # All rows are scaled to one maximum, so that in int8 one scale does for all of them.
    scale = np.maximum(np.abs(weights).max(axis=1), np.float32(1e-6))
    products = graph.product(features, weights / scale[:, None])
    lengths = graph.multiply(_inverse_length(graph, features), graph.constant(scale[None, classes:]))
    inside = graph.multiply(graph.part(products, classes, len(weights)), lengths)
    for vector in middle:
        along = graph.multiply(graph.product(vector, -rows[:, ends:]), _inverse_length(graph, vector))
        inside = graph.subtract(inside, along)
    if "offset" in head:
        inside = graph.subtract(inside, graph.constant(head["offset"][None] * -steepness))
    known = _known(graph, inside, head)
    logits = graph.multiply(graph.part(products, 0, classes), graph.constant(scale[None, :classes]))
    shares = _softmax(graph, graph.subtract(logits, graph.constant(-head["bias"][None])))
    unknown = graph.subtract(graph.constant(np.ones((1, 1), np.float32)), known)
    parts = [graph.multiply(shares, known), unknown]
    return graph.apply("CONCATENATION", parts, [1, classes + 1], ("ConcatenationOptions", {"axis": 1}))


def _known(graph: _Graph, inside: int, head: Mapping[str, np.ndarray]) -> int:
    """The probability that a picture shows one of the classes, [1, 1].

    inside: the vector inside the subspace, and its product with the direction if there is one, times `steepness`.
    Both scores are in units of familiarity / steepness / sharpness: the bent lines, leak and tail, mind no factor.
    """
    steepness, sharpness, threshold = head["steepness"], head["sharpness"], head["threshold"]
    dimensions, unit = len(head["basis"]), sharpness[0] / steepness
    vector = graph.part(inside, 0, dimensions) if "direction" in head else inside
    nearness = graph.product(vector, head["prototypes"], np.full(len(head["prototypes"]), -steepness, np.float32))
    length = graph.function("SQRT", graph.reduce("SUM", graph.multiply(vector, vector)))
    unfamiliar = graph.subtract(_distance_from_prototypes(graph, nearness, head), length)
    if "direction" in head:
        unfamiliar = graph.subtract(unfamiliar, graph.part(inside, dimensions, dimensions + 1))
    votes = graph.product(graph.function("LOGISTIC", nearness), head["votes"] * np.sqrt(sharpness[1] / unit))
    squares = graph.reduce("SUM", graph.multiply(votes, votes))
    member = graph.subtract(squares, graph.constant(np.array([[threshold[1] * sharpness[1] / unit]], np.float32)))
    logit = graph.subtract(member, graph.bend(unfamiliar, float(head["leak"])))
    scaled = graph.multiply(graph.bend(logit, float(head["tail"])), graph.constant(np.array([[unit]], np.float32)))
    return graph.function("LOGISTIC", scaled)


def _distance_from_prototypes(graph: _Graph, nearness: int, head: Mapping[str, np.ndarray]) -> int:
    """What familiarity lacks to its threshold apart from the length, times `steepness`: [1, 1]."""
    steepness, threshold = head["steepness"], head["threshold"][0]

    def constant(value: float) -> int:
        return graph.constant(np.array([[value]], np.float32))

    if "shares" not in head:
        return graph.subtract(constant(steepness * (threshold - 1)), graph.reduce("REDUCE_MAX", nearness))
    influence = graph.function("EXP", graph.multiply(nearness, constant(head["density_steepness"] / steepness)))
    density = graph.function("LOG", graph.product(influence, head["shares"][None]))
    weight = constant(head["density_weight"] * steepness / head["density_steepness"])
    return graph.subtract(constant(steepness * threshold), graph.multiply(density, weight))


def _inverse_length(graph: _Graph, vector: int) -> int:
    """Of [1, n]: [1, 1]."""
    squares = graph.reduce("SUM", graph.multiply(vector, vector))
    smallest = graph.constant(np.array([[_SMALLEST_SQUARE]], np.float32))
    return graph.function("RSQRT", graph.apply("MAXIMUM", [squares, smallest], options=("MaximumMinimumOptions", {})))


def _uint8_steps() -> Any:
    steps = schema.QuantizationParametersT()
    steps.scale, steps.zeroPoint = [_UINT8_SCALE], [0]
    return steps
