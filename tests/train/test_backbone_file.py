"""Backbone files: what is written is what is read, damage is one line, and published ones are fetched by hash."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_classify.errors import DataError, UsageError
from edge_train.backbone import BackboneCost
from edge_train.backbone_file import BackboneFile, backbone_file_name, encode_backbone_file, read_backbone_file
from edge_train.published import fetch_backbone_file, write_manifest
from edge_train.weights import find_backbone

FILE = BackboneFile(
    alpha=0.35,
    resolution=96,
    trained_at=96,
    cost=BackboneCost(1280, 56, 400_000, 11_000_000),
    weights={"name": "x.weights.h5", "sha256": "ab12"},
    calibration={"photos": 3, "fingerprint": "cd34"},
    versions={"tensorflow": "2.21.0", "keras": "3.15.1"},
    model=b"\x1c\0\0\0TFL3" + bytes(range(200)),
    int8=b"\x1c\0\0\0TFL3" + bytes(100),
)
NAME = backbone_file_name(0.35, 96)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(encode_backbone_file(FILE))
    return path


def find(weights: Path, alpha: float = 0.35, resolution: int = 96):
    return find_backbone("mobilenet_v2", str(weights), alpha, resolution, seed=0)


def test_what_is_written_is_what_is_read(path: Path) -> None:
    assert read_backbone_file(path) == FILE
    assert encode_backbone_file(FILE) == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GIF89a" + bytes(50), "not a TFLite model"),
        (FILE.model, "no backbone file, or cut off"),
        (encode_backbone_file(FILE)[:-30], "no backbone file, or cut off"),
        (FILE.model[:20] + b"?" + encode_backbone_file(FILE)[21:], "its checksum differs"),
        (encode_backbone_file(replace(FILE, alpha=0.4)), "0.4 @ 96 is no cell"),
        (encode_backbone_file(FILE).replace(b'"format": 1', b'"format": 9'), "cut off"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_backbone_file(path)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_model_file_is_no_backbone_file(int8_model: Path) -> None:
    with pytest.raises(DataError, match=r"int8.tflite: a model file, not a backbone file"):
        read_backbone_file(int8_model)


def test_a_backbone_is_the_file_itself_whatever_it_is_called(path: Path, tmp_path: Path) -> None:
    other = path.rename(tmp_path / "mine.tflite")
    found = find(other)
    assert found.sha256 == hashlib.sha256(other.read_bytes()).hexdigest()
    assert (found.kind, found.trained_at, found.weights) == ("mobilenet_v2", 96, other)
    with pytest.raises(UsageError, match=r"of 0.35 @ 96, not 0.5 @ 96"):
        find(other, alpha=0.5)


def test_of_a_folder_a_backbone_file_of_the_cell_goes_before_weights(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_train.weights.has_tensorflow", lambda: True)  # nothing is read here
    weights = path.with_name("mobilenet_v2_0.35_224_no_top.weights.h5")
    weights.write_text("of Keras")
    assert find(path.parent).weights == path
    assert find(path.parent, resolution=224).weights == weights


@pytest.fixture
def server(path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of published files, which a server offers under the address that is configured; the cache is empty."""
    write_manifest(path.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    handler = partial(SimpleHTTPRequestHandler, directory=path.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        monkeypatch.setenv("EDGE_CLASSIFY_BACKBONES", f"http://127.0.0.1:{http.server_port}/")
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield path.parent
        http.shutdown()


def test_a_published_file_is_fetched_once(server: Path) -> None:
    fetched = fetch_backbone_file(0.35, 96)
    assert fetched.read_bytes() == (server / NAME).read_bytes()
    for published in server.iterdir():
        published.unlink()
    assert fetch_backbone_file(0.35, 96) == fetched


def edit_manifest(folder: Path, edit: Callable[[dict], object]) -> None:
    manifest = json.loads((folder / "backbones.json").read_text())
    edit(manifest)
    (folder / "backbones.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / NAME).write_bytes(encode_backbone_file(FILE)[::-1]), "its SHA-256 differs"),
        (lambda folder: (folder / NAME).write_bytes(bytes(9999)), "not what was published"),
        (lambda folder: (folder / NAME).unlink(), "cannot be fetched"),
        (lambda folder: (folder / "backbones.json").unlink(), "cannot be fetched"),
        (lambda folder: (folder / "backbones.json").write_text("<html>"), "not a manifest of backbone files"),
        (lambda folder: (folder / "backbones.json").write_text("[]"), "not a manifest of backbone files"),
        (lambda folder: edit_manifest(folder, lambda content: content["files"].clear()), f"lists no {NAME}"),
        (lambda folder: edit_manifest(folder, lambda content: content.update(format=2)), "update edge-classify"),
    ],
)
def test_what_is_not_the_published_file_is_not_taken(server: Path, damage, message: str) -> None:
    damage(server)
    with pytest.raises(DataError) as refused:
        fetch_backbone_file(0.35, 96)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    (server / NAME).write_bytes(encode_backbone_file(FILE))
    write_manifest(server)
    assert fetch_backbone_file(0.35, 96).read_bytes() == (server / NAME).read_bytes()


def test_without_an_address_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EDGE_CLASSIFY_BACKBONES", raising=False)
    monkeypatch.setattr("edge_train.published._configured", lambda: "")
    with pytest.raises(DataError, match=r"knows no address .*--backbone FILE.tflite"):
        fetch_backbone_file(0.35, 96)
