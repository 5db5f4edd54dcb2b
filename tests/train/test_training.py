"""edge-train end to end on drawn photos, and the parts whose figures can be checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import TRAINING, write_photos
from edge_classify.preprocessing import preprocess
from edge_train.head import fit_head
from edge_train.unknown import fit_unknown, fold_numbers, nearest_cosine, with_unknown


def test_the_run_folder_holds_all_that_edge_convert_needs(run_folder: Path, photos: Path) -> None:
    index = json.loads((run_folder / "run.json").read_text())
    assert index["labels"] == ["cross", "disc", "stripes", "unknown"]
    held_out = [file for file in index["photos"]["files"] if file["held_out"]]
    prepared = np.load(run_folder / "prepared" / "96_held_out.npy")
    assert len(prepared) == len(held_out) == len(index["held_out_labels"])

    from edge_classify import read_photo

    first = preprocess(read_photo(photos / held_out[0]["path"]), np.empty((96, 96, 3), np.uint8))
    assert (prepared[0] == first).all()
    (cell,) = index["cells"]
    assert (run_folder / cell["weights"]).is_file()
    assert cell["evaluation"]["accuracy"] > 0.6
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
    with np.load(run_folder / head) as one, np.load(tmp_path / "again" / head) as two:
        assert set(one) == set(two) == {"kernel", "bias", "prototypes", "held_out_probabilities"}
        assert all((one[name] == two[name]).all() for name in one)


def test_only_changed_photos_are_computed_again(photos: Path, tmp_path: Path, run_folder: Path, command) -> None:
    assert run_folder.exists()
    changed = Path(shutil.copytree(photos, tmp_path / "photos"))
    write_photos(tmp_path / "new", 3, ("disc",), seed=99)
    for path in (tmp_path / "new" / "disc").iterdir():
        shutil.copy(path, changed / "disc" / path.name)
    done = command("edge-train", changed, "-o", tmp_path / "run", *TRAINING)
    assert done.returncode == 0, done.stderr
    assert "3/3" in done.stderr  # the progress bar of the features


def test_unreadable_pictures_are_named_and_counted_each_time(photos: Path, tmp_path: Path, command) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "photos"))
    (mixed / "disc" / "zero.jpg").touch()
    (mixed / "cross" / "torn ü.png").write_bytes((mixed / "cross" / "0.png").read_bytes()[:300])
    for _ in range(2):
        done = command("edge-train", mixed, "-o", tmp_path / "run", *TRAINING)
        assert done.returncode == 0, done.stderr
        assert "zero.jpg: the file is empty" in done.stderr
        assert "torn ü.png: not a picture" in done.stderr
        assert "2 skipped" in done.stdout
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())["photos"]["skipped"]) == 2


def test_without_unknown_the_classes_are_all_there_is(photos: Path, tmp_path: Path, command) -> None:
    done = command("edge-train", photos, "-o", tmp_path / "run", *TRAINING, "--no-unknown")
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "run" / "run.json").read_text())
    assert index["labels"] == ["cross", "disc", "stripes"]
    with np.load(tmp_path / "run" / "heads" / "0.35_96.npz") as head:
        assert "prototypes" not in head


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--epochs", "0"], 2, "--epochs is 0: it must be above 0"),
        (["--weights", "gone.h5"], 2, "--weights gone.h5: no such file or folder"),
        (["--weights", os.devnull], 2, "no such file or folder"),
        (["--weights", "."], 2, "no mobilenet_v2_0.35_"),
    ],
)
def test_wrong_arguments(photos: Path, tmp_path: Path, command, arguments: list[str], code: int, message: str) -> None:
    done = command("edge-train", photos, "-o", tmp_path / "run", *TRAINING, *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_weights_of_another_width_are_refused(photos: Path, tmp_path: Path, data: Path, command) -> None:
    weights = data / "weights" / "mobilenet_v2_0.5_160_no_top.weights.h5"
    done = command("edge-train", photos, "-o", tmp_path / "run", *TRAINING, "--weights", weights)
    assert done.returncode == 6
    assert "not the weights of a MobileNetV2 of alpha 0.35" in done.stderr


def test_a_folder_with_other_files_is_not_written_to(photos: Path, tmp_path: Path, command) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    done = command("edge-train", photos, "-o", tmp_path, *TRAINING)
    assert done.returncode == 6
    assert "holds other files and no earlier run" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_to_is_one_line(photos: Path, tmp_path: Path, command) -> None:
    (tmp_path / "file").touch()
    done = command("edge-train", photos, "-o", tmp_path / "file" / "run", *TRAINING)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path / 'file' / 'run'}: Not a directory"


def clusters(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features like a backbone's, never negative, around three directions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).uniform(0, 1, (3, 64))
    labels = rng.integers(0, 3, count)
    return np.clip(centres[labels] + rng.normal(0, 0.25, (count, 64)), 0, 6).astype(np.float32), labels


def test_the_head_separates_what_can_be_separated() -> None:
    x, y = clusters(300, 2)
    head = fit_head(x, y, 3, epochs=30, batch_size=32, learning_rate=1e-3, seed=0)
    x_new, y_new = clusters(300, 3)
    probabilities = head.probabilities(x_new)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (probabilities.argmax(axis=1) == y_new).mean() > 0.95


@pytest.mark.parametrize("keep", [0.9, 0.97])
def test_unknown_keeps_the_share_of_new_photos_that_was_asked_for_and_refuses_strangers(keep: float) -> None:
    x, y = clusters(600, 4)
    folds = fold_numbers(len(x), 0)

    def fit(x: np.ndarray, y: np.ndarray):
        return fit_head(x, y, 3, epochs=20, batch_size=32, learning_rate=1e-3, seed=0)

    unknown = fit_unknown(x, y, [fit(x[folds != f], y[folds != f]) for f in range(5)], folds, keep=keep, seed=0)
    head = fit(x, y)
    x_new, _ = clusters(2000, 5)
    combined = with_unknown(head.probabilities(x_new), unknown.known(x_new))
    assert combined.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (combined.argmax(axis=1) < 3).mean() == pytest.approx(keep, abs=0.03)
    strangers = np.random.default_rng(6).uniform(0, 1, (500, 64)).astype(np.float32)
    refused = with_unknown(head.probabilities(strangers), unknown.known(strangers)).argmax(axis=1) == 3
    assert refused.mean() > 0.95
    assert nearest_cosine(x_new, unknown.prototypes).mean() > nearest_cosine(strangers, unknown.prototypes).mean()
