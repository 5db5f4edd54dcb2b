"""edge-train end to end on drawn photos."""

from __future__ import annotations

import html
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import GRID, TRAINING, run_here, write_photos
from edge_classify.images.preprocessing import preprocess
from edge_classify.learn.learning_curve import LearningCurve
from edge_train.cache import open_cache
from edge_train.cli import main


def test_the_run_folder_holds_all_that_edge_convert_needs(run_folder: Path, photos: Path) -> None:
    index = json.loads((run_folder / "run.json").read_text())
    assert index["labels"] == ["cross", "disc", "stripes", "unknown"]
    held_out = [file for file in index["photos"]["files"] if file["part"] == "held_out"]
    prepared = np.load(run_folder / "prepared" / "96_held_out.npy")
    assert len(prepared) == len(held_out) == len(index["held_out_labels"])

    from edge_classify import read_photo

    first = preprocess(read_photo(photos / held_out[0]["path"]), np.empty((96, 96, 3), np.uint8))
    assert (prepared[0] == first).all()
    (cell,) = index["cells"]
    assert (run_folder / cell["weights"]).is_file()
    assert cell["evaluation"]["accuracy"] > 0.6
    with np.load(run_folder / cell["head"]) as arrays:
        shown = arrays["held_out_probabilities"].argmax(axis=1)
    assert cell["evaluation"]["accuracy_with_unknown"] == np.mean(shown == index["held_out_labels"])
    assert cell["evaluation"]["photos"] == len(held_out)
    assert str(photos) not in (run_folder / "run.json").read_text()


def test_calibration_photos_are_balanced_and_never_held_out(run_folder: Path) -> None:
    index = json.loads((run_folder / "run.json").read_text())
    counts = np.bincount(index["calibration_labels"])
    assert (counts == counts[0]).all()
    held_out = {photo.tobytes() for photo in np.load(run_folder / "prepared" / "96_held_out.npy")}
    calibration = {photo.tobytes() for photo in np.load(run_folder / "prepared" / "96_calibration.npy")}
    assert calibration
    assert not calibration & held_out


def test_a_second_run_needs_no_tensorflow_and_gives_the_same_bytes(
    run_folder: Path, photos: Path, tmp_path: Path
) -> None:
    words = [str(photos), "-o", str(tmp_path / "again"), *map(str, TRAINING)]
    code = (
        f"import sys; from edge_train.cli import main; c = main({words!r}); sys.exit(c or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    head = "heads/0.35_96.npz"
    with np.load(run_folder / head) as first, np.load(tmp_path / "again" / head) as again:
        assert set(first) == set(again) >= {"kernel", "bias", "basis", "prototypes", "held_out_probabilities"}
        assert all((first[name] == again[name]).all() for name in first)


def test_only_changed_photos_are_computed_again(photos: Path, tmp_path: Path, run_folder: Path, command) -> None:
    assert run_folder.exists()
    changed = Path(shutil.copytree(photos, tmp_path / "photos"))
    write_photos(tmp_path / "new", 3, ("disc",), seed=99)
    for path in (tmp_path / "new" / "disc").iterdir():
        shutil.copy(path, changed / "disc" / path.name)
    done = command("edge-train", changed, "-o", tmp_path / "run", *TRAINING)
    assert done.returncode == 0, done.stderr
    assert "reading: 3 of 3 photos" in done.stderr  # the progress bar of the features
    assert "backbones" not in done.stderr  # made already


def test_photos_in_three_parts_with_one_in_two_of_them(tmp_path: Path, command) -> None:
    split = tmp_path / "photos"
    for seed, (part, each) in enumerate((("train", 20), ("validation", 40), ("test", 20))):
        write_photos(split / part, each, ("cross", "disc"), seed)
    shutil.copy(split / "train" / "disc" / "1.png", split / "test" / "disc" / "copy.png")
    done = command("edge-train", split, "-o", tmp_path / "run", *TRAINING)
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "run" / "run.json").read_text())
    parts = {file["path"]: file["part"] for file in index["photos"]["files"]}
    assert parts["train/disc/1.png"] == "training"
    assert parts["test/disc/copy.png"] == "left_out"
    assert index["cells"][0]["decision"]["chosen_on"] == list(parts.values()).count("validation") > 40
    assert index["cells"][0]["evaluation"]["photos"] == list(parts.values()).count("held_out") > 20


def test_unreadable_pictures_are_named_and_counted_each_time(photos: Path, tmp_path: Path, command) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "photos"))
    (mixed / "disc" / "zero.jpg").touch()
    (mixed / "cross" / "torn ü.png").write_bytes((mixed / "cross" / "0.png").read_bytes()[:300])
    for _ in range(2):
        done = command("edge-train", mixed, "-o", tmp_path / "run", *TRAINING)
        assert done.returncode == 0, done.stderr
        assert "zero.jpg: the file is empty" in done.stderr
        assert "torn ü.png: not a readable picture" in done.stderr
        assert "2 unreadable" in done.stdout
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())["photos"]["skipped"]) == 2


