"""TFLite Metadata: what other programs (MediaPipe Tasks, ML Kit, Netron) read from a model file.

Built by the tables of TFLite's metadata_schema.fbs. The packages that had writers for it no longer install, or bring
an OpenCV of their own, and flatc's generated module is 120 kB of code for these 10 tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"

# Tables of the schema: their fields in order, so that a field's place is its slot.
_MODEL = (
    "name",
    "description",
    "version",
    "subgraph_metadata",
    "author",
    "license",
    "associated_files",
    "min_parser_version",
)
_SUBGRAPH = (
    "name",
    "description",
    "input_tensor_metadata",
    "output_tensor_metadata",
    "associated_files",
    "input_process_units",
)
_TENSOR = ("name", "description", "dimension_names", "content", "process_units", "stats", "associated_files")
_CONTENT = ("content_properties_type", "content_properties", "range")
_IMAGE_PROPERTIES = ("color_space", "default_size")
_FEATURE_PROPERTIES = ()
_PROCESS_UNIT = ("options_type", "options")
_NORMALIZATION_OPTIONS = ("mean", "std")
_STATS = ("max", "min")
_ASSOCIATED_FILE = ("name", "description", "type", "locale", "version")
# Fields that are no offsets of what was written before, by the type of their enumeration.
_ENUMERATIONS = {"content_properties_type": "Uint8", "options_type": "Uint8", "color_space": "Int8", "type": "Int8"}

# Values of the schema's enumerations and unions.
_CONTENT_IS_FEATURE = 1
_CONTENT_IS_IMAGE = 2
_COLOR_SPACE_RGB = 1
_OPTIONS_ARE_NORMALIZATION = 1
_FILE_IS_AXIS_LABELS = 2


@dataclass(frozen=True)
class Description:
    """What TFLite Metadata says of a classifier: an RGB image in, class probabilities out.

    labels_file: the part of the appended zip that has the labels.
    mean, deviation: of the input's normalization, (pixel − mean) / deviation. author, license: "" leaves them out.
    """

    name: str
    text: str
    labels_file: str
    mean: float
    deviation: float
    author: str = ""
    license: str = ""


def add_metadata(model: bytes, description: Description) -> bytes:
    """The model with TFLite Metadata."""
    from ai_edge_litert.tools import flatbuffer_utils  # edge-teach does without

    parsed = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    describe(parsed, description)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))


def describe(model: schema.ModelT, description: Description) -> None:
    """Give a model that has none TFLite Metadata."""
    model.description = description.text
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_encode(description), np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name = NAME
    entry.buffer = len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]


def _encode(description: Description) -> bytes:
    builder = flatbuffers.Builder(1024)
    image = _input_tensor(builder, description)
    probability = _output_tensor(builder, description)
    subgraph = _table(
        builder,
        _SUBGRAPH,
        input_tensor_metadata=_vector(builder, image),
        output_tensor_metadata=_vector(builder, probability),
    )
    texts = {
        "name": builder.CreateString(description.name),
        "description": builder.CreateString(description.text),
        "subgraph_metadata": _vector(builder, subgraph),
    }
    for name, text in (("author", description.author), ("license", description.license)):
        if text:
            texts[name] = builder.CreateString(text)
    model = _table(builder, _MODEL, **texts, min_parser_version=builder.CreateString("1.0.0"))
    builder.Finish(model, file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _input_tensor(builder: flatbuffers.Builder, description: Description) -> int:
    normalization = _table(
        builder,
        _NORMALIZATION_OPTIONS,
        mean=_number(builder, description.mean),
        std=_number(builder, description.deviation),
    )
    unit = _table(builder, _PROCESS_UNIT, options_type=_OPTIONS_ARE_NORMALIZATION, options=normalization)
    image = _table(builder, _IMAGE_PROPERTIES, color_space=_COLOR_SPACE_RGB)
    return _table(
        builder,
        _TENSOR,
        name=builder.CreateString("image"),
        description=builder.CreateString("The whole picture, squashed to the input's size, RGB."),
        content=_table(builder, _CONTENT, content_properties_type=_CONTENT_IS_IMAGE, content_properties=image),
        process_units=_vector(builder, unit),
        stats=_table(builder, _STATS, max=_number(builder, 255.0), min=_number(builder, 0.0)),
    )


def _output_tensor(builder: flatbuffers.Builder, description: Description) -> int:
    labels = _table(
        builder,
        _ASSOCIATED_FILE,
        name=builder.CreateString(description.labels_file),
        description=builder.CreateString("One label a line, in the order of the output."),
        type=_FILE_IS_AXIS_LABELS,
    )
    name = builder.CreateString("probability")
    text = builder.CreateString("The probability of each class.")
    feature = _table(builder, _FEATURE_PROPERTIES)
    return _table(
        builder,
        _TENSOR,
        name=name,
        description=text,
        content=_table(builder, _CONTENT, content_properties_type=_CONTENT_IS_FEATURE, content_properties=feature),
        stats=_table(builder, _STATS, max=_number(builder, 1.0), min=_number(builder, 0.0)),
        associated_files=_vector(builder, labels),
    )


def _table(builder: flatbuffers.Builder, fields: Sequence[str], **values: int) -> int:
    """Write a table with these values of its fields: offsets, or values of enumerations."""
    builder.StartObject(len(fields))
    for slot, name in enumerate(fields):
        if name in values:
            kind = _ENUMERATIONS.get(name, "UOffsetTRelative")
            getattr(builder, f"Prepend{kind}Slot")(slot, values[name], 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offset: int) -> int:
    """A vector of one table."""
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _number(builder: flatbuffers.Builder, value: float) -> int:
    """A vector of one float."""
    builder.StartVector(4, 1, 4)
    builder.PrependFloat32(value)
    return int(builder.EndVector())
