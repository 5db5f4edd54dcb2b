"""The head as operators of a model file: class probabilities and `unknown`.

What is linear is one product: lengths divide it afterwards, and constants are folded into weights. XNNPACK runs all of
these operators. See docs/model-file.md for the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .graph import Graph

# A tensor, or what is to be a constant.
_Value = int | np.ndarray | np.floating[Any]
# The numbers of an int8 weight's steps.
_INT8_STEPS = 127
# Probabilities of uint8 files have so many steps.
_UINT8_STEPS = 255
# Squared lengths are at least this, as in the mathematics (`open_set`).
_SMALLEST_SQUARE = 1e-12


def write_head(graph: Graph, parts: Sequence[int], head: Mapping[str, Any], precision: str) -> int:
    """Append the operators; returns the output: uint8 in int8 files, float32 in others.

    Its shape is [1, K + 1], or [1, K] without an `unknown` output.

    parts: the features [1, F] and, unless the backbone has none, the middle layer [1, M], float32.
    head: `kernel` [F, K], `bias` [K]; with an `unknown` output the arrays of `FeatureSpace`, `vote_weight`,
        `sharpness` [2], `threshold` [2], and the open set's constants by name; and perhaps `offset`, to be added to
        what basis and direction give: [d], or [d + 1] with a direction.
    precision: of the file: "float16" stores the product's weights in float16; "dynamic" and "int8" in int8, if there is
        an `unknown` output.
    """
    operators = _Operators(graph)
    if "basis" not in head:
        # Whole numbers would need a scale for each class.
        stored = _store(head["kernel"].T, precision if precision == "float16" else "float32")
        logits = operators.product(parts[0], stored, head["bias"])
        return _finish(graph, operators.softmax(logits, len(head["bias"])), precision)
    features, *middle = parts
    ends, classes, dimensions = len(head["kernel"]), len(head["bias"]), len(head["basis"])
    steepness = np.float32(head["steepness"])
    rows = head["basis"] * steepness
    if "direction" in head:
        rows = np.vstack([rows, head["direction"] * steepness])
    weights = np.hstack([head["kernel"], rows[:, :ends].T])
    # All columns are scaled to one maximum, so that in int8 one scale does for all of them.
    scale = np.maximum(np.abs(weights).max(axis=0), np.float32(1e-6))
    products = operators.product(features, _store((weights / scale).T, precision))
    lengths = operators.multiply(operators.inverse_length(features), scale[classes:])
    inside = operators.multiply(operators.columns(products, classes, classes + len(rows)), lengths)
    for part in middle:
        product = operators.product(part, (-rows[:, ends:], None))
        inside = operators.subtract(inside, operators.multiply(product, operators.inverse_length(part)))
    if "offset" in head:
        inside = operators.subtract(inside, head["offset"] * -steepness)
    along = operators.columns(inside, dimensions, dimensions + 1) if "direction" in head else None
    if along is not None:
        inside = operators.columns(inside, 0, dimensions)
    known, less_votes = _known(operators, inside, along, head)
    logits = operators.multiply(operators.columns(products, 0, classes), scale[:classes])
    logits = operators.subtract(operators.subtract(logits, -head["bias"]), less_votes)
    shares = operators.multiply(operators.softmax(logits, classes), known)
    unknown = operators.subtract(np.float32(1), known)
    options = schema.ConcatenationOptionsT()
    options.axis = 1
    return _finish(graph, operators.add("CONCATENATION", [shares, unknown], classes + 1, options), precision)


def _finish(graph: Graph, output: int, precision: str) -> int:
    """The probabilities in the form of the file's precision."""
    if precision != "int8":
        return output
    out = (np.uint8, 1 / _UINT8_STEPS)
    return graph.add("QUANTIZE", [output], graph.shape(output), schema.QuantizeOptionsT(), "QuantizeOptions", out)


