"""A folder of model files is of one run and one conversion, and everything that reads it agrees on what is in it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_classify.benchmark.candidates import list_models, read_candidates
from edge_classify.errors import DataError, ModelFileError
from edge_classify.model.manifest import ManifestEntry, read_manifest
from edge_classify.system.checksum import file_sha256
from edge_convert import manifest as convert_manifest
from edge_convert.manifest import cell_key, verify, write_manifest
from edge_convert.model_folder import keep_current, open_output
from edge_convert.settings import Settings
from edge_train.folder_lock import hold_folder
from edge_train.run_folder import CALIBRATION, HELD_OUT, Cell, Index, Run, prepared_path


@pytest.fixture(autouse=True)
def _versions(monkeypatch: pytest.MonkeyPatch) -> None:
    # TensorFlow, whose version is recorded, need not be installed for this.
    monkeypatch.setattr(convert_manifest, "converter_versions", lambda _: {"tensorflow": "2"})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two cells, as far as its files can be told from another's."""
    folder = tmp_path / "run"
    (folder / "prepared").mkdir(parents=True)
    weights = folder / "x.weights.h5"
    weights.write_bytes(b"weights")
    for part in (CALIBRATION, HELD_OUT):
        prepared_path(folder, 96, part).write_bytes(b"photos")
    arrays = {"kernel": np.ones((2, 2), np.float32), "bias": np.zeros(2, np.float32)}
    cells = tuple(
        Cell(alpha, 96, "mobilenet_v2", 9, 9, weights, "x", "ab", arrays, {}, {}, np.zeros((1, 2), np.float32))
        for alpha in (0.35, 0.5)
    )
    index: Index = {
        "labels": ["cup", "key"],
        "cells": [],
        "held_out_labels": [0],
        "calibration_labels": [0],
        "photos": {"fingerprint": "cd"},
        "seed": 0,
        "arguments": {"epochs": 3},
        "versions": {"numpy": "2"},
    }
    return Run(folder, ("cup", "key"), cells, np.zeros(1), index)


def make_file(folder: Path, run: Run, settings: Settings, cell: Cell, precision: str = "int8") -> ManifestEntry:
    """A model file, as far as a manifest knows it, and its entry."""
    path = folder / f"mobilenet_v2_{cell.name}_{precision}.tflite"
    path.write_bytes(f"{cell.name} {precision}".encode())
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "alpha": cell.alpha,
        "resolution": cell.resolution,
        "precision": precision,
        "parameters": 9,
        "multiply_adds": 9,
        "figures": {"photos": 1},
        "key": cell_key(run, cell, settings),
    }


