"""edge-convert on the drawn run: what the files contain, and that a bad one is never written."""

from __future__ import annotations

import importlib
import json
import operator
import re
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from conftest import needs_programs, run_here
from edge_classify import Classifier
from edge_classify.learn.memory import read_memory
from edge_classify.model.flatbuffer import Table
from edge_classify.model.interpreter import load_interpreter, running_operators
from edge_classify.model.manifest import read_manifest
from edge_classify.model.model_file import read_model_file

PRECISIONS = ("float32", "float16", "dynamic", "int8")
CLASSES = ("cross", "disc", "stripes")


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
        names = ["edge.json", "labels.txt", "memory.npy", "test_card.png", "test_picture.png"]
        assert sorted(parts.namelist()) == names
        assert parts.read("labels.txt").decode().split() == ["cross", "disc", "stripes", "unknown"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_xnnpack_takes_the_whole_graph_between_the_ends(models: Path, precision: str) -> None:
    operators = running_operators(load_interpreter(file_of(models, precision)))
    assert operators is not None
    assert operators.count("DELEGATE") == 1
    assert set(operators) <= {"DELEGATE", "CAST", "QUANTIZE"}


def test_each_precision_is_smaller_than_the_one_before(models: Path) -> None:
    sizes = [file_of(models, precision).stat().st_size for precision in PRECISIONS]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


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
    with np.load(run_folder / "heads" / "0.35_96.npz") as head:
        before = head["held_out_probabilities"].argmax(1) == truth
    after = given.argmax(1) == truth
    assert (figures["lost"], figures["gained"]) == ((before & ~after).sum(), (after & ~before).sum())
    # What the files of several cells are compared by, and never the photos above.
    assert contract["decision"]["validation"] == index["cells"][0]["decision"]["validation"]
    assert contract["provenance"]["data_fingerprint"] == index["photos"]["fingerprint"]
    assert contract["provenance"]["weights"]["sha256"] == index["cells"][0]["weights_sha256"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_mediapipe_reads_the_file_and_gives_the_same_label(models: Path, run_folder: Path, precision: str) -> None:
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
            # If the best two are equal, either is right.
            assert scores[category.index] == pytest.approx(scores.max(), abs=0.005)
            assert category.score == pytest.approx(scores.max(), abs=0.005)


def test_the_self_test_passes_with_room_to_spare_where_xnnpack_cannot_run(models: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = file_of(models, "int8")
    card = read_model_file(path).test_card
    assert card is not None
    interpreter = Interpreter(
        model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(image["index"], card.picture[None])
    interpreter.invoke()
    scale, zero_point = output["quantization"]
    scores = (interpreter.get_tensor(output["index"])[0].astype(float) - zero_point) * scale
    assert scores == pytest.approx(np.array(card.scores), abs=card.score_tolerance / 2 + scale)


def test_without_unknown_the_whole_model_is_integer(integer_models: tuple[Path, Path]) -> None:
    _, output = integer_models
    classifier = Classifier(file_of(output, "int8"), top_k=9)
    assert classifier.labels == ("cross", "disc", "stripes")
    model = Table.root(file_of(output, "int8").read_bytes())
    tensors = model.tables(2)[0].tables(0)
    float32 = 0
    assert [tensor for tensor in tensors if tensor.integer(1, "<b") == float32] == []


def test_an_int8_input_covers_all_pixels_also_if_no_photo_has_black_or_white(
    integer_models: tuple[Path, Path],
) -> None:
    (image,) = load_interpreter(file_of(integer_models[1], "int8")).get_input_details()
    scale, zero_point = image["quantization"]
    assert ((0 - zero_point) * scale, (255 - zero_point) * scale) == pytest.approx((-1, 1), abs=0.01)


def test_a_cell_that_loses_too_much_is_named_and_leaves_no_file(light_run: Path, tmp_path: Path, command) -> None:
    # The photos are given other labels, so that the file is wrong where the trainer was right.
    run, output = Path(shutil.copytree(light_run, tmp_path / "run")), tmp_path / "models"
    index = json.loads((run / "run.json").read_text())
    index["cells"][0]["evaluation"]["accuracy"] = 1.0
    index["held_out_labels"] = [(label + 1) % 3 for label in index["held_out_labels"]]
    (run / "run.json").write_text(json.dumps(index))
    output.mkdir()
    (output / "mobilenet_v2_1.0_224_int8.tflite").write_bytes(b"made before")
    done = command("edge-convert", run, "-o", output, "--precision", "int8")
    assert done.returncode == 6
    assert "cell 0.35 @ 96: int8 loses" in done.stderr.splitlines()[-1]
    assert "3 allowed: use --precision float16 or dynamic, or raise --max-drop" in done.stderr.splitlines()[-1]
    assert [path.name for path in output.iterdir()] == ["mobilenet_v2_1.0_224_int8.tflite"]


def test_a_cell_whose_unknown_accepts_too_much_is_refused(light_run: Path, tmp_path: Path, command) -> None:
    # Whatever a picture shows is familiar, so that `unknown` is never the answer.
    run, output = Path(shutil.copytree(light_run, tmp_path / "run")), tmp_path / "models"
    index = json.loads((run / "run.json").read_text())
    index["cells"][0]["decision"]["threshold"] = [-10.0, -10.0]
    (run / "run.json").write_text(json.dumps(index))
    convert = ("edge-convert", run, "-o", output, "--precision", "float32", "--max-drop", 100)
    done = command(*convert)
    assert done.returncode == 6
    assert "cell 0.35 @ 96: float32: unknown gives a class's label to 100%" in done.stderr.splitlines()[-1]
    assert "30% allowed" in done.stderr.splitlines()[-1]
    assert list(output.iterdir()) == []
    assert command(*convert, "--max-accepted", 100).returncode == 0
    contract = read_model_file(file_of(output, "float32")).contract
    assert contract is not None
    made = contract["evaluation"]["made_negatives"]
    assert made["accepted"] == 1
    assert set(made["kinds"].values()) == {1.0}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_remembers_some_photos_of_each_class(models: Path, run_folder: Path, precision: str) -> None:
    memory = read_memory(read_model_file(file_of(models, precision)))
    files = json.loads((run_folder / "run.json").read_text())["photos"]["files"]
    trained_on = [sum(file["label"] == label and file["part"] != "held_out" for file in files) for label in CLASSES]
    assert memory is not None
    assert memory.counts.tolist() == trained_on
    assert np.bincount(memory.labels).tolist() == trained_on  # fewer than are remembered at most
    with np.load(run_folder / "heads" / "0.35_96.npz") as head:
        logits = memory.rows[:, : memory.features] @ head["kernel"] + head["bias"]
    # Of a backbone of random weights features differ little, and rounding them to 16 steps costs some answers.
    assert (logits.argmax(axis=1) == memory.labels).mean() > 0.8


def test_without_memory_nothing_is_remembered(light_run: Path, tmp_path: Path, command) -> None:
    contracts = []
    for name, more in (("with", ()), ("without", ("--no-memory",))):
        words = ("--precision", "int8", "--max-drop", 50, "--max-accepted", 100, *more)
        done = command("edge-convert", light_run, "-o", tmp_path / name, *words)
        assert done.returncode == 0, done.stderr
        with zipfile.ZipFile(file_of(tmp_path / name, "int8")) as parts:
            assert ("memory.npy" in parts.namelist()) == (name == "with")
            contracts.append(json.loads(parts.read("edge.json")))
    assert read_memory(read_model_file(file_of(tmp_path / "without", "int8"))) is None
    assert contracts[1] == {name: value for name, value in contracts[0].items() if name != "memory"}


def test_unchanged_cells_are_not_converted_again(models: Path, run_folder: Path, tmp_path: Path, command) -> None:
    output = Path(shutil.copytree(models, tmp_path / "models"))
    times = {path: path.stat().st_mtime_ns for path in output.glob("*.tflite")}
    killed = output / ".edge-convert-x"
    killed.mkdir()
    done = command("edge-convert", run_folder, "-o", output, "--max-drop", 25, "--max-accepted", 100)
    assert "unchanged, and not made again: 4 of 4 files" in done.stdout
    assert not killed.exists()
    # Once it was made after the others, now alone: its bytes are the same.
    damaged = file_of(output, "int8")
    damaged.write_bytes(b"damaged")
    done = command("edge-convert", run_folder, "-o", output, "--max-drop", 25, "--max-accepted", 100)
    assert "unchanged, and not made again: 3 of 4 files" in done.stdout
    assert damaged.read_bytes() == file_of(models, "int8").read_bytes()
    assert {path for path, time in times.items() if path.stat().st_mtime_ns == time} == set(times) - {damaged}
    assert (output / "manifest.json").read_bytes() == (models / "manifest.json").read_bytes()


def test_a_stricter_limit_names_the_file_that_was_made_with_another(light_run: Path, tmp_path: Path, command) -> None:
    run, output = Path(shutil.copytree(light_run, tmp_path / "run")), tmp_path / "models"
    index = json.loads((run / "run.json").read_text())
    index["cells"][0]["evaluation"]["accuracy"] = 1.0
    index["held_out_labels"] = [(label + 1) % 3 for label in index["held_out_labels"]]
    (run / "run.json").write_text(json.dumps(index))
    words = ("edge-convert", run, "-o", output, "--precision", "float32", "--max-accepted", 100)
    assert command(*words, "--max-drop", 100).returncode == 0
    manifest = (output / "manifest.json").read_bytes()
    done = command(*words)
    assert done.returncode == 6
    assert "float32.tflite, made earlier: float32 loses" in done.stderr.splitlines()[-1]
    assert (output / "manifest.json").read_bytes() == manifest
    assert command("edge-convert", "--verify", output).returncode == 0


def test_a_folder_of_model_files_is_verified_against_its_manifest(models: Path, tmp_path: Path, command) -> None:
    output = Path(shutil.copytree(models, tmp_path / "models"))
    done = command("edge-convert", "--verify", output)
    assert done.returncode == 0, done.stderr
    assert "all 4 model files match the manifest" in done.stdout
    changed, missing = file_of(output, "int8"), file_of(output, "float16")
    changed.write_bytes(changed.read_bytes()[:-1] + b"!")
    missing.unlink()
    done = command("edge-convert", "--verify", output)
    assert done.returncode == 4
    (error,) = done.stderr.splitlines()
    assert f"{changed}: not the file in the manifest" in error
    assert f"{missing}: missing" in error
    done = command("edge-convert", "--verify", tmp_path)
    assert done.returncode == 4
    assert "no manifest.json in this folder" in done.stderr


def test_weights_that_do_not_fit_are_refused_in_one_line(run_folder: Path, tmp_path: Path, command) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    next((run / "weights").iterdir()).write_bytes(b"no weights")
    done = command("edge-convert", run, "-o", tmp_path / "models")
    assert done.returncode == 6
    assert "not the weights of a MobileNetV2" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_an_unexpected_error_in_a_cell_is_one_line_and_its_traceback_is_kept(
    run_folder: Path, tmp_path: Path, command
) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    head = run / "heads" / "0.35_96.npz"
    with np.load(head) as file:
        arrays = dict(file)
    # Nothing checks this before the head is written, and fails.
    np.savez(head, **{**arrays, "prototypes": arrays["prototypes"][0, 0]})
    words = ("edge-convert", run, "-o", tmp_path / "models", "--precision", "float32")
    done = command(*words)
    assert done.returncode == 6
    last = done.stderr.splitlines()[-1]
    assert re.match(r"error: cell 0.35 @ 96: unexpected \w+ \(.*\): use --traceback", last)
    assert "Traceback" not in done.stderr
    done = command(*words, "--traceback")
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1] == last
    assert re.search(r"head_graph.py.*in _known", done.stderr)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected RUN and -o MODELS"),
        (["run"], "-o MODELS is missing, the folder to write to: edge-convert run -o models"),
        (["--verify", "models", "-o", "other"], "--verify MODELS goes without RUN and -o"),
        (["run", "-o", "models", "--alpha", "0.5"], "--alpha is only for `edge-convert imagenet`"),
        (["run", "-o", "models", "--max-drop", "-1"], "--max-drop: expected a number, 0 or more, found '-1'"),
        (["run", "-o", "models", "--calibration-photos", "0"], "expected a whole number, 1 or more, found '0'"),
        (["run", "-o", "models", "--precision", "int4"], "invalid choice: 'int4'"),
        (["imagenet", "-o", "models", "--resolution", "100"], "--resolution: invalid choice: 100"),
        (["imagenet", "-o", "models", "--precision", "int8"], "int8 takes its ranges from pictures"),
        (["imagenet", "-o", "models", "--weights", "w.h5"], "give its kernel and bias with --top"),
        (["imagenet", "-o", "models", "--top", "top.npz"], "--top goes with --weights FILE"),
        (["imagenet", "-o", "models", "--alpha", "0.5", "1.0", "--weights", "w", "--top", "t"], "give one --alpha"),
        (["imagenet", "-o", "models", "--alpha", "1.3", "--resolution", "96"], "at --resolution 224 only"),
        (
            ["imagenet", "-o", "models", "--photos", ".", "--resolution", "96", "--export", "rpicam"],
            "takes only int8 files at 224 pixels: use --resolution 224",
        ),
        (["imagenet", "-o", "models", "--export", "rpicam"], "224 pixels: add int8 to --precision"),
        (["imagenet", "-o", "models", "--workers", "0"], "--workers: expected a whole number, 1 or more, found '0'"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    from edge_convert.cli import main

    monkeypatch.chdir(tmp_path)
    code, errors = run_here(main, capfd, *words)
    assert code == 2, errors
    assert message in errors.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


# What TensorFlow, Keras and LiteRT do not document, and we use. If one of these fails after an update, the place named
# is what must change, and a rerun of this file shows whether the model files are still right.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "place"),
    [
        ("ai_edge_litert.interpreter", "Interpreter._get_ops_details", "conversion._large_convolutions"),
        (
            "tensorflow.python.framework.convert_to_constants",
            "convert_variables_to_constants_v2",
            "edge_train.backbone.freeze",
        ),
        ("ai_edge_litert.tools.flatbuffer_utils", "convert_object_to_bytearray", "metadata_writing.add_metadata"),
    ],
)
def test_an_undocumented_function_is_still_there(module: str, name: str, place: str) -> None:
    try:
        operator.attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{module}.{name} is gone ({error}): look at {place}")


def test_keras_still_tells_which_layer_follows() -> None:
    import keras

    layer = keras.layers.Dense(2)
    keras.layers.BatchNormalization()(layer(keras.Input((4,))))
    following = [type(node.operation).__name__ for node in getattr(layer, "_outbound_nodes", [])]
    assert following == ["BatchNormalization"], "look at bias_correction._batch_norm_after"


def test_the_file_for_each_board_is_named_alike_on_the_terminal_and_in_the_report(
    models: Path, run_folder: Path, tmp_path: Path, command
) -> None:
    models = Path(shutil.copytree(models, tmp_path / "models"))
    done = command("edge-convert", run_folder, "-o", models, "--max-drop", 25, "--max-accepted", 100)
    assert done.returncode == 0, done.stderr
    named = re.findall(r"^for (Pi .+?) take (\w[\w.]+),", done.stdout, re.MULTILINE)
    assert sorted(", ".join(boards for boards, _ in named).split(", ")) == ["Pi 3 or Zero 2 W", "Pi 4", "Pi 5"]
    page = (models / "report.html").read_text()
    for boards, name in named:
        assert f"<td>{boards}</td><td>{name}.tflite</td>" in page
    # Of one cell, so that the precision tells the files apart.
    bold = re.findall(r"<tr class=best><td>0.35 @ 96</td><td>(\w+)</td>", page)
    assert sorted(bold) == sorted(name.rpartition("_")[2] for _, name in named)
    assert done.stdout.splitlines()[-1].endswith(f"{named[-1][1]}.tflite")


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
    # What the picture shows is said to those who do not see it.
    assert "<img alt='Photos correct against size and multiply-adds. On the Pareto front of size: 0.35@96" in page
    assert page.count("data:image/png;base64,") == 1  # the second picture compares cells, and there is one


def test_exports_name_the_file_and_its_labels(tmp_path: Path) -> None:
    from edge_convert.exports import export_frigate, export_rpicam

    labels = ("cup", "key ring", "unknown")
    entry = {"file": "mobilenet_v2_1.0_224_int8.tflite", "resolution": 224, "precision": "int8"}
    _, stages = export_rpicam(tmp_path, labels, [{**entry, "precision": "float32", "file": "other"}, entry])
    stage = json.loads(stages.read_text())["object_classify_tf"]
    assert stage["model_file"] == entry["file"]
    assert (tmp_path / stage["labels_file"]).read_text().splitlines() == list(labels)
    (labelmap,) = export_frigate(tmp_path, labels, [entry])
    assert labelmap.read_text() == "0 cup\n1 key ring\n2 unknown\n"
    assert export_rpicam(tmp_path, labels, [{**entry, "resolution": 96}]) == []  # its own cell failed


def test_an_export_that_no_cell_fits_is_refused_before_converting(run_folder: Path, tmp_path: Path, command) -> None:
    done = command("edge-convert", run_folder, "-o", tmp_path / "models", "--export", "rpicam")
    assert done.returncode == 2
    assert "train with --resolution 224" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "models").exists()


def test_python_converts_as_the_command_does(models: Path, run_folder: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(models, tmp_path / "models"))
    code = """
import sys
from pathlib import Path
from edge_convert.converting import convert
from edge_convert.settings import Settings
result = convert(Path(sys.argv[1]), Path(sys.argv[2]), Settings(precisions=("int8",), max_drop=25, max_accepted=100))
print(result.made, *(file.name for file in result.files), result.report.name)
"""
    words = [sys.executable, "-c", code, str(run_folder), str(output)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["0", "mobilenet_v2_0.35_96_int8.tflite", "report.html"]


def test_no_room_for_a_file_is_one_line_and_leaves_nothing(light_run: Path, tmp_path: Path, command) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    output = tmp_path / "models"
    words = ("edge-convert", light_run, "-o", output, "--precision", "float32")
    done = command(*words, preexec_fn=limit)
    assert done.returncode == 6
    last = done.stderr.splitlines()[-1]
    assert re.match(r"error: cell 0\.35 @ 96: .*float32\.tflite: the file became larger than is allowed here", last)
    assert "--max-drop" not in last
    assert list(output.iterdir()) == []


def test_a_killed_conversion_loses_no_finished_cell(photos: Path, tmp_path: Path, command) -> None:
    run, output = tmp_path / "run", tmp_path / "models"
    grid = ("--weights", "none", "--alpha", 0.35, "--resolution", 96, 128)
    assert command("edge-train", photos, "-o", run, *grid).returncode == 0
    options = ("--precision", "float32", "--workers", 1, "--max-drop", 25, "--max-accepted", 100)
    words = ("edge-convert", run, "-o", output, *options)
    program, *arguments = map(str, words)
    process = subprocess.Popen([Path(sys.executable).with_name(program), *arguments], stderr=subprocess.DEVNULL)
    while process.poll() is None and not (output / "manifest.json").exists():
        time.sleep(0.01)
    refused = command(*words)
    process.kill()
    process.wait()
    assert "another edge-train or edge-convert is writing into this folder" in refused.stderr
    (finished,) = read_manifest(output)["files"]
    assert command("edge-convert", "--verify", output).returncode == 0
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert "unchanged, and not made again: 1 of 2 files" in done.stdout
    assert finished in read_manifest(output)["files"]
    assert [path.name for path in output.iterdir() if path.name.startswith(".")] == []
