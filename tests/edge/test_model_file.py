"""Damaged, foreign and tampered files: each is refused in one line, by what is wrong with it."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge_classify import Classifier, ModelFileError, SelfTestError
from edge_classify.images.preprocessing import preprocess
from edge_classify.model import classifier as classifier_module
from edge_classify.model.interpreter import BUILTIN_MODEL
from edge_classify.model.model_file import read_model_file


def parts_of(model: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The flatbuffer, and the zip's parts behind it."""
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        first = min(info.header_offset for info in archive.infolist())
        return model[:first], {name: archive.read(name) for name in archive.namelist()}


def rebuild(model: bytes, **changed: bytes) -> bytes:
    flatbuffer, parts = parts_of(model)
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a") as archive:
        for name, data in parts.items():
            archive.writestr(name, changed.get(name.split(".")[0], data))
    return file.getvalue()


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no such model file"):
        Classifier(tmp_path / "gone.tflite")
    with pytest.raises(ModelFileError, match="Is a directory"):
        Classifier(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04"])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not a TFLite model"):
        Classifier(path)


@pytest.mark.parametrize("share", [0.00001, 0.0001, 0.01, 0.3, 0.7, 0.95, 0.99, 0.9999])
def test_a_truncated_model(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.tflite"
    whole = BUILTIN_MODEL.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelFileError, match=r"model\.tflite: "):
        Classifier(path)


def test_labels_in_another_order_are_noticed(tmp_path: Path, int8_model: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(rebuild(int8_model.read_bytes(), labels=b"disc\ncross\nstripes\nunknown\n"))
    with pytest.raises(ModelFileError, match=r"labels\.txt is not the one"):
        Classifier(path)


def test_a_newer_format_says_so(tmp_path: Path, int8_model: Path) -> None:
    path = tmp_path / "model.tflite"
    _, parts = parts_of(int8_model.read_bytes())
    contract = json.loads(parts["edge.json"]) | {"format": 2}
    path.write_bytes(rebuild(int8_model.read_bytes(), edge=json.dumps(contract).encode()))
    with pytest.raises(ModelFileError, match=r"format 2, this edge-classify reads up to 1: pip install --upgrade"):
        Classifier(path)


@pytest.mark.parametrize("edge", [b"", b"[]", b"{}", b'{"format": 1}', b"\xff\xfe", b'{"format": "1"}'])
def test_a_damaged_contract(tmp_path: Path, int8_model: Path, edge: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(rebuild(int8_model.read_bytes(), edge=edge))
    with pytest.raises(ModelFileError, match="damaged"):
        Classifier(path)


def test_what_the_file_says_of_itself(models: Path) -> None:
    contract = read_model_file(models / "mobilenet_v2_0.35_96_int8.tflite").contract
    assert contract is not None
    assert contract["model"]["alpha"] == 0.35
    assert contract["model"]["resolution"] == 96
    assert contract["model"]["precision"] == "int8"
    # Published for 0.35 at 96: 11 million multiply-adds; its 1.66 million parameters have a top of 1000 classes.
    assert contract["model"]["multiply_adds"] == pytest.approx(11e6, rel=0.05)
    assert contract["preprocess"]["resize"] == "squash"
    assert contract["decision"]["unknown"] is True
    assert set(contract) >= {"format", "model", "preprocess", "decision", "test_card", "evaluation", "provenance"}
    assert str(models) not in json.dumps(contract)


def negative(image: np.ndarray, out: np.ndarray) -> np.ndarray:
    preprocess(image, out)
    return np.subtract(255, out, out=out)


def unsigned_for_signed(image: np.ndarray, out: np.ndarray) -> np.ndarray:
    """What a model made for [-1, 1] sees of pixels scaled to [0, 1]."""
    preprocess(image, out)
    return np.add(out // 2, 128, out=out)


@pytest.mark.parametrize("wrong", [negative, unsigned_for_signed])
@pytest.mark.parametrize("model", ["builtin", "float32", "int8"])
def test_a_runtime_that_computes_something_else_fails_the_test_card(
    model: str, wrong: object, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = BUILTIN_MODEL if model == "builtin" else request.getfixturevalue(f"{model}_model")
    Classifier(path)
    monkeypatch.setattr(classifier_module, "preprocess", wrong)
    with pytest.raises(SelfTestError, match="does not give the probabilities recorded in it"):
        Classifier(path)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_one_flipped_bit_of_a_weight_is_caught(place: float, int8_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    content = bytearray(int8_model.read_bytes())
    content[int(place * len(parts_of(bytes(content))[0]))] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="the model is not the one that was measured"):
        Classifier(path)