@pytest.fixture
def models(tmp_path: Path, run: Run) -> Path:
    """The int8 files of both cells, with their manifest."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_manifest(folder, run, Settings(), [make_file(folder, run, Settings(), cell) for cell in run.cells])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def with_index(run: Run, **changes: Any) -> Run:
    return replace(run, index={**run.index, **changes})  # type: ignore[typeddict-item]


FILES = ["mobilenet_v2_0.35_96_int8.tflite", "mobilenet_v2_0.5_96_int8.tflite"]


def test_files_of_the_same_run_and_conversion_stand(models: Path, run: Run) -> None:
    before = contents(models)
    assert sorted(keep_current(models, run, Settings(precisions=("float16",)), ["x"])) == FILES
    # So do those of cells that a run has not: of ImageNet's networks each call makes some.
    assert sorted(keep_current(models, replace(run, cells=run.cells[:1]), Settings(), FILES[:1])) == FILES
    assert contents(models) == before


OTHERS: Mapping[str, tuple[Callable[[Run, Settings], tuple[Run, Settings]], str]] = {
    "classes": (lambda run, settings: (replace(run, labels=("key", "cup")), settings), "a run with other classes"),
    "photos": (lambda run, settings: (with_index(run, photos={"fingerprint": "ef"}), settings), "of other photos"),
    "seed": (lambda run, settings: (with_index(run, seed=1), settings), "another --seed"),
    "arguments": (lambda run, settings: (with_index(run, arguments={"epochs": 4}), settings), "other settings"),
    "versions": (lambda run, settings: (with_index(run, versions={"numpy": "3"}), settings), "other versions"),
    "author": (
        lambda run, settings: (run, replace(settings, author="me")),
        "other options (--calibration-ph",
    ),
    "cell": (
        lambda run, settings: (replace(run, cells=(run.cells[0], replace(run.cells[1], weights_sha256="z"))), settings),
        "another training of the same cell (mobilenet_v2_0.5_96_int8.tflite)",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_files_of_another_run_or_conversion_are_replaced_only_if_asked(models: Path, run: Run, other: str) -> None:
    change, message = OTHERS[other]
    (models / "notes.txt").write_text("precious")
    before = contents(models)
    run, settings = change(run, Settings())
    with pytest.raises(DataError) as refused:
        keep_current(models, run, settings, FILES)
    assert message in str(refused.value)
    assert str(refused.value).endswith("give another folder with -o, or use --replace")
    assert contents(models) == before

    kept = keep_current(models, run, replace(settings, replace=True), FILES)
    assert sorted(kept) == (FILES[:1] if other == "cell" else [])
    assert {*contents(models)} == {*kept, "notes.txt", "manifest.json"}
    assert [entry["file"] for entry in read_manifest(models)["files"]] == sorted(kept)
    assert keep_current(models, run, settings, FILES) == kept


def test_what_is_damaged_or_gone_is_made_again_and_not_listed_until_then(models: Path, run: Run) -> None:
    (models / FILES[0]).write_bytes(b"damaged")
    (models / FILES[1]).unlink()
    assert keep_current(models, run, Settings(replace=True), FILES) == {}
    assert read_manifest(models)["files"] == []


def test_a_model_file_that_no_manifest_lists_is_not_overwritten(models: Path, run: Run) -> None:
    (models / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"0\.35_96_int8\.tflite: not listed in manifest\.json, and would"):
        keep_current(models, run, Settings(), FILES)
    assert keep_current(models, run, Settings(), ["other.tflite"]) == {}
    assert keep_current(models, run, Settings(replace=True), FILES) == {}


@pytest.mark.parametrize("text", ["{", '{"name": "a web app"}', '{"format": 99, "files": []}'])
def test_a_manifest_that_cannot_be_read_is_not_overwritten(models: Path, run: Run, text: str) -> None:
    (models / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read, so files could be mixed") as refused:
        keep_current(models, run, Settings(), FILES)
    assert len(str(refused.value).splitlines()) == 1
    assert (models / "manifest.json").read_text() == text


def test_two_conversions_at_once_are_refused_and_leftovers_go(tmp_path: Path) -> None:
    models = tmp_path / "models"
    with open_output(models) as unfinished:
        assert unfinished.parent == models
        with pytest.raises(DataError, match="another edge-train or edge-convert"), open_output(models):
            pass
        assert unfinished.exists()
    (models / ".edge-convert-killed").mkdir()
    with open_output(models) as unfinished:
        assert list(models.iterdir()) == [unfinished]
    with hold_folder(models):
        assert list(models.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as refused, open_output(tmp_path / "file" / "models"):
        pass
    assert str(refused.value).endswith("cannot be written to (Not a directory): give another folder with -o")


def test_what_a_manifest_does_not_list_is_told_and_left_out(
    small_models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = Path(shutil.copytree(small_models, tmp_path / "models"))
    listed = [models / entry["file"] for entry in read_manifest(models)["files"]]
    assert verify(models) == (4, [])
    stray = models / "mobilenet_v2_0.35_96_int8.tflite"
    shutil.copy(listed[0], stray)
    assert verify(models) == (4, [f"{stray}: not listed in manifest.json: move it away"])
    assert sorted(list_models([models])) == sorted(listed)
    with caplog.at_level(logging.WARNING):
        assert sorted(candidate.path for candidate in read_candidates([models])) == sorted(listed)
    assert f"left out: {stray}: not listed in manifest.json" in caplog.text
    assert list_models([models, stray])[-1] == stray  # what is named is measured
    content = json.loads((models / "manifest.json").read_text())
    (models / "manifest.json").write_text(json.dumps({**content, "files": []}))
    with pytest.raises(ModelFileError, match=r"no \.tflite file in this folder is listed"):
        list_models([models])
