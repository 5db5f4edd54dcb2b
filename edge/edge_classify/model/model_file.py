"""What a model file says of itself: labels, how to prepare a frame, its test card.

A model file of this project is a TFLite flatbuffer with a zip appended: `labels.txt`, `edge.json` and
`test_card.png`. Files of others may carry TFLite Metadata with labels and normalization, or nothing.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, ModelFileError
from ..images.photo import decode_photo
from ..images.preprocessing import PREPARATION, Image
from ..labels import parse_labels
from .flatbuffer import Table

FORMAT = 1

# A FlatBuffer has no more; a part that is read is small, and so is a prepared picture, in pixels a side.
_FILE_LIMIT, _PART_LIMIT, _PICTURE_LIMIT = 2 * 2**30, 16 * 2**20, 2048
# The test card is checked with the tolerances that the file tells: they may not be so wide that nothing fails.
_PIXEL_TOLERANCE_LIMIT, _SCORE_TOLERANCE_LIMIT = 2.0, 0.2
_CONTRACT = ("model", "preprocess", "decision", "test_card", "evaluation", "provenance")

# Slots of the TFLite schema (schema.fbs) and of TFLite Metadata (metadata_schema.fbs).
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0
_MODEL_METADATA_SUBGRAPHS = 3
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 2, 3
_TENSOR_PROCESS_UNITS, _TENSOR_ASSOCIATED_FILES = 4, 6
_UNIT_OPTIONS_TYPE, _UNIT_OPTIONS = 0, 1
_FILE_NAME, _FILE_TYPE = 0, 2
_NORMALIZATION_OPTIONS, _AXIS_LABELS = 1, 2

# What the libraries raise on parts that are not what they should be.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, DataError),
    *(KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError, NotImplementedError),
)


@dataclass(frozen=True)
class TestCard:
    """A recorded self-test: the drawn card, prepared and classified where the file was made.

    variant: which drawing (`test_card.draw_card`).
    prepared: uint8 RGB, shape (R, R, 3).
    picture: uint8 RGB, shape (R, R, 3), what was classified: the card itself, unless the file has a picture for it.
    scores: float32, shape (K,), the probabilities that the file gave for `picture`.
    pixel_tolerance: the largest mean absolute difference of the prepared tensor, in grey levels.
    score_tolerance: the largest absolute difference of a probability.
    """

    __test__ = False  # no test case, whatever pytest thinks of the name

    variant: int
    prepared: Image
    picture: Image
    scores: np.ndarray
    pixel_tolerance: float
    score_tolerance: float


@dataclass(frozen=True)
class ModelFile:
    """A model file's own words.

    labels: in output order, or None where the file has none.
    normalization: (mean, deviation) of the float input from TFLite Metadata, or None.
    contract: `edge.json`, or None for files of others.
    intact: the model is, byte for byte, the one that `contract` was written for.
    """

    path: Path
    labels: tuple[str, ...] | None
    normalization: tuple[float, float] | None
    contract: Mapping[str, Any] | None
    test_card: TestCard | None
    intact: bool = False

    @property
    def name(self) -> str:
        return self.path.stem


def read_model_file(path: str | Path) -> ModelFile:
    """Read what the model file says of itself; nothing is run.

    Raises ModelFileError if it is missing, no TFLite model, damaged, or newer than this program.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _FILE_LIMIT:
            raise ModelFileError(f"{path}: larger than any TFLite model (2 GiB)")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such model file") from None
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error
    if data[4:8] != b"TFL3":
        raise ModelFileError(f"{path}: not a TFLite model (a .tflite file as edge-convert writes it is needed)")
    try:
        files, normalization = _read_metadata(data)
    except ValueError as error:
        raise ModelFileError(f"{path}: damaged or cut off ({error}): copy it again") from error
    if not zipfile.is_zipfile(path):
        if files:
            raise ModelFileError(f"{path}: cut off or damaged, its {files[0]} is missing: copy it again")
        return ModelFile(path, None, normalization, None, None)
    try:
        with zipfile.ZipFile(path) as parts:
            names = set(parts.namelist())
            labels_name = next((name for name in [*files, "labels.txt"] if name in names), None)
            labels = parse_labels(_part(parts, labels_name).decode("utf-8")) if labels_name else None
            if "edge.json" not in names:
                return ModelFile(path, labels, normalization, None, None)
            contract = json.loads(_part(parts, "edge.json"))
            _check_contract(path, contract)
            # A flipped bit of a weight would be within any tolerance of the test card.
            model_bytes = min(part.header_offset for part in parts.infolist())
            if contract["model"].get("crc32", crc := zlib.crc32(data[:model_bytes])) != crc:
                raise ValueError("the model is not the one that was measured")
            intact = "crc32" in contract["model"]
            png = _part(parts, "test_card.png")
            picture = _part(parts, "test_picture.png") if "test_picture.png" in names else png
            card = _test_card(contract, png, picture, labels or ())
    except _UNREADABLE as error:
        raise ModelFileError(f"{path}: damaged, its attached parts cannot be read ({error}): copy it again") from error
    return ModelFile(path, labels, normalization, contract, card, intact)


