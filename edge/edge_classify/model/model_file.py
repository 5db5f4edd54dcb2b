"""What a model file says about itself: labels, how to preprocess a frame, its self-test.

A model file of this project is a TFLite flatbuffer with a zip appended, of `labels.txt`, `edge.json`, `test_card.png`,
`test_picture.png`, and `memory.npy` if it remembers training photos (`learn.memory`). Third-party files may carry
TFLite Metadata with labels and normalization, or nothing.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, ModelFileError, UsageError, first_line
from ..images.crop import Crop, make_crop
from ..images.photo import decode_photo
from ..images.preprocessing import PREPARATION, Image
from ..recognize import why_no_model_file
from ..system.nearest import or_nearest_path
from .labels import parse_labels
from .tflite_metadata import Metadata, Normalization, read_metadata

FORMAT = 1

# The names of the zip's parts.
LABELS_PART = "labels.txt"
CONTRACT_PART = "edge.json"
CARD_PART = "test_card.png"
PICTURE_PART = "test_picture.png"
MEMORY_PART = "memory.npy"

# The flatbuffer format allows no more.
_MAX_FILE_BYTES = 2 * 2**30
# More than any part that is read, unpacked.
_MAX_PART_BYTES = 16 * 2**20
# Pixels a side of a preprocessed picture.
_MAX_PICTURE_SIDE = 2048
# The self-test uses the tolerances in the file: they may not be so wide that nothing fails.
_MAX_PIXEL_TOLERANCE = 2.0
_MAX_SCORE_TOLERANCE = 0.2

# What zipfile raises on an archive that is damaged, encrypted, or packed in a way that it does not know.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, OverflowError, RuntimeError, ValueError)

# A field's kind, and the test for it. JSON knows no other types, and bool is no int here.
_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "an object": lambda value: isinstance(value, dict),
    "a string": lambda value: isinstance(value, str),
    "a boolean": lambda value: isinstance(value, bool),
    "a count": lambda value: type(value) is int and 0 <= value < 2**63,
    "a positive count": lambda value: type(value) is int and 0 < value < 2**63,
    "a number": lambda value: type(value) in (int, float) and 0 <= value < 2**63,
    "a fraction": lambda value: type(value) in (int, float) and 0 <= value <= 1,
    "a list of strings": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "a list of counts": lambda value: isinstance(value, list) and all(map(_KINDS["a count"], value)),
    "a list of fractions": lambda value: isinstance(value, list) and all(map(_KINDS["a fraction"], value)),
}
# The fields of edge.json that programs rely on.
_FIELDS = {
    "model.family": "a string",
    "model.alpha": "a number",
    "model.resolution": "a positive count",
    "model.precision": "a string",
    "model.parameters": "a positive count",
    "preprocess": "an object",
    "decision.unknown": "a boolean",
    "test_card.variant": "a count",
    "test_card.labels": "a list of strings",
    "test_card.scores": "a list of fractions",
    "test_card.pixel_tolerance": "a number",
    "test_card.score_tolerance": "a number",
    "evaluation": "an object",
    "provenance.data_fingerprint": "a string",
    "provenance.weights.name": "a string",
    "provenance.versions.convert.edge-classify": "a string",
    "provenance.versions.convert.tensorflow": "a string",
}
# Those of files whose accuracy was measured.
_EVALUATION_FIELDS = {
    "evaluation.photos": "a positive count",
    "evaluation.accuracy": "a fraction",
    "evaluation.float32_accuracy": "a fraction",
    "evaluation.kept": "a fraction",
}
# Those of files that remember training photos.
_MEMORY_FIELDS = {
    "memory.photos": "a positive count",
    "memory.trained_on": "a list of counts",
    "memory.features": "a positive count",
    "memory.middle": "a count",
}
# Those that older files lack, checked where they are there.
_OPTIONAL_FIELDS = {
    "model.crc32": "a count",
    "decision.validation": "an object",
    "evaluation.accuracy_with_unknown": "a fraction",
    "evaluation.lost": "a count",
    "evaluation.gained": "a count",
}


@dataclass(frozen=True)
class TestCard:
    """A recorded self-test: the drawn card, preprocessed and classified where the file was made.

    variant: which drawing (`self_test.draw_card`).
    preprocessed: the card, uint8 RGB, shape (R, R, 3).
    picture: what was classified, uint8 RGB, shape (R, R, 3): `test_picture.png`, or the card in files without it.
    scores: the probabilities that the file gave for `picture`, float32, shape (K,).
    pixel_tolerance: the largest mean absolute difference of the preprocessed card, in grey levels.
    score_tolerance: the largest absolute difference of a probability.
    """

    __test__ = False  # for pytest, which takes the name for a test's

    variant: int
    preprocessed: Image
    picture: Image
    scores: np.ndarray
    pixel_tolerance: float
    score_tolerance: float


@dataclass(frozen=True)
class ModelFile:
    """What a model file says about itself.

    labels: in output order, or None if the file has none.
    labels_problem: why `labels` is None though TFLite Metadata names a label file; "" otherwise.
    normalization: (means, standard deviations) of the input from TFLite Metadata, each of one value or one for each
        channel, or None.
    input_size: (height, width) from TFLite Metadata for an input of any size, or None.
    crop: the part of the picture that the model was trained on, and classifies; None: all of it.
    contract: `edge.json`, its fields checked, or None for third-party files.
    intact: the model is, byte for byte, the one that `contract` was written for.
    """

    path: Path
    labels: tuple[str, ...] | None
    normalization: Normalization | None
    contract: Mapping[str, Any] | None
    test_card: TestCard | None
    intact: bool = False
    labels_problem: str = ""
    input_size: tuple[int, int] | None = None
    crop: Crop | None = None

    @property
    def name(self) -> str:
        """The file's name without `.tflite`."""
        return self.path.stem