def _known(operators: _Operators, inside: int, along: int | None, head: Mapping[str, Any]) -> tuple[int, int]:
    """The probability that a picture shows one of the classes, [1, 1], and minus what votes add to logits, [1, K].

    inside: the vector inside the subspace, times `steepness`; along: its product with the direction, the same.
    """
    steepness, sharpness, threshold = (np.asarray(head[name]) for name in ("steepness", "sharpness", "threshold"))
    unit = sharpness[0] / steepness
    prototypes, votes = head["prototypes"], head["votes"]
    offset = np.full(len(prototypes), -steepness, np.float32)
    nearness = operators.product(inside, (prototypes, None), offset)
    if "shares" in head:
        influence = operators.multiply(nearness, np.float32(head["density_steepness"] / steepness))
        influence = operators.add("EXP", [influence], len(prototypes), schema.ExpOptionsT())
        density = operators.add("LOG", [operators.product(influence, (head["shares"][None], None))], 1)
        weight = head["density_weight"] * steepness / head["density_steepness"]
        distance = operators.subtract(
            np.float32(steepness * threshold[0]), operators.multiply(density, np.float32(weight))
        )
    else:
        nearest = operators.reduce("REDUCE_MAX", nearness)
        distance = operators.subtract(np.float32(steepness * (threshold[0] - 1)), nearest)
    length = operators.add("SQRT", [operators.squares(inside)], 1)
    unfamiliar = operators.subtract(distance, length)
    if along is not None:
        unfamiliar = operators.subtract(unfamiliar, along)
    influence = operators.add("LOGISTIC", [nearness], len(prototypes))
    votes_scale = np.sqrt(sharpness[1] / unit)
    counted = operators.product(influence, (votes * np.float32(votes_scale), None))
    ones = np.ones((1, len(votes)), np.float32)
    least = np.array([-threshold[1] * sharpness[1] / unit], np.float32)
    member = operators.product(operators.multiply(counted, counted), (ones, None), least)
    logit = operators.subtract(member, operators.leak(unfamiliar, head["leak"]))
    logit = operators.multiply(operators.leak(logit, head["tail"]), np.float32(unit))
    known = operators.add("LOGISTIC", [logit], 1)
    return known, operators.multiply(counted, np.float32(-head["vote_weight"] / votes_scale))


def _store(weights: np.ndarray, precision: str) -> tuple[np.ndarray, float | None]:
    """Weights, the largest of which is about 1, as the file has them, and the scale of whole numbers."""
    if precision == "float16":
        return weights.astype(np.float16), None
    if precision in ("dynamic", "int8"):
        step = float(np.abs(weights).max()) / _INT8_STEPS
        return np.round(weights / step).astype(np.int8), step
    return weights.astype(np.float32), None


class _Operators:
    """The operators of the head: each takes and gives tensors [1, n]; what is no tensor yet becomes a constant."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._last_axis = graph.constant(np.array(1, np.int32))

    def add(self, kind: str, inputs: Sequence[int], columns: int, options: Any = None) -> int:
        name = type(options).__name__.removesuffix("T") if options is not None else "NONE"
        return self._graph.add(kind, inputs, (1, columns), options, name)

    def product(self, vector: int, weights: tuple[np.ndarray, float | None], bias: np.ndarray | None = None) -> int:
        """weights: (n, columns of `vector`), and their scale if they are whole numbers."""
        values, scale = weights
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        matrix = self._graph.constant(values, scale)
        if values.dtype == np.float16:
            options = schema.DequantizeOptionsT()
            matrix = self._graph.add("DEQUANTIZE", [matrix], values.shape, options, "DequantizeOptions")
        offset = -1 if bias is None else self._graph.constant(bias)
        return self.add("FULLY_CONNECTED", [vector, matrix, offset], len(values), schema.FullyConnectedOptionsT())

    def multiply(self, left: int, right: _Value) -> int:
        return self._elementwise("MUL", left, right, schema.MulOptionsT())

    def subtract(self, left: _Value, right: _Value) -> int:
        return self._elementwise("SUB", left, right, schema.SubOptionsT())

    def columns(self, vector: int, start: int, stop: int) -> int:
        options = schema.StridedSliceOptionsT()
        options.beginMask = options.endMask = 1  # all rows
        places = [self._graph.constant(np.array(place, np.int32)) for place in ((0, start), (0, stop), (1, 1))]
        return self.add("STRIDED_SLICE", [vector, *places], stop - start, options)

    def squares(self, vector: int) -> int:
        """The sum of the squares, [1, 1]."""
        return self.reduce("SUM", self.multiply(vector, vector))

    def inverse_length(self, vector: int) -> int:
        least = self._graph.constant(np.array(_SMALLEST_SQUARE, np.float32))
        squares = self.add("MAXIMUM", [self.squares(vector), least], 1, schema.MaximumMinimumOptionsT())
        return self.add("RSQRT", [squares], 1)

    def softmax(self, logits: int, columns: int) -> int:
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self.add("SOFTMAX", [logits], columns, options)

    def reduce(self, kind: str, vector: int) -> int:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        return self.add(kind, [vector, self._last_axis], 1, options)

    def leak(self, vector: int, alpha: float) -> int:
        options = schema.LeakyReluOptionsT()
        options.alpha = float(alpha)
        return self.add("LEAKY_RELU", [vector], 1, options)

    def _elementwise(self, kind: str, left: Any, right: Any, options: Any) -> int:
        inputs = [
            value if isinstance(value, int) else self._graph.constant(np.asarray(value, np.float32))
            for value in (left, right)
        ]
        columns = max((self._graph.shape(tensor) or [1])[-1] for tensor in inputs)
        return self.add(kind, inputs, columns, options)
