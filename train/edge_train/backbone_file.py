"""Backbone files: MobileNetV2 without its top as a TFLite model, from which a run is trained without TensorFlow.

A TFLite flatbuffer, uint8 RGB [1, R, R, 3] → features [1, F] and the middle layer's mean [1, M], both float32, with a
zip appended: `backbone.json`, which describes it, and `int8.tflite`, the same network in int8 with the same inputs and
outputs. See docs/backbone-file.md.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_classify.errors import DataError, first_line
from edge_classify.model.parts import attach

from .backbone import ALPHAS, BACKBONE_FILE_SUFFIX, MOBILENET, RESOLUTIONS, BackboneCost, is_backbone_file

FORMAT = 1
_DESCRIPTION_PART = "backbone.json"
_INT8_PART = "int8.tflite"
# What zipfile and json raise on damaged data.
_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class BackboneFile:
    """A backbone file's content.

    trained_at: the resolution that the weights were trained at, 0 if nothing says so.
    weights: of the weights file that it was made of, `name` and `sha256`.
    calibration: what int8 took its ranges from: `fingerprint` of the prepared photos, and their number, `photos`.
    versions: the packages that it was made with.
    model, int8: TFLite flatbuffers.
    """

    alpha: float
    resolution: int
    trained_at: int
    cost: BackboneCost
    weights: Mapping[str, str]
    calibration: Mapping[str, Any]
    versions: Mapping[str, str]
    model: bytes
    int8: bytes


def backbone_file_name(alpha: float | str, resolution: int | str) -> str:
    """Of a cell; with "*", a pattern."""
    return f"mobilenet_v2_{alpha}_{resolution}_backbone{BACKBONE_FILE_SUFFIX}"


def encode_backbone_file(backbone: BackboneFile) -> bytes:
    """The file's bytes; equal content gives equal bytes."""
    description = {
        "format": FORMAT,
        "family": MOBILENET,
        "alpha": backbone.alpha,
        "resolution": backbone.resolution,
        "trained_at": backbone.trained_at,
        **asdict(backbone.cost),
        "crc32": zlib.crc32(backbone.model),
        "weights": dict(backbone.weights),
        "calibration": dict(backbone.calibration),
        "versions": dict(backbone.versions),
    }
    parts = {_DESCRIPTION_PART: json.dumps(description, indent=1).encode(), _INT8_PART: backbone.int8}
    return attach(backbone.model, parts)


def read_backbone_file(path: Path) -> BackboneFile:
    """Raises DataError if it is missing, no backbone file, damaged, or newer than this program."""
    try:
        data = path.read_bytes()
        if not is_backbone_file(path):
            raise DataError(f"{path}: not a TFLite model: expected a file such as {backbone_file_name(0.5, 160)}")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
            model = data[: min(part.header_offset for part in archive.infolist())]
    except _ERRORS as error:
        raise DataError(f"{path}: no backbone file, or cut off ({first_line(error)}): copy it again") from error
    if _DESCRIPTION_PART not in parts:
        what = "a model file" if "edge.json" in parts else "a TFLite model of another program"
        raise DataError(f"{path}: {what}, not a backbone file ({_DESCRIPTION_PART} is missing): see --help")
    try:
        return _decode(path, json.loads(parts[_DESCRIPTION_PART]), model, parts[_INT8_PART])
    except _ERRORS as error:
        raise DataError(f"{path}: damaged ({first_line(error)}): copy it again") from error


def _decode(path: Path, description: Mapping[str, Any], model: bytes, int8: bytes) -> BackboneFile:
    number = description["format"]
    if type(number) is not int or number > FORMAT or description["family"] != MOBILENET:
        raise DataError(f"{path}: of a newer edge-classify (backbone format {number}): update edge-classify")
    if zlib.crc32(model) != description["crc32"]:
        raise ValueError("its checksum differs")
    alpha, resolution = description["alpha"], description["resolution"]
    if alpha not in ALPHAS or resolution not in RESOLUTIONS:
        raise ValueError(f"{alpha} @ {resolution} is no cell")
    cost = BackboneCost(*(int(description[name]) for name in BackboneCost.__annotations__))
    weights, calibration, versions = (dict(description[name]) for name in ("weights", "calibration", "versions"))
    trained_at = int(description["trained_at"])
    return BackboneFile(alpha, resolution, trained_at, cost, weights, calibration, versions, model, int8)
