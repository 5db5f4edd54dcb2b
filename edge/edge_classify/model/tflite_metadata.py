"""TFLite Metadata: where a file's labels are, how large its input is, and how that is normalized."""

from __future__ import annotations

import math
from typing import NamedTuple

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
_TENSOR_CONTENT = 3
_TENSOR_PROCESS_UNITS = 4
_TENSOR_ASSOCIATED_FILES = 6
_UNIT_OPTIONS_TYPE = 0
_UNIT_OPTIONS = 1
_NORMALIZATION_MEAN = 0
_NORMALIZATION_STD = 1
_FILE_NAME = 0
_FILE_TYPE = 2
_FILE_LOCALE = 3
_CONTENT_PROPERTIES_TYPE = 0
_CONTENT_PROPERTIES = 1
_IMAGE_DEFAULT_SIZE = 1
_SIZE_WIDTH = 0
_SIZE_HEIGHT = 1

# Values of its enumerations.
_NORMALIZATION_OPTIONS = 1
_TENSOR_AXIS_LABELS = 2
_IMAGE_PROPERTIES = 2

# Pixels; more is damage.
_MAX_INPUT_SIDE = 4096


# (means, standard deviations) of the input: x = (pixel - mean) / deviation. Of one value, or one per channel.
Normalization = tuple[tuple[float, ...], tuple[float, ...]]


class Metadata(NamedTuple):
    """What TFLite Metadata says about the first input and the outputs.

    label_files: names of the output's label files, those to be shown to people first.
    normalization: of the input, or None. input_size: (height, width) for an input of any size, or None.
    """

    label_files: list[str]
    normalization: Normalization | None
    input_size: tuple[int, int] | None


def read_metadata(model: bytes) -> Metadata:
    """From a TFLite flatbuffer. Raises ValueError if the flatbuffer is damaged."""
    root = Table.root(model)
    for entry in root.tables(_MODEL_METADATA):
        if entry.string(_METADATA_NAME) != "TFLITE_METADATA":
            continue
        buffer = root.table_at(_MODEL_BUFFERS, entry.integer(_METADATA_BUFFER))
        subgraphs = Table.root(buffer.raw(_BUFFER_DATA)).tables(_MODEL_METADATA_SUBGRAPHS)
        if not subgraphs:
            break
        inputs = subgraphs[0].tables(_SUBGRAPH_INPUTS)
        return Metadata(
            _label_files(subgraphs[0]),
            _normalization(inputs[0]) if inputs else None,
            _input_size(inputs[0]) if inputs else None,
        )
    return Metadata([], None, None)


def _label_files(subgraph: Table) -> list[str]:
    """A file with a locale has names for people, one without often only ids; English first."""
    files = [
        (file.string(_FILE_NAME), file.string(_FILE_LOCALE))
        for output in subgraph.tables(_SUBGRAPH_OUTPUTS)
        for file in output.tables(_TENSOR_ASSOCIATED_FILES)
        if file.integer(_FILE_TYPE, "<b") == _TENSOR_AXIS_LABELS
    ]
    files.sort(key=lambda file: (not file[1].startswith("en"), not file[1]))
    return [name for name, _ in files]


def _normalization(tensor: Table) -> Normalization | None:
    for unit in tensor.tables(_TENSOR_PROCESS_UNITS):
        options = unit.table(_UNIT_OPTIONS)
        if options is None or unit.integer(_UNIT_OPTIONS_TYPE, "<B") != _NORMALIZATION_OPTIONS:
            continue
        means, deviations = options.floats(_NORMALIZATION_MEAN), options.floats(_NORMALIZATION_STD)
        if {len(means), len(deviations)} <= {1, 3} and all(
            [*map(math.isfinite, means), *(0 < deviation < math.inf for deviation in deviations)]
        ):
            return tuple(means), tuple(deviations)
    return None


def _input_size(tensor: Table) -> tuple[int, int] | None:
    content = tensor.table(_TENSOR_CONTENT)
    if content is None or content.integer(_CONTENT_PROPERTIES_TYPE, "<B") != _IMAGE_PROPERTIES:
        return None
    properties = content.table(_CONTENT_PROPERTIES)
    size = None if properties is None else properties.table(_IMAGE_DEFAULT_SIZE)
    if size is None:
        return None
    height, width = size.integer(_SIZE_HEIGHT), size.integer(_SIZE_WIDTH)
    return (height, width) if min(height, width) > 1 and max(height, width) <= _MAX_INPUT_SIDE else None