def test_without_unknown_the_classes_are_all_there_is(integer_models: tuple[Path, Path]) -> None:
    run, _ = integer_models
    index = json.loads((run / "run.json").read_text())
    assert index["labels"] == ["cross", "disc", "stripes"]
    with np.load(run / "heads" / "0.35_96.npz") as head:
        assert "prototypes" not in head


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--epochs", "0"], 2, "--epochs: expected a whole number, 1 or more, found '0'"),
        (["--learning-rate", "0"], 2, "--learning-rate: expected a number, more than 0, found '0'"),
        (["--weights", "gone.h5"], 2, "--weights gone.h5: no such file or folder"),
        (["--weights", os.devnull], 2, "no such file or folder"),
        (["--weights", "."], 2, "no mobilenet_v2_0.35_"),
        (["--weights", ".", "--alpha", "all"], 2, "--weights .: no mobilenet_v2_*_no_top.weights.h5 or .h5"),
        (["--alpha", "0.4"], 2, "--alpha: expected 0.35, 0.5, 0.75, 1.0, 1.3, 1.4 or all, found '0.4'"),
        (["--resolution", "all", "96"], 2, "--resolution: use all alone"),
        (["--keep", "1"], 2, "--keep: expected a number, 0.5 or more and less than 1, found '1'"),
        (["--negatives", "nowhere"], 6, "--negatives nowhere: no such folder"),
        (
            ["--backbone", "resnet"],
            2,
            "--backbone: expected mobilenet_v2, FILE.tflite or hub:URL_OR_FOLDER, found 'resnet'",
        ),
        (["--backbone", "hub:nowhere"], 2, "--backbone hub:nowhere: no such folder"),
        (["--backbone", "hub:.", "--alpha", "0.35", "0.5"], 2, "has one width and resolution"),
    ],
)
def test_wrong_arguments_are_refused_before_photos_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    # Reading the photos would fail with code 6: there are none.
    for label in ("disc", "cross"):
        (tmp_path / "photos" / label).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    ended, errors = run_here(main, capfd, "photos", "-o", "run", *TRAINING, *arguments)
    assert ended == code, errors
    assert message in errors
    assert "Traceback" not in errors


def test_weights_of_another_width_are_refused(photos: Path, tmp_path: Path, data: Path, command) -> None:
    weights = data / "weights" / "mobilenet_v2_0.5_160_no_top.weights.h5"
    done = command("edge-train", photos, "-o", tmp_path / "run", *TRAINING, "--weights", weights)
    assert done.returncode == 6
    assert "not the weights of a MobileNetV2 of alpha 0.35" in done.stderr


def test_a_folder_with_other_files_is_not_written_to(photos: Path, tmp_path: Path, command) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    done = command("edge-train", photos, "-o", tmp_path, *TRAINING)
    assert done.returncode == 6
    assert "contains files that are not a run" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_to_is_one_line(photos: Path, tmp_path: Path, command) -> None:
    (tmp_path / "file").touch()
    done = command("edge-train", photos, "-o", tmp_path / "file" / "run", *TRAINING)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path / 'file' / 'run'}: Not a directory"


def cell_bytes(run: Path, name: str = "0.35_96") -> dict[str, bytes]:
    with np.load(run / "heads" / f"{name}.npz") as arrays:
        return {key: arrays[key].tobytes() for key in arrays}


def test_a_killed_run_goes_on_where_it_stopped_and_ends_the_same(
    grid_run: Path, warm_cache, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(sys.executable).with_name("edge-train")
    words = [str(program), str(photos), "-o", str(tmp_path / "killed"), *map(str, GRID)]
    # With a cache of its own the features are computed again, too.
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache(tmp_path / "cache")))
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    heads = tmp_path / "killed" / "heads"
    while process.poll() is None and not list(heads.glob("*.json")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "run.json").exists()
    first = {path: path.stat().st_mtime_ns for path in heads.glob("*.json")}
    assert first  # how many are done depends on the machine
    subprocess.run(words, check=True, capture_output=True)
    assert all(path.stat().st_mtime_ns == before for path, before in first.items())
    for name in ("0.35_96", "0.35_128", "0.35_160"):
        assert cell_bytes(tmp_path / "killed", name) == cell_bytes(grid_run, name)


