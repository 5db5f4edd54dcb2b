"""edge-convert on the drawn run: what the files hold, and that a bad one is never written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from conftest import needs_programs
from edge_classify import Classifier
from edge_classify.model.flatbuffer import Table
from edge_classify.model.interpreter import load_interpreter
from edge_classify.model.model_file import read_model_file

PRECISIONS = ("float32", "float16", "dynamic", "int8")


def file_of(models: Path, precision: str) -> Path:
    return models / f"mobilenet_v2_0.35_96_{precision}.tflite"


def held_out(run_folder: Path) -> np.ndarray:
    return np.load(run_folder / "prepared" / "96_held_out.npy")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_file_takes_uint8_and_lists_its_parts(models: Path, precision: str) -> None:
    interpreter = load_interpreter(file_of(models, precision))
    (image,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert image["shape"].tolist() == [1, 96, 96, 3]
    assert image["dtype"] == np.uint8
    assert scores["shape"].tolist() == [1, 4]
    assert scores["dtype"] == (np.uint8 if precision == "int8" else np.float32)
    with zipfile.ZipFile(file_of(models, precision)) as parts:
        assert sorted(parts.namelist()) == ["edge.json", "labels.txt", "test_card.png", "test_picture.png"]
        assert parts.read("labels.txt").decode().split() == ["cross", "disc", "stripes", "unknown"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_graph_has_no_padding_and_folded_batch_norms(models: Path, precision: str) -> None:
    model = Table.root(file_of(models, precision).read_bytes())
    # Slots: Model.operator_codes 1 {deprecated_builtin_code 0, builtin_code 3};
    # Model.subgraphs 2 {operators 3 {opcode 0}}.
    codes = [max(code.integer(0, "<b"), code.integer(3, "<i")) for code in model.tables(1)]
    operators = [codes[operator.integer(0)] for operator in model.tables(2)[0].tables(3)]
    conv_2d, depthwise_conv_2d, pad, padv2 = 3, 4, 34, 60
    assert operators.count(conv_2d) == 35
    assert operators.count(depthwise_conv_2d) == 17
    assert pad not in operators
    assert padv2 not in operators
    dequantize = 6  # float16 has one for each array of weights
    assert len(operators) - operators.count(dequantize) < 105


@pytest.mark.parametrize("precision", PRECISIONS)
def test_xnnpack_takes_the_backbone_whole_and_the_head_as_one_more(models: Path, precision: str) -> None:
    interpreter = load_interpreter(file_of(models, precision))
    details = interpreter._get_ops_details()  # no public way tells the partitions
    partitions = [operation for operation in details if operation["op_name"] == "DELEGATE"]
    assert len(partitions) <= 2


def test_dynamic_has_int8_weights_where_they_pay(models: Path) -> None:
    interpreter = load_interpreter(file_of(models, "dynamic"))
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    for operation in interpreter._get_ops_details():
        if operation["op_name"] == "CONV_2D":
            weights = tensors[operation["inputs"][1]]
            channels_out, _, _, channels_in = weights["shape"]
            large = channels_in * channels_out / (channels_in + channels_out) >= 24
            assert weights["dtype"] == (np.int8 if large else np.float32)
        elif operation["op_name"] in ("DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            assert tensors[operation["inputs"][1]]["dtype"] == np.float32


def test_float16_leaves_biases_and_depthwise_weights_in_float32(models: Path) -> None:
    tensors = load_interpreter(file_of(models, "float16")).get_tensor_details()
    halves = [tuple(tensor["shape"]) for tensor in tensors if tensor["dtype"] == np.float16]
    convolutions = [shape for shape in halves if len(shape) == 4]
    assert len(convolutions) == 35
    assert all(channels_out > 1 for channels_out, *_ in convolutions)  # a depthwise kernel is [1, 3, 3, C]
    assert all(len(shape) == 2 for shape in set(halves) - set(convolutions))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_float_files_compute_what_the_trainer_measured(models: Path, run_folder: Path, precision: str) -> None:
    with np.load(run_folder / "heads" / "0.35_96.npz") as head:
        trained = head["held_out_probabilities"]
    classifier = Classifier(file_of(models, precision))
    given = np.stack([classifier.probabilities(photo[..., ::-1]) for photo in held_out(run_folder)])
    assert np.abs(given - trained).max() < (1e-3 if precision == "float32" else 0.1)
    # Near its limit `unknown` is steep; how the classes share the rest is not.
    shares = [scores[:, :-1] / scores[:, :-1].sum(axis=1, keepdims=True) for scores in (given, trained)]
    assert np.abs(shares[0] - shares[1]).max() < (1e-3 if precision == "float32" else 0.03)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_recorded_figures_are_the_file_s_own(models: Path, run_folder: Path, precision: str) -> None:
    index = json.loads((run_folder / "run.json").read_text())
    truth = np.array(index["held_out_labels"])
    classifier = Classifier(file_of(models, precision))
    given = np.stack([classifier.probabilities(photo[..., ::-1]) for photo in held_out(run_folder)])
    contract = read_model_file(file_of(models, precision)).contract
    assert contract is not None
    figures = contract["evaluation"]
    assert figures["photos"] == len(truth)
    assert figures["accuracy"] == pytest.approx((given[:, :3].argmax(1) == truth).mean())
    assert figures["kept"] == pytest.approx((given.argmax(1) != 3).mean())
    assert figures["float32_accuracy"] == index["cells"][0]["evaluation"]["accuracy"]
    assert contract["provenance"]["data_fingerprint"] == index["photos"]["fingerprint"]
    assert contract["provenance"]["weights"]["sha256"] == index["cells"][0]["weights_sha256"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_mediapipe_reads_the_file_and_says_the_same(models: Path, run_folder: Path, precision: str) -> None:
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    path = file_of(models, precision)
    options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=str(path)))
    ours = Classifier(path)
    labels = ours.labels
    with vision.ImageClassifier.create_from_options(options) as theirs:
        for photo in held_out(run_folder):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(photo))
            category = theirs.classify(image).classifications[0].categories[0]
            scores = ours.probabilities(photo[..., ::-1])
            assert labels[category.index] == category.category_name
            # Where the best two are equal, either is right.
            assert scores[category.index] == pytest.approx(scores.max(), abs=0.005)
            assert category.score == pytest.approx(scores.max(), abs=0.005)


def test_without_unknown_the_whole_model_is_integer(photos: Path, tmp_path: Path, command) -> None:
    from conftest import TRAINING

    run, output = tmp_path / "run", tmp_path / "models"
    assert command("edge-train", photos, "-o", run, *TRAINING, "--no-unknown").returncode == 0
    done = command("edge-convert", run, "-o", output, "--precision", "int8", "--max-drop", 25)
    assert done.returncode == 0, done.stderr
    classifier = Classifier(file_of(output, "int8"), top_k=9)
    assert classifier.labels == ("cross", "disc", "stripes")
    model = Table.root(file_of(output, "int8").read_bytes())
    tensors = model.tables(2)[0].tables(0)
    float32 = 0
    assert [tensor for tensor in tensors if tensor.integer(1, "<b") == float32] == []


def test_the_edge_tpu_s_file_is_integer_throughout_and_can_say_unknown(
    run_folder: Path, models: Path, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Coral's compiler is not free software and not at hand; what is called is a stand-in with its command line.
    compiler = tmp_path / "bin" / "edgetpu_compiler"
    compiler.parent.mkdir()
    copy = 'cp "$4" "${4%.tflite}_edgetpu.tflite"'
    compiler.write_text(f'#!/bin/sh\n[ "$1 $2" = "--show_operations --out_dir" ] && {copy}\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(compiler.parent), prepend=":")
    output = tmp_path / "models"
    done = command("edge-convert", run_folder, "-o", output, "--precision", "int8", "--edgetpu", "--max-drop", 25)
    assert done.returncode == 0, done.stderr
    assert (output / "mobilenet_v2_0.35_96_integer_edgetpu.tflite").exists()
    float32 = 0
    tensors = Table.root(file_of(output, "integer").read_bytes()).tables(2)[0].tables(0)
    assert [tensor for tensor in tensors if tensor.integer(1, "<b") == float32] == []
    ours, exact = Classifier(file_of(output, "integer")), Classifier(file_of(models, "float32"))
    assert ours.labels[-1] == "unknown"
    photos = held_out(run_folder)
    given = np.stack([ours.probabilities(photo[..., ::-1]) for photo in photos])
    wanted = np.stack([exact.probabilities(photo[..., ::-1]) for photo in photos])
    assert (given[:, :3].argmax(1) == wanted[:, :3].argmax(1)).mean() > 0.6  # random weights lose much, chance is 0.33
    # Calibrated on photos of the classes alone, its ranges would have no room for strangers.
    assert given[:, 3].max() > wanted[:, 3].max() / 2


def test_what_the_edge_tpu_does_not_have_is_named(float32_model: Path) -> None:
    from edge_classify.errors import DataError
    from edge_convert.edge_tpu import check_integer

    with pytest.raises(DataError, match=r"the Edge TPU has no .*CAST.*CONV_2D in float32"):
        check_integer(float32_model.read_bytes())


def test_a_cell_that_loses_too_much_is_named_and_leaves_no_file(run_folder: Path, tmp_path: Path, command) -> None:
    # The trainer's figure is raised, so that the true one is a loss.
    run, output = Path(shutil.copytree(run_folder, tmp_path / "run")), tmp_path / "models"
    index = json.loads((run / "run.json").read_text())
    index["cells"][0]["evaluation"]["accuracy"] = 1.03
    (run / "run.json").write_text(json.dumps(index))
    output.mkdir()
    (output / "mobilenet_v2_1.0_224_int8.tflite").write_bytes(b"made before")
    done = command("edge-convert", run, "-o", output, "--precision", "int8")
    assert done.returncode == 6
    assert "cell 0.35 @ 96: int8 loses" in done.stderr.splitlines()[-1]
    assert re.search(r"falls most in \w+_(expand|depthwise|project) to -?\d+ dB, ", done.stderr.splitlines()[-1])
    assert [path.name for path in output.iterdir()] == ["mobilenet_v2_1.0_224_int8.tflite"]


def test_unchanged_cells_are_not_converted_again(models: Path, run_folder: Path, tmp_path: Path, command) -> None:
    output = Path(shutil.copytree(models, tmp_path / "models"))
    times = {path: path.stat().st_mtime_ns for path in output.glob("*.tflite")}
    # Of a process that was killed (Linux gives no such number), and of one that is at work.
    killed, at_work = (output / f".edge-convert-{process}-x" for process in (2**22 + 1, os.getpid()))
    for folder in (killed, at_work):
        folder.mkdir()
    done = command("edge-convert", run_folder, "-o", output, "--max-drop", 25)
    assert "4 of 4 files were made before and are unchanged" in done.stdout
    assert (killed.exists(), at_work.exists()) == (False, True)
    # Once it was made after the others, now alone: its bytes are the same.
    damaged = file_of(output, "int8")
    damaged.write_bytes(b"damaged")
    done = command("edge-convert", run_folder, "-o", output, "--max-drop", 25)
    assert "3 of 4 files were made before" in done.stdout
    assert damaged.read_bytes() == file_of(models, "int8").read_bytes()
    assert {path for path, time in times.items() if path.stat().st_mtime_ns == time} == set(times) - {damaged}
    assert (output / "manifest.json").read_bytes() == (models / "manifest.json").read_bytes()


def test_a_folder_of_model_files_is_verified_against_its_manifest(models: Path, tmp_path: Path, command) -> None:
    output = Path(shutil.copytree(models, tmp_path / "models"))
    done = command("edge-convert", "--verify", output)
    assert done.returncode == 0, done.stderr
    assert "4 model files are those of the manifest" in done.stdout
    changed, missing = file_of(output, "int8"), file_of(output, "float16")
    changed.write_bytes(changed.read_bytes()[:-1] + b"!")
    missing.unlink()
    done = command("edge-convert", "--verify", output)
    assert done.returncode == 4
    (error,) = done.stderr.splitlines()
    assert f"{changed}: its bytes are not those that were measured" in error
    assert f"{missing}: missing" in error
    done = command("edge-convert", "--verify", tmp_path)
    assert done.returncode == 4
    assert "no manifest.json in it" in done.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "run.json").unlink(), "no finished run in it"),
        (lambda run: (run / "run.json").write_text("{"), "this run is damaged"),
        (lambda run: (run / "run.json").write_text('{"format": 99}'), "made by a newer edge-train"),
        (lambda run: (run / "heads" / "0.35_96.npz").write_bytes(b"PK"), "this run is damaged"),
        (lambda run: (run / "prepared" / "96_held_out.npy").unlink(), "this run is damaged"),
        (lambda run: next((run / "weights").iterdir()).write_bytes(b"no weights"), "not the weights of a MobileNetV2"),
    ],
)
def test_a_damaged_run_is_refused_in_one_line(run_folder: Path, tmp_path: Path, command, damage, message: str) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    damage(run)
    done = command("edge-convert", run, "-o", tmp_path / "models")
    assert done.returncode == 6
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "models").iterdir() if (tmp_path / "models").exists() else []) == []


def test_unzip_lists_the_parts(models: Path) -> None:
    needs_programs("unzip")
    listing = subprocess.run(
        ["unzip", "-l", file_of(models, "int8")], capture_output=True, text=True, check=False
    ).stdout
    for part in ("labels.txt", "edge.json", "test_card.png"):
        assert part in listing


def test_the_report_is_one_page_that_needs_nothing_else(models: Path) -> None:
    page = (models / "report.html").read_text()
    for precision in PRECISIONS:
        assert file_of(models, precision).name in page or f"<td>{precision}</td>" in page
    assert "http" not in page
    assert page.count("data:image/png;base64,") == 1  # the second picture compares cells, and there is one


def test_the_front_is_what_nothing_beats_in_both_ways() -> None:
    from edge_convert.report import cost_front

    files = [(100, 0.8), (90, 0.7), (120, 0.8), (150, 0.9), (160, 0.85), (95, 0.6)]
    entries = [{"bytes": size, "figures": {"accuracy": accuracy}} for size, accuracy in files]
    assert [entry["bytes"] for entry in cost_front(entries, "bytes")] == [90, 100, 150]


def test_exports_name_the_file_and_its_labels(tmp_path: Path) -> None:
    from edge_classify.errors import UsageError
    from edge_convert.exports import export_frigate, export_rpicam

    labels = ("cup", "key ring", "unknown")
    entry = {"file": "mobilenet_v2_1.0_224_int8.tflite", "resolution": 224, "precision": "int8"}
    _, stages = export_rpicam(tmp_path, labels, [{**entry, "precision": "float32", "file": "other"}, entry])
    stage = json.loads(stages.read_text())["object_classify_tf"]
    assert stage["model_file"] == entry["file"]
    assert (tmp_path / stage["labels_file"]).read_text().splitlines() == list(labels)
    (labelmap,) = export_frigate(tmp_path, labels, [entry])
    assert labelmap.read_text() == "0 cup\n1 key ring\n2 unknown\n"
    with pytest.raises(UsageError, match="takes int8 files at 224 pixels only"):
        export_rpicam(tmp_path, labels, [{**entry, "resolution": 96}])
