"""The features that a model file's backbone computes: what its head sees of a picture.

Two pictures are alike if the angle between their features is small, whatever the classes are. The features are inside
of the graph. A copy of it that ends there gives them: `classifier.twin(ending_at_features(graph))`.
"""

from __future__ import annotations

import hashlib
import struct

from .flatbuffer import Table

# Operators of the TFLite schema that pool a map.
_AVERAGE_POOL_2D = 1
_MEAN = 40
# Slots of the TFLite schema's tables.
_MODEL_OPERATOR_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_GRAPH_TENSORS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 2, 3
_CODE_DEPRECATED, _CODE = 0, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_TENSOR_SHAPE, _TENSOR_BUFFER = 0, 2
_BUFFER_DATA = 0
# A part of a SHA-256 that no two backbones share by chance.
_NAME_DIGITS = 16


def ending_at_features(graph: bytes) -> bytes:
    """The content of a .tflite file, changed so that its only output is the pooled features, shape (1, D).

    Raises ValueError as `pooled_features`.
    """
    tensor = pooled_features(graph)
    place = Table.root(graph).table_at(_MODEL_SUBGRAPHS, 0).vector_offset(_GRAPH_OUTPUTS)
    if place is None:
        raise ValueError("a graph without outputs")
    # The vector of outputs is one more at the end: what is there already stays where it is.
    changed = bytearray(graph) + bytes(-len(graph) % 4)
    struct.pack_into("<I", changed, place, len(changed) - place)
    return bytes(changed + struct.pack("<Ii", 1, tensor))


def pooled_features(graph: bytes) -> int:
    """Which tensor of the content of a .tflite file has them.

    They are what the operator gives that takes the mean of a whole map with the most channels, and of several the last.
    Raises ValueError if there is none, or if the file is damaged.
    """
    model = Table.root(graph)
    subgraph = model.table_at(_MODEL_SUBGRAPHS, 0)
    pooling = {index for index, kind in enumerate(_kinds(model)) if kind in (_AVERAGE_POOL_2D, _MEAN)}
    tensors = subgraph.tables(_GRAPH_TENSORS)
    found, most = None, 1
    for operator in subgraph.tables(_GRAPH_OPERATORS):
        inputs, outputs = operator.integers(_OPERATOR_INPUTS), operator.integers(_OPERATOR_OUTPUTS)
        if operator.integer(_OPERATOR_CODE) not in pooling or not inputs or not outputs:
            continue
        if not 0 <= inputs[0] < len(tensors) or not 0 <= outputs[0] < len(tensors):
            raise ValueError("an operator of a tensor that is not there")
        before, after = (tensors[index].integers(_TENSOR_SHAPE) for index in (inputs[0], outputs[0]))
        whole = len(before) == 4 and after[-1:] == before[-1:] and all(side == 1 for side in after[:-1])
        if whole and after[-1] >= most:
            found, most = outputs[0], after[-1]
    if found is None:
        raise ValueError("no operator takes the mean of a whole map")
    return found


def name_backbone(graph: bytes) -> str:
    """A name of what computes the features, the same in files of one backbone with different heads.

    It is made of the kinds, shapes and constants of the operators that the features depend on, 16 hex digits.
    Raises ValueError as `pooled_features`.
    """
    needed = {pooled_features(graph)}
    model = Table.root(graph)
    subgraph = model.table_at(_MODEL_SUBGRAPHS, 0)
    kinds, tensors, buffers = _kinds(model), subgraph.tables(_GRAPH_TENSORS), model.tables(_MODEL_BUFFERS)
    digest = hashlib.sha256()
    for operator in reversed(subgraph.tables(_GRAPH_OPERATORS)):
        inputs, outputs = operator.integers(_OPERATOR_INPUTS), operator.integers(_OPERATOR_OUTPUTS)
        if needed.isdisjoint(outputs):
            continue
        needed.update(inputs)
        try:
            shapes = [tensors[index].integers(_TENSOR_SHAPE) for index in outputs]
            digest.update(f"{kinds[operator.integer(_OPERATOR_CODE)]} {shapes}".encode())
            for index in inputs:
                if index >= 0:  # an input may be left out
                    digest.update(buffers[tensors[index].integer(_TENSOR_BUFFER)].raw(_BUFFER_DATA))
        except IndexError as error:
            raise ValueError("an operator of a tensor that is not there") from error
    return digest.hexdigest()[:_NAME_DIGITS]


def _kinds(model: Table) -> list[int]:
    """The kind of each operator code, as the schema numbers them."""
    codes = model.tables(_MODEL_OPERATOR_CODES)
    return [max(code.integer(_CODE_DEPRECATED, "<b"), code.integer(_CODE, "<i")) for code in codes]
