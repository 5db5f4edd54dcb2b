"""A manifest that was written is read back as it was; any other JSON is read or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_classify.errors import ModelFileError
from edge_classify.model.manifest import MANIFEST, read_manifest

fractions = st.floats(0, 1)
names = st.text("abcäö_.0123456789 ", min_size=1).map(lambda stem: f"{stem}.tflite")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
entries = st.fixed_dictionaries(
    {
        "file": names,
        "sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
        "bytes": st.integers(0),
        "alpha": st.sampled_from([0.35, 0.5, 1.0]),
        "resolution": st.sampled_from([96, 224]),
        "precision": st.sampled_from(["float32", "int8"]),
        "parameters": st.integers(0),
        "multiply_adds": st.integers(0),
        "figures": st.fixed_dictionaries(
            {"photos": st.integers(0)}, optional={"accuracy": fractions, "agreement": fractions}
        ),
    },
    optional={"key": st.text()},
)


def write(folder: Path, content: object) -> Path:
    (folder / MANIFEST).write_text(json.dumps(content), "utf-8")
    return folder


@pytest.mark.slow  # edge-convert records its version of TensorFlow
@given(st.lists(entries, max_size=4), st.lists(st.text(), min_size=1), st.dictionaries(st.text(), values))
def test_what_edge_convert_writes_is_read_back(
    files: list[dict[str, Any]], labels: list[str], arguments: dict[str, Any]
) -> None:
    from edge_convert.manifest import write_manifest
    from edge_convert.settings import Settings

    index = {"photos": {"fingerprint": "f"}, "seed": 3, "arguments": arguments, "versions": {"python": "3"}}
    run: Any = SimpleNamespace(labels=tuple(labels), index=index, cells=())
    with TemporaryDirectory() as folder:
        write_manifest(Path(folder), run, Settings(), files)
        manifest = read_manifest(Path(folder))
        assert read_manifest(Path(folder) / MANIFEST) == manifest
    assert manifest["labels"] == labels
    assert (manifest["data_fingerprint"], manifest["seed"], manifest["arguments"]) == ("f", 3, arguments)
    assert sorted(map(repr, manifest["files"])) == sorted(map(repr, files))


@given(st.one_of(values, st.fixed_dictionaries({"format": st.just(1), "files": st.lists(entries | values)})))
def test_other_json_is_read_or_refused_in_one_line(content: object) -> None:
    with TemporaryDirectory() as folder:
        try:
            manifest = read_manifest(write(Path(folder), content))
        except ModelFileError as error:
            message = str(error)
        else:
            message = ""
            assert all(isinstance(entry["figures"]["photos"], int) for entry in manifest["files"])
    assert "\n" not in message


@pytest.mark.parametrize("name", ["../x.tflite", "/x.tflite", "a/b.tflite", "..", "", "x.sh"])
def test_a_manifest_does_not_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    entry = {"file": name, "sha256": "", "bytes": 1, "alpha": 1.0, "resolution": 96, "precision": "int8"}
    entry |= {"parameters": 1, "multiply_adds": 1, "figures": {"photos": 0}}
    with pytest.raises(ModelFileError, match=r"is not a plain \.tflite file name"):
        read_manifest(write(tmp_path, {"format": 1, "files": [entry]}))


def test_what_is_missing_damaged_or_newer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no manifest\.json in this folder"):
        read_manifest(tmp_path)
    with pytest.raises(ModelFileError, match=r"manifest format 2, .* update edge-classify"):
        read_manifest(write(tmp_path, {"format": 2}))
    with pytest.raises(ModelFileError, match=r"damaged, or not a manifest \('files' is missing\)"):
        read_manifest(write(tmp_path, {"format": 1}))
    entry = {"file": "a.tflite", "sha256": "", "bytes": 1, "alpha": 1.0, "resolution": 96, "precision": 8}
    with pytest.raises(ModelFileError, match="precision is 8"):
        read_manifest(write(tmp_path, {"format": 1, "files": [entry]}))
