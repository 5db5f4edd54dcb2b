"""Files damaged in every way that hypothesis thinks of: one of our errors, no crash, no large memory, nothing written.

pytest tests/edge/test_damaged_files.py --hypothesis-profile long        # 10,000 of them and more
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT
from edge_classify import Classifier, EdgeClassifyError, ModelFileError
from edge_classify.doctor.model_checks import model_card
from edge_classify.model.flatbuffer import Table
from edge_classify.model.interpreter import BUILTIN_MODEL
from edge_classify.model.model_file import read_model_file
from edge_classify.model.sandbox import try_model

OURS = BUILTIN_MODEL.read_bytes()
_BUFFERS, _DATA = 4, 0


def cut(content: bytes) -> tuple[bytes, bytes]:
    """(the flatbuffer, the zip after it)."""
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        end = min(part.header_offset for part in parts.infolist())
    return content[:end], content[end:]


def without_contract(content: bytes) -> bytes:
    """A third-party file: TFLite Metadata and labels."""
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        labels = parts.read("labels.txt")
    file = io.BytesIO(cut(content)[0])
    with zipfile.ZipFile(file, "a") as parts:
        parts.writestr("labels.txt", labels)
    return file.getvalue()


def structure(content: bytes) -> list[int]:
    """The positions that are not weights: a wrong byte there changes what the file means."""
    model = cut(content)[0]
    weights = bytearray(len(content))
    for buffer in Table.root(model).tables(_BUFFERS):
        data = buffer.raw(_DATA)
        if len(data) > 64 and bytes(data[4:8]) != b"M001":
            start = model.find(bytes(data))
            weights[start : start + len(data)] = b"\1" * len(data)
    return [place for place, is_weight in enumerate(weights) if not is_weight]


FOREIGN = without_contract(OURS)
# How its graph begins is looked at, too.
FLOAT = (ROOT / "tests" / "cases" / "models" / "scale_0_255.tflite").read_bytes()
PLACES = {OURS: structure(OURS), FOREIGN: structure(FOREIGN), FLOAT: list(range(len(FLOAT)))}
WORDS = [bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0", b"../a", b"PK\x05\x06", b"PK\x03\x04"]


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` with a few changes: wrong bytes and words, pieces removed, repeated, cut off, appended."""
    places = st.sampled_from(PLACES[content])
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = min(draw(places), len(data))
        match draw(st.sampled_from(["byte", "word", "gone", "twice", "cut", "more"])):
            case "byte":
                data[place : place + 1] = bytes([draw(st.integers(0, 255))])
            case "word":
                data[place : place + 4] = draw(st.sampled_from(WORDS))
            case "gone":
                del data[place : place + draw(st.integers(1, 64))]
            case "twice":
                data[place:place] = data[place : place + draw(st.integers(1, 64))]
            case "cut":
                del data[place:]
            case "more":
                data += draw(st.binary(max_size=64))
    return bytes(data)


def survives(path: Path, read: Callable[[Path], object]) -> None:
    before = sorted(path.parent.iterdir())
    refusal = ""
    try:
        read(path)
    except ModelFileError as error:
        refusal = str(error)
    assert not refusal or (str(path) in refusal and "\n" not in refusal)
    assert sorted(path.parent.iterdir()) == before


@pytest.fixture(scope="module")
def damaged_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "model.tflite"


@given(content=st.sampled_from([OURS, FOREIGN]).flatmap(damaged))
def test_reading_a_damaged_file(content: bytes, damaged_file: Path) -> None:
    damaged_file.write_bytes(content)
    survives(damaged_file, read_model_file)


# Each example starts a process.
@settings(max_examples=settings.default.max_examples // 4)
@given(content=st.sampled_from([FOREIGN, FLOAT]).flatmap(damaged))
def test_a_damaged_third_party_model_does_not_crash_us(content: bytes, damaged_file: Path) -> None:
    damaged_file.write_bytes(content)
    survives(damaged_file, Classifier)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON_VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS, max_size=3)