class _DamagedError(Exception):
    """What is wrong with a file's content. Nothing but this is reported as damage: a bug of ours has its traceback."""


class _OtherFormatError(Exception):
    """What is not as this version writes it in an edge.json that arrived whole: its zip has a checksum of it."""


def read_model_file(path: str | Path) -> ModelFile:
    """Read what the model file says about itself; nothing is run.

    Raises ModelFileError if it is missing, not a TFLite model, damaged, or newer than this program.
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        metadata = _read_metadata(data)
        names = {*metadata.label_files, LABELS_PART, CONTRACT_PART, CARD_PART, PICTURE_PART}
        parts, model_bytes = _read_parts(data, names)
        if not parts and _is_cut_off(data):
            raise _DamagedError("its attached parts are incomplete")
        if CONTRACT_PART not in parts:
            return _third_party(path, parts, metadata)
        labels = _labels(parts, metadata.label_files)
        contract = _contract(path, parts[CONTRACT_PART])
        intact = _check_model(contract, memoryview(data)[:model_bytes])
        card = _test_card(contract["test_card"], parts, labels or ())
        crop = _crop(contract)
    except _DamagedError as error:
        raise ModelFileError(f"{path}: damaged or cut off ({error}): copy it again") from error
    except _OtherFormatError as error:
        raise ModelFileError(
            f"{path}: not as this edge-classify's edge-convert writes it ({CONTRACT_PART}: {error}), but as an "
            "unfinished version did, or another program: make it again from its run, with edge-convert"
        ) from error
    return ModelFile(path, labels, metadata.normalization, contract, card, intact, crop=crop)


def read_flatbuffer(path: Path) -> bytes:
    """The model in a file, without the zip appended to it. Raises ModelFileError."""
    data, _, model_bytes = _read_named_parts(path, set())
    return data[:model_bytes]


def read_part(path: Path, name: str) -> bytes | None:
    """A part of the zip appended to a file; None if it has none of that name. Raises ModelFileError."""
    return _read_named_parts(path, {name})[1].get(name)


def _read_named_parts(path: Path, names: set[str]) -> tuple[bytes, dict[str, bytes], int]:
    """(the file's content, its parts of these names, the number of bytes before the zip)."""
    data = _read_bytes(path)
    try:
        return data, *_read_parts(data, names)
    except _DamagedError as error:
        raise ModelFileError(f"{path}: damaged or cut off ({error}): copy it again") from error


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ModelFileError(f"{path}: larger than any TFLite model (2 GiB): expected a .tflite file")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such model file{or_nearest_path(path)}") from None
    except IsADirectoryError:
        raise ModelFileError(why_no_model_file(path)) from None
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error
    if data[4:8] != b"TFL3":
        raise ModelFileError(f"{path}: not a TFLite model: expected a .tflite file such as edge-convert writes")
    return data


def _read_metadata(data: bytes) -> Metadata:
    try:
        return read_metadata(data)
    except ValueError as error:
        raise _DamagedError(error) from error


def _read_parts(data: bytes, wanted: set[str]) -> tuple[dict[str, bytes], int]:
    """({name: content} of the `wanted` parts that are there, the number of bytes before the zip)."""
    file = io.BytesIO(data)
    if not zipfile.is_zipfile(file):
        return {}, len(data)
    try:
        with zipfile.ZipFile(file) as archive:
            present = wanted.intersection(archive.namelist())
            parts = {name: _read_part(archive, name) for name in present}
            return parts, min((part.header_offset for part in archive.infolist()), default=len(data))
    except _ZIP_ERRORS as error:
        raise _DamagedError(f"its attached parts: {first_line(error)}") from error


def _is_cut_off(data: bytes) -> bool:
    """Whether a zip begins in the file that does not end there."""
    start = data.rfind(b"PK\3\4")
    # By chance, weights may hold these four bytes, but not the rest of a local header and a plain name.
    if start < 0 or len(data) < start + 30:
        return start >= 0
    name = data[start + 30 : start + 30 + int.from_bytes(data[start + 26 : start + 28], "little")]
    return bool(name) and name.isascii() and name.decode("ascii").isprintable()


def _read_part(archive: zipfile.ZipFile, name: str) -> bytes:
    part = archive.getinfo(name)
    if part.file_size > _MAX_PART_BYTES:
        raise _DamagedError(f"{name!r} is larger than any part may be")
    if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _DamagedError(f"{name!r} is compressed in an unknown way")
    return archive.read(part)


def _labels(parts: Mapping[str, bytes], label_files: list[str]) -> tuple[str, ...] | None:
    """Ours: from the part that TFLite Metadata names, else from labels.txt; None if the file has neither."""
    name = next((name for name in (*label_files, LABELS_PART) if name in parts), None)
    if name is None:
        return None
    try:
        return parse_labels(parts[name].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _DamagedError(f"{name!r}: {error}") from error


def _third_party(path: Path, parts: Mapping[str, bytes], metadata: Metadata) -> ModelFile:
    """Its labels: from the first part that TFLite Metadata names, else from labels.txt."""
    from .label_files import LabelFileError, parse_label_file

    labels, problem = None, ""
    name = next((name for name in (*metadata.label_files, LABELS_PART) if name in parts), None)
    if name is not None:
        try:
            labels = parse_label_file(parts[name])
        except LabelFileError as error:
            problem = f"its label file {name!r} cannot be read ({error})"
    elif metadata.label_files:
        problem = f"its metadata names the label file {metadata.label_files[0]!r}, which is not attached (cut off?)"
    return ModelFile(
        path,
        labels,
        metadata.normalization,
        None,
        None,
        labels_problem=problem,
        input_size=metadata.input_size,
    )


def _contract(path: Path, text: bytes) -> dict[str, Any]:
    """The content of edge.json, checked: it has all fields that programs rely on, and suits this version."""
    try:
        contract = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _DamagedError(f"{CONTRACT_PART}: {first_line(error)}") from error
    if not isinstance(contract, dict) or type(contract.get("format")) is not int:
        raise _OtherFormatError("no format number")
    if contract["format"] > FORMAT:
        raise ModelFileError(
            f"{path}: made in model file format {contract['format']}, this edge-classify reads up to {FORMAT}: "
            "update edge-classify"
        )
    _check_fields(contract, _FIELDS)
    for name, kind in _OPTIONAL_FIELDS.items():
        section, _, field = name.partition(".")
        if field in contract[section]:
            _check_fields(contract, {name: kind})
    if "accuracy" in contract["evaluation"]:
        _check_fields(contract, _EVALUATION_FIELDS)
    if "memory" in contract:
        _check_fields(contract, _MEMORY_FIELDS)
    if {name: value for name, value in contract["preprocess"].items() if name != "crop"} != PREPARATION:
        raise ModelFileError(f"{path}: needs preprocessing that this edge-classify cannot do: update edge-classify")
    return contract


def _crop(contract: Mapping[str, Any]) -> Crop | None:
    """`preprocess.crop`, which files trained on whole pictures do not have."""
    values = contract["preprocess"].get("crop")
    if values is None:
        return None
    try:
        if not _KINDS["a list of fractions"](values) or len(values) != len(Crop._fields):
            raise UsageError(f"not {len(Crop._fields)} fractions")
        return make_crop(values)
    except UsageError as error:
        raise _DamagedError(f"{CONTRACT_PART}: preprocess.crop: {error}") from error


def _check_fields(contract: Mapping[str, Any], fields: Mapping[str, str]) -> None:
    """fields: the kind of each by its dotted path."""
    for path, kind in fields.items():
        value: Any = contract
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not _KINDS[kind](value):
            raise _OtherFormatError(f"{path} is missing or not {kind}")


def _check_model(contract: Mapping[str, Any], model: memoryview) -> bool:
    """Whether the model's checksum is recorded; if so, it must be right.

    A flipped bit of a weight can be within the self-test's tolerances.
    """
    if "crc32" not in contract["model"]:
        return False
    if contract["model"]["crc32"] != zlib.crc32(model):
        raise _DamagedError("the model is not the one that was measured")
    return True


def _test_card(card: Mapping[str, Any], parts: Mapping[str, bytes], labels: tuple[str, ...]) -> TestCard:
    if tuple(card["labels"]) != labels:
        raise _DamagedError(f"{LABELS_PART} is not the one that the self-test was recorded with")
    if len(card["scores"]) != len(labels):
        raise _DamagedError("the self-test does not have one score per label")
    if card["pixel_tolerance"] > _MAX_PIXEL_TOLERANCE or card["score_tolerance"] > _MAX_SCORE_TOLERANCE:
        raise _DamagedError("the self-test's tolerances are so wide that it would always pass")
    if CARD_PART not in parts:
        raise _DamagedError(f"{CARD_PART} is missing")
    return TestCard(
        variant=card["variant"],
        preprocessed=_picture(parts, CARD_PART),
        picture=_picture(parts, PICTURE_PART if PICTURE_PART in parts else CARD_PART),
        scores=np.array(card["scores"], np.float32),
        pixel_tolerance=card["pixel_tolerance"],
        score_tolerance=card["score_tolerance"],
    )


def _picture(parts: Mapping[str, bytes], name: str) -> Image:
    """uint8 RGB. A few bytes of PNG can hold a picture of gigabytes: its size is looked at first."""
    png = parts[name]
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 24 or max(struct.unpack_from(">II", png, 16)) > _MAX_PICTURE_SIDE:
        raise _DamagedError(f"{name} is not a PNG, or larger than any input")
    try:
        return np.ascontiguousarray(decode_photo(png, name)[..., ::-1])
    except DataError as error:
        raise _DamagedError(error) from error
