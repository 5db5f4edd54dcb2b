"""TFLite Metadata: where a file's labels are, and how its input is normalized."""

from __future__ import annotations

import math

from .flatbuffer import Table

# Slots of the TFLite schema (schema.fbs).
_MODEL_BUFFERS = 4
_MODEL_METADATA = 6
_METADATA_NAME = 0
_METADATA_BUFFER = 1
_BUFFER_DATA = 0

# Slots of TFLite Metadata (metadata_schema.fbs).
_MODEL_METADATA_SUBGRAPHS = 3
_SUBGRAPH_INPUTS = 2
_SUBGRAPH_OUTPUTS = 3
_TENSOR_PROCESS_UNITS = 4
_TENSOR_ASSOCIATED_FILES = 6
_UNIT_OPTIONS_TYPE = 0
_UNIT_OPTIONS = 1
_NORMALIZATION_MEAN = 0
_NORMALIZATION_STD = 1
_FILE_NAME = 0
_FILE_TYPE = 2

# Values of its enumerations.
_NORMALIZATION_OPTIONS = 1
_TENSOR_AXIS_LABELS = 2


def read_metadata(model: bytes) -> tuple[list[str], tuple[float, float] | None]:
    """(names of the output's label files, (mean, standard deviation) of the input or None), from a TFLite flatbuffer.

    Raises ValueError if the flatbuffer is damaged.
    """
    root = Table.root(model)
    for entry in root.tables(_MODEL_METADATA):
        if entry.string(_METADATA_NAME) != "TFLITE_METADATA":
            continue
        buffer = root.table_at(_MODEL_BUFFERS, entry.integer(_METADATA_BUFFER))
        subgraphs = Table.root(buffer.raw(_BUFFER_DATA)).tables(_MODEL_METADATA_SUBGRAPHS)
        if not subgraphs:
            break
        return _label_files(subgraphs[0]), _normalization(subgraphs[0])
    return [], None


def _label_files(subgraph: Table) -> list[str]:
    return [
        file.string(_FILE_NAME)
        for output in subgraph.tables(_SUBGRAPH_OUTPUTS)
        for file in output.tables(_TENSOR_ASSOCIATED_FILES)
        if file.integer(_FILE_TYPE, "<b") == _TENSOR_AXIS_LABELS
    ]


def _normalization(subgraph: Table) -> tuple[float, float] | None:
    inputs = subgraph.tables(_SUBGRAPH_INPUTS)
    for unit in inputs[0].tables(_TENSOR_PROCESS_UNITS) if inputs else []:
        options = unit.table(_UNIT_OPTIONS)
        if options is None or unit.integer(_UNIT_OPTIONS_TYPE, "<B") != _NORMALIZATION_OPTIONS:
            continue
        means = set(options.floats(_NORMALIZATION_MEAN))
        deviations = set(options.floats(_NORMALIZATION_STD))
        # Every published classifier has one value for all channels; without one, the classifier warns and assumes.
        if len(means) == len(deviations) == 1:
            mean, deviation = means.pop(), deviations.pop()
            if math.isfinite(mean) and 0 < deviation < math.inf:
                return mean, deviation
    return None