def test_two_runs_at_once_share_a_cache(photos: Path, run_folder: Path, tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("edge-train"))
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    runs = [tmp_path / "one", tmp_path / "two"]
    both = [
        subprocess.Popen(
            [program, str(photos), "-o", str(run), *map(str, TRAINING)], env=environment, stderr=subprocess.PIPE
        )
        for run in runs
    ]
    for process in both:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    # Random weights are made anew for a new cache; the same seed gives the same.
    assert cell_bytes(runs[0]) == cell_bytes(runs[1]) == cell_bytes(run_folder)


def test_no_room_for_features_is_one_line_and_loses_no_earlier_cell(
    warm_cache, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command
) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache(tmp_path / "cache")))
    assert command("edge-train", photos, "-o", run, *TRAINING).returncode == 0
    before = cell_bytes(run)
    size = (tmp_path / "cache" / "edge-classify" / "features.sqlite").stat().st_size

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, size + 4096))

    full = (photos, "-o", run, *TRAINING, "--resolution", 96, 160)
    done = command("edge-train", *full, preexec_fn=limit)
    assert done.returncode == 6
    assert "cannot cache features" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert cell_bytes(run) == before
    assert command("edge-train", *full).returncode == 0
    assert cell_bytes(run) == before


def test_fine_tuning_gives_the_same_weights_twice_and_reports_both_accuracies(
    warm_cache, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache(tmp_path / "cache")))
    # Another folder of the same name, in a second option, which has an older name too.
    other = write_photos(tmp_path / "other", 6, ("disc",)) / "disc"
    negatives = ("--negatives", photos / "disc", "--strangers", other)
    weights, cached = [], cached_backbones()
    for name in ("one", "two"):
        run = tmp_path / name
        done = command("edge-train", photos, "-o", run, *TRAINING, "--fine-tune", 2, *negatives)
        assert done.returncode == 0, done.stderr
        assert re.search(r"\d+\.\d% of 40 pictures in .*disc/ get a class's label", done.stdout)
        index = json.loads((run / "run.json").read_text())
        (cell,) = index["cells"]
        evaluation = cell["evaluation"]
        assert evaluation["fine_tuned"]
        assert evaluation["accuracy"] >= evaluation["frozen_accuracy"]
        # Each of these few photos was left out by a network, so all of them show what the last one is worth.
        assert cell["decision"]["chosen_on"] == index["photos"]["training"]
        measured = cell["evaluation"]["strangers"]
        assert {name: measured[name]["pictures"] for name in measured} == {str(photos / "disc"): 40, str(other): 6}
        weights.append((cell["weights"], cell_bytes(run)))
    assert weights[0] == weights[1]
    # The frozen network and the one that was taken, but none that only judged.
    assert len(cached_backbones() - cached) <= 2


def cached_backbones() -> set[str]:
    with open_cache() as database:
        return {key for (key,) in database.execute("SELECT key FROM feature_models")}


@pytest.fixture(scope="module")
def hub_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two SavedModels: a feature vector, and one that TFLite cannot compute."""
    script = """
import sys
import tensorflow as tf

class Features(tf.Module):
    def __init__(self):
        tf.random.set_seed(1)
        self.kernel = tf.Variable(tf.random.normal((8, 8, 3, 64)) / 8)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def __call__(self, images):
        tf.debugging.assert_less_equal(images, 1.0)
        tf.debugging.assert_greater_equal(images, 0.0)
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, self.kernel, 8, "VALID")), axis=(1, 2))

