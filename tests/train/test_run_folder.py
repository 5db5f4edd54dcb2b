"""The run folder: what is written is what is read, and what is damaged is refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_classify.errors import DataError
from edge_classify.learn.memory import Memory
from edge_classify.learn.open_set import SHAPE_CONSTANTS, FeatureSpace
from edge_classify.model.labels import UNKNOWN
from edge_train.backbone import ALPHAS, RESOLUTIONS, Backbone, BackboneCost
from edge_train.run_folder import (
    CALIBRATION,
    FORMAT,
    HELD_OUT,
    Cell,
    Index,
    Run,
    new_cell,
    prepared_file,
    prepared_path,
    read_run,
    remove_leftovers,
    write_cell,
    write_index,
)


@st.composite
def runs(draw: st.DrawFn) -> Callable[[Path], Run]:
    """Runs as the trainer, the recipes and `edge-convert imagenet` write them: each writes itself into a folder."""
    cells = draw(
        st.lists(st.tuples(st.sampled_from(ALPHAS), st.sampled_from(RESOLUTIONS[:2])), unique=True, min_size=1)
    )
    with_unknown, with_direction, with_truth = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    with_memory = draw(st.booleans())
    words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)
    labels = draw(st.lists(words.filter(lambda word: word != UNKNOWN), min_size=2, max_size=5, unique=True))
    held_out = draw(st.integers(0, 5))
    calibration = draw(st.lists(st.integers(0, len(labels) - 1), min_size=1, max_size=9))
    rng = np.random.default_rng(draw(st.integers(0, 9)))

    def array(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def make_cell(folder: Path, alpha: float, resolution: int) -> Cell:
        arrays = {"kernel": array(8, len(labels)), "bias": array(len(labels))}
        decision: dict[str, object] = {"temperature": 0.5}
        if with_unknown:
            space = FeatureSpace(
                6, array(3, 8), array(4, 3), array(len(labels), 4), array(8) if with_direction else None
            )
            arrays |= space.arrays()
            decision |= {"vote_weight": 4.5, "sharpness": [2.5, 1.0], "threshold": [0.5, 0.25], **SHAPE_CONSTANTS}
        weights = folder / "weights" / f"{alpha}.weights.h5"
        backbone = Backbone("mobilenet_v2", alpha, resolution, weights, "ab12", 224, "imagenet")
        cost = BackboneCost(6, 2, 1000, 5000)
        outputs = len(labels) + with_unknown
        cell = new_cell(backbone, cost, weights, arrays, array(held_out, outputs), decision, {"accuracy": 0.75})
        half = array(2, 10).astype(np.float16).astype(np.float32)
        memory = Memory(half, 8, np.array([0, 1]), np.full(len(labels), 7)) if with_memory else None
        return replace(cell, memory=memory)

    def write(folder: Path) -> Run:
        written = [make_cell(folder, alpha, resolution) for alpha, resolution in cells]
        for resolution in {cell.resolution for cell in written}:
            for part, count in ((CALIBRATION, len(calibration)), (HELD_OUT, held_out)):
                with prepared_file(prepared_path(folder, resolution, part), count, resolution) as append:
                    for number in range(count):
                        append(np.full((resolution, resolution, 3), number, np.uint8))
        truth = rng.integers(len(labels), size=held_out).tolist() if with_truth else None
        names = [*labels, UNKNOWN] if with_unknown else labels
        index: Index = {
            "labels": names,
            # Keys that only the trainer needs stay out of run.json.
            "cells": [{**write_cell(folder, cell, {"strangers:x": array(2)}), "curves": {}} for cell in written],
            "held_out_labels": truth,
            "calibration_labels": calibration,
            "photos": {"fingerprint": "cd34"},
            "seed": 0,
            "arguments": {"epochs": 3},
            "versions": {"numpy": "2"},
        }
        write_index(folder, index)
        return Run(folder, tuple(names), tuple(written), None if truth is None else np.array(truth), index)

    return write


@given(runs())
def test_what_is_written_is_what_is_read(write: Callable[[Path], Run]) -> None:
    with tempfile.TemporaryDirectory() as name:
        written = write(Path(name))
        read = read_run(Path(name))
        assert read.labels == written.labels
        assert read.classes == tuple(label for label in written.labels if label != UNKNOWN)
        np.testing.assert_equal(read.held_out_labels, written.held_out_labels)
        for ours, theirs in zip(read.cells, written.cells, strict=True):
            for field in fields(Cell):
                values = (getattr(cell, field.name) for cell in (ours, theirs))
                np.testing.assert_equal(*(vars(v) if isinstance(v, Memory) else v for v in values), field.name)
            np.testing.assert_equal(ours.head, theirs.head)
            photos = read.prepared(ours.resolution, HELD_OUT)
            assert [int(photo[0, 0, 0]) for photo in photos] == list(range(len(ours.held_out_probabilities)))
        for name in ("labels", "calibration_labels", "photos", "seed", "arguments", "versions"):
            assert read.index[name] == written.index[name]
        assert all("curves" not in entry for entry in read.index["cells"])


@given(runs(), st.integers(1, 20))
def test_calibration_photos_are_the_same_number_of_each_class(write: Callable[[Path], Run], count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = write(Path(name))
        labels = np.array(run.index["calibration_labels"])
        photos = run.calibration(run.cells[0].resolution, count)
        chosen = labels[photos[:, 0, 0, 0]]  # each photo's pixels are its number
        wanted = -(-count // len(np.unique(labels)))
        assert {label: (chosen == label).sum() for label in labels} == {
            label: min(wanted, (labels == label).sum()) for label in labels
        }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of one cell with an `unknown` output."""
    arrays = {"kernel": np.ones((2, 2), np.float32), "bias": np.zeros(2, np.float32)}
    arrays |= {name: np.ones((2, 2), np.float32) for name in ("basis", "prototypes", "votes")}
    arrays["shares"] = np.full(2, 0.5, np.float32)
    weights = tmp_path / "weights" / "x.weights.h5"
    backbone = Backbone("mobilenet_v2", 0.35, 96, weights, "ab12", 96, "none")
    decision = {"vote_weight": 1, "sharpness": [1, 1], "threshold": [0, 0], **SHAPE_CONSTANTS}
    cost = BackboneCost(2, 0, 10, 20)
    cell = new_cell(backbone, cost, weights, arrays, np.zeros((2, 3), np.float32), decision, {})
    for part in (CALIBRATION, HELD_OUT):
        with prepared_file(prepared_path(tmp_path, 96, part), 2, 96) as append:
            for _ in range(2):
                append(np.zeros((96, 96, 3), np.uint8))
    write_index(
        tmp_path,
        {
            "labels": ["cup", "key", UNKNOWN],
            "cells": [write_cell(tmp_path, cell)],
            "held_out_labels": [0, 1],
            "calibration_labels": [0, 1],
            "photos": {},
            "seed": 0,
            "arguments": {},
            "versions": {},
        },
    )
    return tmp_path


