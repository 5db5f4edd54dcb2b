"""A TFLite graph as objects, for cutting its head off and writing another.

Uses the schema's classes that come with LiteRT.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ...model.features import pooled_features
from ...model.metadata_writing import NAME, Description, describe

_FILE_IDENTIFIER = b"TFL3"
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.uint8): schema.TensorType.UINT8,
}
_WHOLE_NUMBERS = (schema.TensorType.INT8, schema.TensorType.UINT8)
# The first version of an operator that takes what we give it, where it is not 1.
_VERSIONS = {
    (schema.BuiltinOperator.DEQUANTIZE, np.dtype(np.int8)): 2,
    (schema.BuiltinOperator.DEQUANTIZE, np.dtype(np.float16)): 3,
    (schema.BuiltinOperator.FULLY_CONNECTED, np.dtype(np.int8)): 3,
}


class Graph:
    """The first subgraph of a TFLite flatbuffer. Tensors are addressed by their index.

    Damage raises errors of any kind: only to be used on data whose checksum was right.
    """

    def __init__(self, data: bytes) -> None:
        self.features = pooled_features(data)
        self._model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        self._graph = self._model.subgraphs[0]

    def copy(self) -> Graph:
        """The same graph, to be changed apart from this one. Constants are shared: nothing changes those."""
        twin = copy.copy(self)
        model = twin._model = copy.copy(self._model)
        graph = twin._graph = copy.copy(self._graph)
        model.subgraphs = [graph, *model.subgraphs[1:]]
        model.operatorCodes, model.buffers = list(model.operatorCodes), list(model.buffers)
        model.metadata = [copy.copy(entry) for entry in model.metadata or []]
        model.signatureDefs = copy.deepcopy(model.signatureDefs)
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
        graph.operators = [copy.copy(operator) for operator in graph.operators]
        return twin

    def shape(self, tensor: int) -> list[int]:
        return [int(side) for side in self._graph.tensors[tensor].shape]

    @property
    def outputs(self) -> list[int]:
        return [int(tensor) for tensor in self._graph.outputs]

    def middle_map(self) -> int | None:
        """MobileNetV2's `block_13_project_BN`: what the convolution gives that follows the last depthwise one of
        stride 2; None in other networks."""
        kinds = schema.BuiltinOperator
        strided = [
            operator.outputs[0]
            for operator in self._graph.operators
            if self._kind(operator) == kinds.DEPTHWISE_CONV_2D and operator.builtinOptions.strideW == 2
        ]
        if not strided:
            return None
        following = [
            operator
            for operator in self._graph.operators
            if strided[-1] in operator.inputs and self._kind(operator) == kinds.CONV_2D
        ]
        return int(following[0].outputs[0]) if len(following) == 1 else None

    def mean(self, tensor: int) -> int:
        """The mean of a map [1, h, w, C], as float32 [1, C]; the one that the graph has already, if it has."""
        for operator in self._graph.operators:
            if self._kind(operator) == schema.BuiltinOperator.MEAN and operator.inputs[0] == tensor:
                return self.as_float(int(operator.outputs[0]))
        options = schema.ReducerOptionsT()
        axes = self.constant(np.array([1, 2], np.int32))
        channels = self.shape(tensor)[-1]
        return self.add("MEAN", [self.as_float(tensor), axes], (1, channels), options, "ReducerOptions")

    def as_float(self, tensor: int) -> int:
        """The tensor as float32; itself if it is."""
        if self._graph.tensors[tensor].type not in _WHOLE_NUMBERS:
            return tensor
        return self.add("DEQUANTIZE", [tensor], self.shape(tensor), schema.DequantizeOptionsT(), "DequantizeOptions")

    def constant(self, values: np.ndarray, scale: float | None = None) -> int:
        """scale: of one step, for int8 values that stand for numbers."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return self._new_tensor(values.shape, values.dtype, len(self._model.buffers) - 1, scale)

    def add(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        options: Any = None,
        options_type: str = "NONE",
        out: tuple[type[np.generic], float | None] = (np.float32, None),
    ) -> int:
        """Append an operator; returns its output. kind, options_type: as the schema calls them.

        out: dtype and, of whole numbers, scale of the output.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(kind, inputs)
        operator.inputs = list(inputs)
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_type)
        operator.builtinOptions = options
        dtype, scale = out
        output = self._new_tensor(shape, np.dtype(dtype), 0, scale)
        operator.outputs = [output]
        self._graph.operators.append(operator)
        return output

    def pack(self, output: int, description: Description | None = None) -> bytes:
        """The flatbuffer whose only output is this tensor, without what that does not need.

        description: for TFLite Metadata, in place of what there was; None: without.
        """
        self._graph.outputs = [output]
        self._model.description = ""
        self._model.metadata = [entry for entry in self._model.metadata or [] if entry.name != NAME]
        for signature in self._model.signatureDefs or []:
            signature.outputs = signature.outputs[:1]
            signature.outputs[0].tensorIndex = output
        self._drop_unneeded()
        if description is not None:
            describe(self._model, description)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _kind(self, operator: Any) -> int:
        code = self._model.operatorCodes[operator.opcodeIndex]
        return int(max(code.builtinCode, code.deprecatedBuiltinCode))

    def _new_tensor(self, shape: Iterable[int], dtype: np.dtype[Any], buffer: int, scale: float | None) -> int:
        tensor = schema.TensorT()
        tensor.shape = np.array(list(shape), np.int32)
        tensor.type = _TYPES[dtype]
        tensor.buffer = buffer
        tensor.name = f"head/{len(self._graph.tensors)}".encode()
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array([scale], np.float32)
            tensor.quantization.zeroPoint = np.array([0], np.int64)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _code(self, kind: str, inputs: Sequence[int]) -> int:
        builtin = getattr(schema.BuiltinOperator, kind)
        types = {self._graph.tensors[tensor].type for tensor in inputs if tensor >= 0}
        version = max(
            (_VERSIONS.get((builtin, dtype), 1) for dtype, code in _TYPES.items() if code in types), default=1
        )
        for index, code in enumerate(self._model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
                return index
        code = schema.OperatorCodeT()
        # Old runtimes read the first, which has one byte.
        code.deprecatedBuiltinCode = min(builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
        code.builtinCode, code.version = builtin, version
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def _drop_unneeded(self) -> None:
        """Operators that the output does not depend on, and tensors, buffers and operator codes that nothing uses."""
        graph, model = self._graph, self._model
        needed = set(graph.outputs)
        operators: list[Any] = []
        for operator in reversed(graph.operators):
            if needed & set(operator.outputs):
                operators.insert(0, operator)
                needed |= {tensor for tensor in operator.inputs if tensor >= 0}
        graph.operators = operators
        tensors = sorted(needed | set(graph.inputs) | {int(o) for operator in operators for o in operator.outputs})
        place = {old: new for new, old in enumerate(tensors)} | {-1: -1}
        graph.tensors = [graph.tensors[index] for index in tensors]
        for operator in operators:
            operator.inputs = [place[tensor] for tensor in operator.inputs]
            operator.outputs = [place[tensor] for tensor in operator.outputs]
        graph.inputs = [place[tensor] for tensor in graph.inputs]
        graph.outputs = [place[tensor] for tensor in graph.outputs]
        for signature in model.signatureDefs or []:
            for entry in [*signature.inputs, *signature.outputs]:
                entry.tensorIndex = place[entry.tensorIndex]
        used = {item.buffer for item in [*graph.tensors, *model.metadata]}
        # The first is empty; tensors without a constant may share it.
        buffers = [0, *sorted(index for index in used if model.buffers[index].data is not None)]
        new_buffer = {old: new for new, old in enumerate(buffers)}
        model.buffers = [model.buffers[index] for index in buffers]
        for item in [*graph.tensors, *model.metadata]:
            item.buffer = new_buffer.get(item.buffer, 0)
        codes = sorted({operator.opcodeIndex for operator in operators})
        model.operatorCodes = [model.operatorCodes[index] for index in codes]
        for operator in operators:
            operator.opcodeIndex = codes.index(operator.opcodeIndex)