def _part(parts: zipfile.ZipFile, name: str) -> bytes:
    if parts.getinfo(name).file_size > _PART_LIMIT:
        raise ValueError(f"{name} is larger than any part may be")
    return parts.read(name)


def _read_metadata(data: bytes) -> tuple[list[str], tuple[float, float] | None]:
    """From TFLite Metadata: the names of the output's label files, and the input's normalization."""
    model = Table.root(data)
    for entry in model.tables(_MODEL_METADATA):
        if entry.string(_METADATA_NAME) != "TFLITE_METADATA":
            continue
        buffer = model.table_at(_MODEL_BUFFERS, entry.integer(_METADATA_BUFFER))
        subgraphs = Table.root(buffer.raw(_BUFFER_DATA)).tables(_MODEL_METADATA_SUBGRAPHS)
        if not subgraphs:
            break
        files = [
            file.string(_FILE_NAME)
            for output in subgraphs[0].tables(_SUBGRAPH_OUTPUTS)
            for file in output.tables(_TENSOR_ASSOCIATED_FILES)
            if file.integer(_FILE_TYPE, "<b") == _AXIS_LABELS
        ]
        return files, _read_normalization(subgraphs[0].tables(_SUBGRAPH_INPUTS))
    return [], None


def _read_normalization(inputs: list[Table]) -> tuple[float, float] | None:
    for unit in inputs[0].tables(_TENSOR_PROCESS_UNITS) if inputs else []:
        options = unit.table(_UNIT_OPTIONS)
        if options is not None and unit.integer(_UNIT_OPTIONS_TYPE, "<B") == _NORMALIZATION_OPTIONS:
            mean, deviation = options.floats(0), options.floats(1)
            # One number for all channels, in every published classifier; others are left to the reader's warning.
            if len(set(mean)) == 1 and len(set(deviation)) == 1 and deviation[0] > 0:
                return mean[0], deviation[0]
    return None


def _check_contract(path: Path, contract: Any) -> None:
    if not isinstance(contract, dict) or not isinstance(contract.get("format"), int):
        raise ValueError("edge.json has no format number")
    if contract["format"] > FORMAT:
        raise ModelFileError(
            f"{path}: made in model file format {contract['format']}, this edge-classify reads up to {FORMAT}: "
            "pip install --upgrade edge-classify"
        )
    if wrong := [name for name in _CONTRACT if not isinstance(contract[name], dict)]:
        raise ValueError(f"edge.json's {wrong[0]} is no object")
    if contract["preprocess"] != PREPARATION:
        raise ModelFileError(
            f"{path}: wants its pictures prepared as {contract['preprocess']}, which this edge-classify does not do: "
            "pip install --upgrade edge-classify"
        )


def _test_card(contract: Mapping[str, Any], png: bytes, picture: bytes, labels: tuple[str, ...]) -> TestCard:
    card = contract["test_card"]
    if tuple(card["labels"]) != labels:
        raise ValueError("labels.txt is not the one that the test card was recorded with")
    pixel_tolerance, score_tolerance = float(card["pixel_tolerance"]), float(card["score_tolerance"])
    if not (0 <= pixel_tolerance <= _PIXEL_TOLERANCE_LIMIT and 0 <= score_tolerance <= _SCORE_TOLERANCE_LIMIT):
        raise ValueError("the test card's tolerances are no tolerances")
    return TestCard(
        variant=int(card["variant"]),
        prepared=_picture(png, "test_card.png"),
        picture=_picture(picture, "test_picture.png"),
        scores=np.array(card["scores"], np.float32).reshape(len(labels)),
        pixel_tolerance=pixel_tolerance,
        score_tolerance=score_tolerance,
    )


def _picture(png: bytes, name: str) -> Image:
    """uint8 RGB. A few bytes of PNG can hold a picture of gigabytes: its size is looked at first."""
    if png[:8] != b"\x89PNG\r\n\x1a\n" or max(struct.unpack_from(">II", png, 16)) > _PICTURE_LIMIT:
        raise ValueError(f"{name} is no PNG, or larger than any input")
    return np.ascontiguousarray(decode_photo(png, name)[..., ::-1])