def edit_index(folder: Path, edit: Callable[[dict], object]) -> None:
    index = json.loads((folder / "run.json").read_text())
    edit(index)
    (folder / "run.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "run.json").unlink(), "no finished run here"),
        (lambda run: (run / "run.json").write_text("{"), "this run is damaged"),
        (lambda run: edit_index(run, lambda index: index.update(format=FORMAT + 1)), "update edge-classify"),
        (lambda run: edit_index(run, lambda index: index.update(format=FORMAT - 1)), "train again"),
        (lambda run: edit_index(run, lambda index: index.pop("labels")), "this run is damaged"),
        (lambda run: edit_index(run, lambda index: index["cells"][0]["decision"].pop("leak")), "decision.leak"),
        (lambda run: edit_index(run, lambda index: index.update(cells=[])), "damaged (no cells)"),
        (lambda run: (run / "heads" / "0.35_96.npz").write_bytes(b"PK"), "this run is damaged"),
        (lambda run: os.truncate(run / "heads" / "0.35_96.npz", 300), "this run is damaged"),
        (lambda run: prepared_path(run, 96, HELD_OUT).unlink(), "this run is damaged"),
        (lambda run: edit_index(run, lambda index: index.update(calibration_labels=[0])), "found (2, 96, 96, 3)"),
    ],
)
def test_a_damaged_run_is_refused_in_one_line(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    read_run(folder)
    damage(folder)
    with pytest.raises(DataError) as refused:
        read_run(folder)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_the_cost_of_a_model_is_its_backbone_s_and_its_head_s(folder: Path) -> None:
    (cell,) = read_run(folder).cells
    assert cell.parameters == 10 + 4 * 4 + 2 + 2  # four matrices of 2 x 2, the bias, and the shares
    assert cell.multiply_adds == 20 + 4 * 4


def test_arrays_that_no_reader_would_find_are_not_written(folder: Path) -> None:
    (cell,) = read_run(folder).cells
    with pytest.raises(ValueError, match="extra"):
        write_cell(folder, replace(cell, arrays={**cell.arrays, "extra": np.zeros(1)}))


def test_what_a_killed_run_left_half_written_is_removed(folder: Path) -> None:
    whole = sorted(path for path in folder.rglob("*") if path.is_file())
    (folder / "weights" / ".ab.7.partial").mkdir(parents=True)
    for name in ("heads/.0.35_96.npz.7.partial", "weights/.7.partial.weights.h5", "weights/.ab.7.partial/part"):
        (folder / name).touch()
    remove_leftovers(folder)
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == whole


def test_a_run_is_read_without_tensorflow() -> None:
    code = """
import sys
import edge_train.run_folder, edge_train.backbone, edge_train.weights
heavy = {"tensorflow", "keras", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_photos_are_written_one_by_one_as_all_at_once(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "run.json").read_text())
    files = [{"path": f'"files": []\n{number}\udcff', "label": "a", "part": "training"} for number in range(3)]
    for number, (listed, streamed) in enumerate([(files, []), ([], files), ([], []), ([], [])]):
        index["photos"] = {"training": 3, "files": listed}
        write_index(tmp_path / str(number), index, iter(streamed))
    written = [(tmp_path / str(number) / "run.json").read_bytes() for number in range(4)]
    assert written[0] == written[1] != written[2] == written[3]
    assert json.loads(written[1])["photos"]["files"] == files
