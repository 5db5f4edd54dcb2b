"""A second run in the folder of a first adds its cells or is refused: nothing is overwritten or mixed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import TRAINING, Command, write_photos
from edge_classify.errors import DataError
from edge_classify.images.crop import Crop
from edge_classify.learn.head import HeadSettings
from edge_classify.learn.photos.photo_set import NEGATIVE, Photo, PhotoSet
from edge_classify.learn.photos.views import Augmentation
from edge_train.backbone import Backbone
from edge_train.folder_lock import hold_folder
from edge_train.run_folder import FORMAT, REPLACED, drop_replaced
from edge_train.run_identity import claim_folder
from edge_train.settings import Settings
from edge_train.training_run import CellJob, TrainingRun


def backbone_of(alpha: float, resolution: int, sha256: str = "ab") -> Backbone:
    return Backbone("mobilenet_v2", alpha, resolution, Path("w.h5"), sha256, resolution, f"weights {sha256}")


@pytest.fixture
def first(tmp_path: Path) -> TrainingRun:
    """A run that claimed its folder and fitted one cell."""
    photos = PhotoSet(
        ("cup", "key"), (Photo(Path("cup/1.jpg"), 0, "aa"), Photo(Path("key/1.jpg"), 1, "bb")), (), False, ""
    )
    run = TrainingRun(tmp_path / "photos", tmp_path / "run", Settings(), (backbone_of(0.5, 160),), photos)
    run.folder.mkdir()
    assert claim_folder(run) == []
    finish(run)
    return run


def finish(run: TrainingRun) -> None:
    """What fitting leaves, as far as a second run looks at it."""
    (run.folder / "heads").mkdir(exist_ok=True)
    for backbone in run.backbones:
        job = CellJob(run, backbone)
        entry = {"alpha": backbone.alpha, "key": job.key, "weights_name": backbone.name, "curves": {}}
        (run.folder / "heads" / f"{job.name}.json").write_text(json.dumps(entry))
    cells = [{"head": f"heads/{path.stem}.npz"} for path in sorted((run.folder / "heads").iterdir())]
    (run.folder / "run.json").write_text(json.dumps({"format": FORMAT, "cells": cells}))


def replacing(run: TrainingRun) -> TrainingRun:
    return replace(run, settings=replace(run.settings, replace=True))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_of_the_same_photos_and_settings_adds_its_cells(first: TrainingRun) -> None:
    second = replace(first, backbones=(backbone_of(0.35, 96, "cd"), backbone_of(0.5, 160)))
    assert claim_folder(second) == []  # the first's only cell is asked for again
    finish(second)
    third = replace(first, backbones=(backbone_of(1.0, 224),), root=first.root.with_name("moved"))
    assert sorted(entry["alpha"] for entry in claim_folder(third)) == [0.35, 0.5]


def other_photos(run: TrainingRun) -> TrainingRun:
    more = (*run.photos.photos, Photo(Path("cup/2.jpg"), 0, "cc"))
    return replace(run, photos=replace(run.photos, photos=more))


def other_part(run: TrainingRun) -> TrainingRun:
    crop = Crop(0.25, 0, 0.5, 1)
    photos = tuple(replace(photo, crop=crop) for photo in run.photos.photos)
    return replace(run, photos=replace(run.photos, photos=photos), settings=replace(run.settings, crop=crop))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: replace(run, photos=replace(run.photos, labels=("key", "cup"))), "other classes (cup, key; these"),
        (other_photos, "other photos (2; now 3)"),
        (other_part, "another part of the photos (--crop 0,0,1,1; now 0.25,0,0.5,1)"),
        (lambda run: replace(run, settings=Settings(seed=1)), "other settings (--seed)"),
        (
            lambda run: replace(
                run, settings=Settings(augmentation=Augmentation(flip=False), head=HeadSettings(epochs=2))
            ),
            "other settings (--no-flip, --epochs)",
        ),
        (lambda run: replace(run, settings=Settings(unknown=False)), "other settings (--no-unknown)"),
        (lambda run: replace(run, settings=Settings(keep=0.8)), "other settings (--keep)"),
        (
            lambda run: replace(run, backbones=(backbone_of(0.5, 160, "cd"),)),
            "0.5 @ 160 with other weights (weights ab",
        ),
        (lambda run: replace(run, negatives={"x": (Photo(Path("x"), NEGATIVE, "dd"),)}), "other negatives"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_run_is_refused_and_changes_nothing(
    first: TrainingRun, change: Callable[[TrainingRun], TrainingRun], message: str, finished: bool
) -> None:
    if not finished:  # it was stopped: its cells are as much work
        (first.folder / "run.json").unlink()
    first.folder.with_name("run-2").mkdir()
    before = contents(first.folder)
    with pytest.raises(DataError) as refused:
        claim_folder(change(first))
    assert message in str(refused.value)
    assert f"-o {first.folder}-3" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert contents(first.folder) == before
    assert claim_folder(first) == []


def test_a_run_of_other_photos_is_named_by_what_changed_and_replaced_if_asked(
    drawn_photos: Path, tmp_path: Path, command: Command
) -> None:
    photos = shutil.copytree(drawn_photos, tmp_path / "photos")
    words = ("edge-train", photos, "-o", tmp_path / "run", *TRAINING)
    assert command(*words).returncode == 0
    moved, gone = sorted((photos / "cross").iterdir())[:2]
    moved.rename(photos / "disc" / "moved.png")
    gone.unlink()
    before = contents(tmp_path / "run")
    done = command(*words)
    assert done.returncode == DataError.exit_code
    assert "the run here is of other photos (1 gone, 1 in another class)" in done.stderr
    assert "give --replace to put this one in its place, or another folder" in done.stderr
    assert contents(tmp_path / "run") == before
    (tmp_path / "run" / "models").mkdir()
    (tmp_path / "run" / "models" / "mine.tflite").touch()
    done = command(*words, "--replace")
    assert done.returncode == 0, done.stderr
    assert "other photos (1 gone, 1 in another class): replaced, and what was here stays in" in done.stderr
    assert not (tmp_path / "run" / REPLACED).exists()
    index = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "disc/moved.png" in [file["path"] for file in index["photos"]["files"]]
    assert (tmp_path / "run" / "models" / "mine.tflite").exists()
    # Nothing of it is recorded: the same command without --replace finds its own run.
    assert command(*words).returncode == 0


def test_weights_of_another_name_may_add_a_cell(first: TrainingRun) -> None:
    second = replace(first, settings=Settings(weights="other.h5"), backbones=(backbone_of(0.35, 96, "cd"),))
    assert [entry["alpha"] for entry in claim_folder(second)] == [0.5]


def test_a_run_without_cells_is_no_work_to_keep(first: TrainingRun) -> None:
    (first.folder / "run.json").unlink()
    (first.folder / "heads" / "0.5_160.json").unlink()
    assert claim_folder(replace(first, settings=Settings(seed=1))) == []


@pytest.mark.parametrize("name", ["run.json", "heads/0.5_160.json", "started.json"])
def test_a_damaged_run_is_not_written_over_unless_asked(first: TrainingRun, name: str) -> None:
    (first.folder / name).write_text("{")
    before = contents(first.folder)
    second = replace(first, backbones=(backbone_of(0.35, 96),))
    with pytest.raises(DataError, match="give --replace to put this one in its place, or another folder") as refused:
        claim_folder(second)
    assert len(str(refused.value).splitlines()) == 1
    assert contents(first.folder) == before
    assert claim_folder(replacing(second)) == []
    assert contents(first.folder / REPLACED) == before


def test_a_run_that_is_replaced_stays_until_another_is_finished(first: TrainingRun) -> None:
    finished = contents(first.folder)
    for seed in (1, 2):  # the first to replace it was stopped before its end, and had a cell
        claim_folder(replacing(replace(first, settings=Settings(seed=seed))))
        assert contents(first.folder / REPLACED) == finished
        assert not (first.folder / "run.json").exists()
        assert not (first.folder / "heads").exists()
        (first.folder / "heads").mkdir()
        (first.folder / "heads" / "0.5_160.json").write_text("{}")
    drop_replaced(first.folder)
    assert not (first.folder / REPLACED).exists()


def test_a_folder_is_one_program_s_until_it_has_ended_however_it_ended(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from edge_train.folder_lock import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(DataError, match="another edge-train or edge-convert is writing"), hold_folder(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with hold_folder(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_nothing_was_written_to_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photos"), hold_folder(tmp_path / "runs" / "photos"):
        raise DataError("no photos")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="no photos"), hold_folder(tmp_path / "mine"):
        raise DataError("no photos")
    assert (tmp_path / "mine").is_dir()


@pytest.mark.slow
def test_cells_are_added_and_another_run_is_kept_out(tmp_path: Path, command) -> None:
    photos = write_photos(tmp_path / "photos", 12)
    grid = ("--weights", "none", "--alpha", 0.35, "--resolution")
    done = command("edge-train", photos, *grid, 96, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "run folder: runs/photos" in done.stdout
    run = tmp_path / "runs" / "photos"
    first = contents(run)
    done = command("edge-train", photos, *grid, 128, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stay as they are: 0.35 @ 96" in done.stdout
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("  0.35")] == [
        ["0.35", "96"],
        ["0.35", "128"],
    ]
    index = json.loads((run / "run.json").read_text())
    assert [cell["resolution"] for cell in index["cells"]] == [96, 128]
    assert all(f"0.35 @ {side}" in (run / "report.html").read_text() for side in (96, 128))
    assert {name: data for name, data in contents(run).items() if name.endswith(("npz", "npy"))}.items() >= {
        name: data for name, data in first.items() if name.endswith(("npz", "npy"))
    }.items()

    both = contents(run)
    other = write_photos(tmp_path / "other" / "photos", 12, ("cross", "disc"), seed=5)
    done = command("edge-train", other, *grid, 96, cwd=tmp_path)
    assert done.returncode == 6
    assert "other classes" in done.stderr.splitlines()[-1]
    (other / "cross" / "0.png").rename(other / "disc" / "moved.png")
    done = command("edge-train", other, *grid, 96, "--check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "possibly mislabelled" in done.stdout
    assert "photo_check" not in done.stdout  # what lies there is of the other run
    assert "not written: runs/photos is a run of other photos" in done.stdout
    assert contents(run) == both
    assert command("edge-train", photos, "-o", run, *TRAINING, "--check", cwd=tmp_path).returncode == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["photos"]