def fields(value: object, *path: str) -> list[tuple[str, ...]]:
    """The path of every field in a JSON object, those of inner objects too."""
    inner = value.items() if isinstance(value, dict) else ()
    return [path, *(found for name, child in inner for found in fields(child, *path, name))]


@given(data=st.data())
def test_any_value_in_any_field_of_the_contract(data: st.DataObject, damaged_file: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(OURS)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    contract = json.loads(parts["edge.json"])
    del contract["evaluation"]["per_class"]  # half of all fields, and nobody reads them
    *parents, name = data.draw(st.sampled_from(fields(contract)[1:]))
    holder = contract
    for parent in parents:
        holder = holder[parent]
    if data.draw(st.booleans()):
        holder[name] = data.draw(JSON_VALUES)
    else:
        del holder[name]
    damaged_file.write_bytes(with_parts({**parts, "edge.json": json.dumps(contract).encode()}))
    survives(damaged_file, lambda path: list(model_card(read_model_file(path))))


def test_a_model_that_crashes_the_interpreter_is_refused(damaged_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which file crashes LiteRT changes with its version, so the crash is made.
    child = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    monkeypatch.setattr("edge_classify.model.sandbox.isolated_python", lambda _: child)
    with pytest.raises(ModelFileError, match=r"the interpreter crashes on it \(SIGSEGV\): the file is damaged"):
        try_model(damaged_file, 1)


def test_a_trial_that_fails_for_another_reason_does_not_blame_the_model(
    damaged_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, reason in (
        ("import no_such_module", "No module named"),
        ("import os; os.kill(os.getpid(), 9)", "killed"),
    ):
        child = [sys.executable, "-c", code]
        monkeypatch.setattr("edge_classify.model.sandbox.isolated_python", lambda _, child=child: child)
        with pytest.raises(
            EdgeClassifyError, match=f"the process that tries unknown model files failed.*{reason}"
        ) as e:
            try_model(damaged_file, 1)
        assert not isinstance(e.value, ModelFileError)


def test_programs_of_the_current_folder_are_not_run(tmp_path: Path) -> None:
    for name in ("numpy", "re", "edge_classify", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open('{name}.ran', 'w')")
    model = ROOT / "tests" / "cases" / "models" / "uint8_cast.tflite"
    # The program itself is not to run them: it puts their folder back when all is imported.
    program = f"""
import sys
here = sys.path.pop(0)
from pathlib import Path
from edge_classify.model.sandbox import try_model
sys.path[:0] = [here, ""]
try_model(Path({str(model)!r}), 1)
"""
    (tmp_path / "program.py").write_text(program)
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, check=True, timeout=60)
    assert not list(tmp_path.glob("*.ran"))


def with_parts(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO(cut(OURS)[0])
    with zipfile.ZipFile(file, "a") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file.getvalue()


def with_zeros(parts: dict[str, bytes], megabytes: int) -> bytes:
    """A file whose labels.txt unpacks to so many megabytes, made without ever holding them."""
    file = io.BytesIO(with_parts({name: data for name, data in parts.items() if name != "labels.txt"}))
    with (
        zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("labels.txt", "w", force_zip64=True) as part,
    ):
        for _ in range(megabytes):
            part.write(bytes(2**20))
    return file.getvalue()


def test_bombs_are_not_unpacked(damaged_file: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(OURS)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    png = bytearray(parts["test_card.png"])
    png[16:24] = (30_000).to_bytes(4, "big") * 2
    bombs = [
        with_zeros(parts, 300),
        with_parts({**parts, "test_card.png": bytes(png)}),
        with_parts({**parts, "edge.json": b"[" * 2**20}),
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bomb in bombs:
        damaged_file.write_bytes(bomb)
        with pytest.raises(ModelFileError, match="damaged"):
            read_model_file(damaged_file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100 * 1024  # kB


def test_names_in_the_zip_are_never_paths(damaged_file: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(OURS)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    damaged_file.write_bytes(with_parts({**parts, "../outside.txt": b"x", "/etc/outside.txt": b"x"}))
    survives(damaged_file, Classifier)
    assert not (damaged_file.parent.parent / "outside.txt").exists()
