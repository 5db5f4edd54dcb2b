"""The classes' weights in a model file of ours: what its graph computes between the features and the softmax.

That is linear, whatever the operators: the product with the features, of which the classes' columns are taken, scaled,
and given their bias. Only such operators are followed. The votes of `unknown`, which are added, are not the head's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..head import Head

_Operator = schema.BuiltinOperator
_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
}


@dataclass(frozen=True)
class _Reader:
    model: Any

    @property
    def graph(self) -> Any:
        return self.model.subgraphs[0]

    def source(self, tensor: int) -> Any:
        """The operator that gives the tensor. Raises ValueError if none does."""
        for operator in self.graph.operators:
            if tensor in operator.outputs:
                return operator
        raise ValueError("a head of another kind")

    def kind(self, operator: Any) -> int:
        code = self.model.operatorCodes[operator.opcodeIndex]
        return int(max(code.builtinCode, code.deprecatedBuiltinCode))

    def constant(self, index: int) -> np.ndarray | None:
        """The numbers that a constant tensor stands for; None if it is computed from the picture."""
        tensor = self.graph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        if data is None or not len(data):
            operator = next((o for o in self.graph.operators if index in o.outputs), None)
            unpacks = operator is not None and self.kind(operator) == _Operator.DEQUANTIZE
            return self.constant(operator.inputs[0]) if operator is not None and unpacks else None
        shape = [] if tensor.shape is None else list(tensor.shape)
        values = np.frombuffer(bytes(data), _TYPES[tensor.type]).reshape(shape)
        scale = None if tensor.quantization is None else tensor.quantization.scale
        if tensor.type != schema.TensorType.INT8 or scale is None:
            return values
        return np.asarray(values * np.reshape(scale, (-1, *[1] * (len(shape) - 1))).astype(np.float32))

    def linear(self, tensor: int) -> tuple[np.ndarray, np.ndarray]:
        """The tensor, [1, n], as a function of what goes into the product: kernel [F, n] and bias [n]."""
        operator = self.source(tensor)
        kind, constants = self.kind(operator), [None if i < 0 else self.constant(i) for i in operator.inputs]
        if kind == _Operator.FULLY_CONNECTED and constants[1] is not None:
            bias = constants[2] if len(constants) > 2 and constants[2] is not None else np.zeros(len(constants[1]))
            return constants[1].T.astype(np.float32), bias.astype(np.float32)
        if kind == _Operator.STRIDED_SLICE and constants[1] is not None and constants[2] is not None:
            kernel, bias = self.linear(operator.inputs[0])
            ends = operator.builtinOptions.endMask & 2
            columns = slice(int(constants[1][1]), None if ends else int(constants[2][1]))
            return kernel[:, columns], bias[columns]
        if kind in (_Operator.MUL, _Operator.SUB, _Operator.ADD) and constants[1] is not None:
            kernel, bias = self.linear(operator.inputs[0])
            if kind == _Operator.MUL:
                return kernel * constants[1], bias * constants[1]
            return kernel, bias + (constants[1] if kind == _Operator.ADD else -constants[1])
        if kind == _Operator.SUB and self._are_votes(operator.inputs[1]):
            return self.linear(operator.inputs[0])
        raise ValueError("a head of another kind")

    def _are_votes(self, tensor: int) -> bool:
        """Whether it is the product of weights with the influence of each prototype, which is a sigmoid, scaled."""
        kinds = []
        for _ in range(3):
            operator = self.source(tensor)
            kinds.append(self.kind(operator))
            tensor = operator.inputs[0]
        return kinds == [_Operator.MUL, _Operator.FULLY_CONNECTED, _Operator.LOGISTIC]


def counts_density(graph: bytes) -> bool:
    """Whether familiarity is a density of prototypes, and not the nearest one, as of a camera that does not move."""
    reader = _Reader(schema.ModelT.InitFromObj(schema.Model.GetRootAs(graph, 0)))
    return any(reader.kind(operator) == _Operator.EXP for operator in reader.graph.operators)


def read_head(graph: bytes) -> Head:
    """The head of a model file's flatbuffer, as the file computes it. Raises ValueError if it has another kind of head.

    Damage raises errors of any kind: only to be used on data whose checksum was right.
    """
    reader = _Reader(schema.ModelT.InitFromObj(schema.Model.GetRootAs(graph, 0)))
    softmax = [operator for operator in reader.graph.operators if reader.kind(operator) == _Operator.SOFTMAX]
    if len(softmax) != 1:
        raise ValueError("no softmax, or several")
    kernel, bias = reader.linear(softmax[0].inputs[0])
    beta = softmax[0].builtinOptions.beta
    return Head((kernel * beta).astype(np.float32), np.broadcast_to(bias * beta, kernel.shape[1:]).astype(np.float32))