class SingularValues(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def __call__(self, images):
        return tf.linalg.svd(tf.reduce_mean(images, axis=3), compute_uv=False)

tf.saved_model.save(Features(), sys.argv[1] + "/feature vector")
tf.saved_model.save(SingularValues(), sys.argv[1] + "/singular values")
"""
    folder = tmp_path_factory.mktemp("hub")
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True, capture_output=True)
    return folder


def test_a_hub_feature_vector_becomes_a_model_file(hub_modules: Path, photos: Path, tmp_path: Path, command) -> None:
    saved = Path(shutil.copytree(hub_modules / "feature vector", tmp_path / "feature vector"))
    grid = ("--backbone", f"hub:{saved}", "--alpha", 1.0, "--resolution", 96, "--learning-rate", 0.01)
    done = command("edge-train", photos, "-o", tmp_path / "run", *grid)
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads((tmp_path / "run" / "run.json").read_text())["cells"]
    assert cell["weights_name"] == "hub:feature vector"
    assert cell["multiply_adds"] > 12 * 12 * 8 * 8 * 3 * 64
    shutil.rmtree(saved)  # the run holds all that edge-convert needs
    words = ("--precision", "float32", "int8", "--max-drop", 25, "--max-accepted", 100)
    done = command("edge-convert", tmp_path / "run", "-o", tmp_path / "models", *words)
    assert done.returncode == 0, done.stderr

    from edge_classify import Classifier, read_photo

    for precision in ("float32", "int8"):
        classifier = Classifier(tmp_path / "models" / f"mobilenet_v2_1.0_96_{precision}.tflite")
        found = [classifier.classify(read_photo(path)).label for path in sorted((photos / "disc").iterdir())]
        assert found.count("disc") > 30


def test_a_hub_module_that_no_device_could_compute_is_refused_at_once(
    hub_modules: Path, photos: Path, tmp_path: Path, command
) -> None:
    saved = hub_modules / "singular values"
    grid = ("--backbone", f"hub:{saved}", "--alpha", 1.0, "--resolution", 96)
    done = command("edge-train", photos, "-o", tmp_path / "run", *grid)
    assert done.returncode == 6
    assert "hub:singular values: TFLite cannot compute it (unsupported: Svd): use another" in done.stderr


def test_the_report_is_one_page_that_needs_nothing_else(run_folder: Path) -> None:
    page = (run_folder / "report.html").read_text()
    (entry,) = (json.loads(path.read_text()) for path in run_folder.glob("heads/*.json"))
    sentence = LearningCurve.decode(entry["learning_curve"]).sentence()
    assert html.escape(sentence[0].upper() + sentence[1:]) in page
    assert list(entry["learning_curve"]["classes"]) == ["cross", "disc", "stripes"]
    sources = re.findall(r"""(?:src|href)=['"](.{0,30})""", page)
    assert sources
    assert all(re.match("data:image/(png|jpeg);base64,", source) for source in sources)
    for words in ("95% interval", "photo check", "Random predictions", "recall", "<bdi>cross</bdi>"):
        assert words in page
    # What the pictures show is said to those who do not see them.
    for words in ("Accuracy against confidence. Right are ", "Loss and accuracy over ", "probability of unknown. held"):
        assert words in page


def test_the_check_finds_what_is_wrong_with_photos(photos: Path, tmp_path: Path, command) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "photos"))
    shutil.copy(mixed / "disc" / "1.png", mixed / "disc" / "copy of 1.png")
    shutil.copy(mixed / "disc" / "2.png", mixed / "disc" / "named wrongly.jpg")
    shutil.move(mixed / "stripes" / "3.png", mixed / "disc" / "striped.png")
    twin = cv2.imread(str(mixed / "cross" / "4.png"))
    cv2.imwrite(str(mixed / "cross" / "ünder twin.jpg"), cv2.resize(twin, (320, 240)))
    (mixed / "cross" / "torn.png").write_bytes(b"x")
    for number in range(6, 40):
        (mixed / "stripes" / f"{number}.png").unlink()
    done = command("edge-train", mixed, "--check", "-o", tmp_path / "run", *TRAINING)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "photo_check.json").read_text())
    assert found["wrong_suffix"] == [["disc/named wrongly.jpg", "png"]]
    assert ["disc/1.png", "disc/copy of 1.png"] in found["copies"]
    assert ["cross/4.png", "cross/ünder twin.jpg"] in [sorted(pair) for pair in found["near_duplicates"]]
    assert "torn.png" in found["skipped"][0]
    assert f"<li>{html.escape(found['skipped'][0])}</li>" in (tmp_path / "run" / "photo_check.html").read_text()
    assert found["few"] == ["stripes"]
    assert found["imbalanced"] == ["stripes"]
    assert "1 unreadable" in done.stdout
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
def test_without_weights_the_check_finds_what_needs_none(photos: Path, tmp_path: Path, command) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "photos"))
    for name in ("torn.png", "torn too.png"):  # the same content
        (mixed / "cross" / name).write_bytes(b"x")
    shutil.copy(mixed / "disc" / "1.png", mixed / "disc" / "copy.png")
    (tmp_path / "no.weights.h5").write_bytes(b"no weights")
    check = ("edge-train", mixed, "-o", tmp_path / "run", "--check", "--alpha", 0.35, "--resolution", 96, "--weights")
    for weights in ("imagenet", tmp_path / "no.weights.h5"):  # which cannot be downloaded, and do not fit
        # A cache of its own, so that no weights are there; a proxy of nobody's, so that none can be had.
        offline = {"XDG_CACHE_HOME": str(tmp_path), "KERAS_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
        done = command(*check, weights, env={**os.environ, **offline})
        assert done.returncode == 0, done.stderr
        assert "possibly mislabelled photos were not looked for: " in done.stdout
        assert "2 unreadable" in done.stdout
        found = json.loads((tmp_path / "run" / "photo_check.json").read_text())
        assert (len(found["skipped"]), len(found["copies"]), found["suspects"]) == (2, 1, [])
        assert found["why_no_suspects"]
