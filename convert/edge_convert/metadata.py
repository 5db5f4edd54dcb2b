"""TFLite Metadata: what other programs (MediaPipe Tasks, ML Kit, Netron) read from a model file.

Built field by field from the schema's slots (metadata_schema.fbs): the packages that had writers for it
no longer install, or bring an OpenCV of their own.
"""

from __future__ import annotations

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
_IMAGE_PROPERTIES, _RGB = 2, 1
_FEATURE_PROPERTIES = 1
_NORMALIZATION_OPTIONS = 1
_AXIS_LABELS = 2


def add_metadata(
    model: bytes,
    *,
    name: str,
    description: str,
    labels_file: str,
    mean: float,
    deviation: float,
    author: str = "",
    license: str = "",
) -> bytes:
    """The model with TFLite Metadata: an RGB image in, class probabilities out, labelled by `labels_file`.

    mean, deviation: of the input's normalization, (pixel − mean) / deviation.
    """
    parsed = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    parsed.description = description
    buffer = schema.BufferT()
    buffer.data = _metadata(name, description, labels_file, mean, deviation, author, license)
    parsed.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name = _NAME
    entry.buffer = len(parsed.buffers) - 1
    parsed.metadata = [*(parsed.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))


def _metadata(
    name: str, description: str, labels_file: str, mean: float, deviation: float, author: str, license: str
) -> bytes:
    builder = flatbuffers.Builder(1024)

    def table(fields: int, *setters: tuple[str, int, object, object]) -> int:
        builder.StartObject(fields)
        for kind, slot, value, default in setters:
            getattr(builder, f"Prepend{kind}Slot")(slot, value, default)
        return int(builder.EndObject())

    def vector(offsets: list[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def floats(values: list[float]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependFloat32(value)
        return int(builder.EndVector())

    def offset(slot: int, value: int) -> tuple[str, int, object, object]:
        return "UOffsetTRelative", slot, value, 0

    def content(kind: int, properties: int) -> int:
        return table(3, ("Uint8", 0, kind, 0), offset(1, properties))

    def statistics(low: float, high: float) -> int:
        highest, lowest = floats([high]), floats([low])
        return table(2, offset(0, highest), offset(1, lowest))

    normalization = table(2, offset(0, floats([mean])), offset(1, floats([deviation])))
    unit = table(2, ("Uint8", 0, _NORMALIZATION_OPTIONS, 0), offset(1, normalization))
    image = table(2, ("Int8", 0, _RGB, 0))
    input_tensor = table(
        7,
        offset(0, builder.CreateString("image")),
        offset(1, builder.CreateString("The whole picture, squashed to the input's size, RGB.")),
        offset(3, content(_IMAGE_PROPERTIES, image)),
        offset(4, vector([unit])),
        offset(5, statistics(0.0, 255.0)),
    )
    labels = table(
        5,
        offset(0, builder.CreateString(labels_file)),
        offset(1, builder.CreateString("One label a line, in the order of the output.")),
        ("Int8", 2, _AXIS_LABELS, 0),
    )
    output_tensor = table(
        7,
        offset(0, builder.CreateString("probability")),
        offset(1, builder.CreateString("The probability of each class.")),
        offset(3, content(_FEATURE_PROPERTIES, table(0))),
        offset(5, statistics(0.0, 1.0)),
        offset(6, vector([labels])),
    )
    subgraph = table(6, offset(2, vector([input_tensor])), offset(3, vector([output_tensor])))
    model = table(
        8,
        offset(0, builder.CreateString(name)),
        offset(1, builder.CreateString(description)),
        offset(3, vector([subgraph])),
        *(offset(slot, builder.CreateString(text)) for slot, text in ((4, author), (5, license)) if text),
        offset(7, builder.CreateString("1.0.0")),
    )
    builder.Finish(model, file_identifier=_IDENTIFIER)
    return bytes(builder.Output())
