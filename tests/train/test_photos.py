"""Folders of photos as people have them: what is found, how it is split, what is refused."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import TRAINING, Command, write_photos
from edge_classify import DataError
from edge_classify.images.folder import list_pictures
from edge_classify.learn.photos.photo_set import HELD_OUT, LEFT_OUT, VALIDATION, find_photos, fingerprint
from edge_classify.learn.photos.photo_set import TRAINING as TRAINED_ON
from edge_train.cache import open_cache
from edge_train.cli import main
from edge_train.photo_columns import as_columns
from edge_train.split import check_classes, split_photos
from edge_train.training import read_negatives


def split(root: Path, *alike: Sequence[str], with_unknown: bool = True):
    """alike: groups of photos that are near-duplicates of each other, by sha256."""
    found = as_columns(find_photos(root, with_unknown=with_unknown))
    names = list(found.photos.contents.names)
    groups = np.arange(len(names))
    for group in alike:
        groups[[names.index(name) for name in group]] = names.index(min(group))
    return split_photos(found, groups)


def test_the_split_goes_by_content(tmp_path: Path) -> None:
    first = write_photos(tmp_path / "a", 30)
    found = split(first)
    assert found.labels == ("cross", "disc", "stripes")
    assert len(found.photos) == 90
    assert found.skipped == ()
    assert 8 <= len(found.of(HELD_OUT)) <= 30
    for label in range(3):
        folds = [photo.fold for photo in found.of(TRAINED_ON) if photo.label == label]
        assert max(map(folds.count, range(5))) - min(map(folds.count, range(5))) <= 1

    # Renamed, moved and joined by a copy: every photo stays on its side.
    for path in sorted(first.rglob("*.png")):
        path.rename(path.with_name(f"holiday {path.name}"))
    shutil.copy(first / "disc" / "holiday 3.png", first / "disc" / "copy of 3.png")
    again = split(first.rename(tmp_path / "b"))
    sides = {photo.sha256: photo.part for photo in found.photos}
    assert len(again.photos) == 91
    assert all(sides[photo.sha256] == photo.part for photo in again.photos)
    assert fingerprint([photo for photo in again.photos if "copy" not in photo.path.name]) == fingerprint(found.photos)


def test_near_duplicates_stay_together_and_in_one_fold(tmp_path: Path) -> None:
    write_photos(tmp_path, 30)
    disc = [photo.sha256 for photo in find_photos(tmp_path, with_unknown=True).photos if photo.label == 1]
    found = split(tmp_path, disc[:9])
    assert len({(photo.part, photo.fold) for photo in found.photos if photo.sha256 in disc[:9]}) == 1


def test_a_class_of_near_duplicates_alone_can_still_be_split(tmp_path: Path) -> None:
    write_photos(tmp_path, 12)
    disc = [photo.sha256 for photo in find_photos(tmp_path, with_unknown=True).photos if photo.label == 1]
    check_classes(split(tmp_path, disc))


def test_a_given_split_is_used(tmp_path: Path) -> None:
    write_photos(tmp_path / "train", 4, seed=1)
    write_photos(tmp_path / "validation", 2, seed=2)
    found = split(tmp_path)
    assert len(found.of(HELD_OUT)) == 6
    assert all((photo.part == HELD_OUT) == (photo.path.parts[0] == "validation") for photo in found.photos)
    assert found.held_out_name == "validation/"


def test_with_a_test_folder_validation_is_for_choosing(tmp_path: Path) -> None:
    for seed, name in enumerate(("train", "validation", "test")):
        write_photos(tmp_path / name, 3, seed=seed)
    found = split(tmp_path)
    assert {photo.path.parts[0] for photo in found.of(VALIDATION)} == {"validation"}
    assert {photo.path.parts[0] for photo in found.of(HELD_OUT)} == {"test"}
    assert found.held_out_name == "test/"


def test_in_a_given_split_near_duplicates_of_training_photos_are_left_out(tmp_path: Path) -> None:
    write_photos(tmp_path / "train", 4, seed=1)
    write_photos(tmp_path / "validation", 3, seed=2)
    shutil.copy(tmp_path / "train" / "disc" / "1.png", tmp_path / "validation" / "disc" / "same.png")
    first = find_photos(tmp_path, with_unknown=True)
    found = split(tmp_path, [photo.sha256 for photo in first.photos if photo.path.parts[1:] == ("cross", "0.png")])
    assert {photo.path.as_posix() for photo in found.of(LEFT_OUT)} == {
        "validation/cross/0.png",
        "validation/disc/same.png",
    }


def test_every_class_gets_a_held_out_photo_however_small(tmp_path: Path) -> None:
    write_photos(tmp_path, 4)
    found = split(tmp_path)
    check_classes(found)
    for label in range(3):
        assert {photo.part for photo in found.photos if photo.label == label} == {TRAINED_ON, HELD_OUT}


@pytest.mark.parametrize(("count", "left"), [(1, 1), (2, 1), (3, 2)])
def test_too_few_photos_are_refused_with_the_number_needed(tmp_path: Path, count: int, left: int) -> None:
    write_photos(tmp_path, 5)
    for number in range(count, 5):
        (tmp_path / "disc" / f"{number}.png").unlink()
    wanted = (
        "no readable picture left to hold out" if count == 1 else f".* at least 3 different pictures .* found {left} "
    )
    with pytest.raises(DataError, match=f"class disc: {wanted}"):
        check_classes(split(tmp_path))


def test_a_fifth_of_each_class_is_held_out_even_if_photos_come_in_bursts(tmp_path: Path) -> None:
    write_photos(tmp_path, 50)
    photos = find_photos(tmp_path, with_unknown=True).photos
    own = [[photo.sha256 for photo in photos if photo.label == label] for label in range(3)]
    bursts = [sha256s[first : first + 5] for sha256s in own[:2] for first in range(0, 50, 5)]
    found = split(tmp_path, *bursts)
    for label in range(3):
        assert sum(photo.label == label for photo in found.of(HELD_OUT)) == 10


def test_the_unknown_folder_holds_negatives(tmp_path: Path) -> None:
    write_photos(tmp_path, 10)
    (tmp_path / "disc").rename(tmp_path / "unknown")
    found = split(tmp_path)
    assert found.labels == ("cross", "stripes")
    assert len(found.negatives(TRAINED_ON)) + len(found.negatives(HELD_OUT)) == 10
    assert len(found.of(TRAINED_ON, HELD_OUT)) == 20
    # If the model is to have no such output, it is a class like the others.
    assert find_photos(tmp_path, with_unknown=False).labels == ("cross", "stripes", "unknown")


@pytest.mark.parametrize(
    ("train", "others", "held_out"),
    [
        ("train", ["val"], "val"),
        ("Train", ["Valid"], "Valid"),
        ("training", ["VALIDATION"], "VALIDATION"),
        ("train2017", ["val2017", "test2017"], "test2017"),
        ("training_set", ["test_set"], "test_set"),
        ("train", ["valid", "testing"], "testing"),
    ],
)
def test_the_names_people_use_for_splits(tmp_path: Path, train: str, others: list[str], held_out: str) -> None:
    for seed, name in enumerate((train, *others)):
        write_photos(tmp_path / name, 3, seed=seed)
    found = split(tmp_path)
    assert found.labels == ("cross", "disc", "stripes")
    assert {photo.path.parts[0] for photo in found.of(TRAINED_ON)} == {train}
    assert {photo.path.parts[0] for photo in found.of(HELD_OUT)} == {held_out}
    assert len(found.of(VALIDATION)) == 9 * (len(others) - 1)


def test_what_is_left_out_is_said_once_with_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_photos(tmp_path, 2)
    shutil.copy(tmp_path / "disc" / "0.png", tmp_path / "loose.png")
    (tmp_path / "disc" / "gone.jpg").symlink_to("/nowhere/gone.jpg")
    (tmp_path / "disc" / "0.txt").write_text("0 .5 .5 .2 .2")
    for folder in ("__MACOSX/disc", "disc/@eaDir", ".ipynb_checkpoints"):
        write_photos(tmp_path / folder, 1)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("0 .5 .5 .2 .2")
    (tmp_path / "runs" / "old").mkdir(parents=True)
    (tmp_path / "runs" / "old" / "run.json").write_text("{}")
    (tmp_path / "runs" / "old" / "sheet.png").write_bytes(b"x")
    (tmp_path / "self").symlink_to(tmp_path)
    found = find_photos(tmp_path, with_unknown=True)
    assert found.labels == ("cross", "disc", "stripes")
    assert len(found.photos) == 6
    (record,) = caplog.records
    for words in (
        f"1 picture in no class folder (directly in {tmp_path})",
        "1 broken link",
        "1 .txt file",
        "1 folder named __MACOSX",
        "1 folder named @eaDir",
        "1 hidden folder .ipynb_checkpoints",
        "1 folder without pictures (labels)",
        "1 folder that edge-train or edge-convert wrote (runs)",
        "1 link to a folder that it is in",
    ):
        assert words in record.getMessage()


def test_folders_beside_a_split_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train", "val", "originals"):
        write_photos(tmp_path / name, 2)
    find_photos(tmp_path, with_unknown=True)
    assert "1 folder beside train/ (originals)" in caplog.text


def test_names_in_another_unicode_form_are_the_same_class(tmp_path: Path) -> None:
    for seed, (name, form) in enumerate([("train", "NFC"), ("test", "NFD")]):
        write_photos(tmp_path / name, 2, seed=seed)
        (tmp_path / name / "disc").rename(tmp_path / name / unicodedata.normalize(form, "Schlüssel"))
    found = split(tmp_path)
    assert found.labels == (unicodedata.normalize("NFC", "Schlüssel"), "cross", "stripes")
    assert len(found.of(HELD_OUT)) == 6


def test_unknown_in_another_case_holds_negatives_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_photos(tmp_path, 3)
    (tmp_path / "disc").rename(tmp_path / "Unknown")
    found = find_photos(tmp_path, with_unknown=True)
    assert found.labels == ("cross", "stripes")
    assert len(found.negatives(TRAINED_ON)) == 3
    assert "Unknown: taken for unknown/" in caplog.text


def test_a_split_inside_the_classes_is_said_to_be_unused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("train", "test"):
        write_photos(tmp_path / "new", 2)
        for label in ("cross", "disc"):
            (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "new" / label).rename(tmp_path / "photos" / label / part)
    assert len(find_photos(tmp_path / "photos", with_unknown=True).photos) == 8
    assert "test/ and train/ inside" in caplog.text


def make_layout(*folders: str) -> Callable[[Path], None]:
    """One photo in each of these folders."""

    def make(root: Path) -> None:
        picture = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
        for folder in folders:
            (root / folder).mkdir(parents=True)
            (root / folder / "0.png").write_bytes(picture)

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.rmdir(), "no such folder: expected one in which each class has a folder of photos"),
        (lambda _: None, "no class folders"),
        (lambda root: (root / "run.json").touch(), "a run folder, .*: give the folder of photos"),
        (lambda root: (root / "a.tflite").touch(), "a folder of model files, .*: give the folder of photos"),
        (lambda root: write_photos(root, 2, ("disc",)), r"expected at least two classes, found one \(disc\)"),
        (lambda root: (write_photos(root, 2), (root / "empty").mkdir()), "empty: no pictures in this folder"),
        (
            lambda root: (write_photos(root / "train", 2), write_photos(root / "validation", 1, ("disc", "cross"))),
            "stripes: a class in only one of",
        ),
        (make_layout("cup", "keys", "Cup"), '"Cup" and "cup" differ only in case or spaces: join or rename them'),
        (make_layout("my cup", "keys", "my  cup"), '"my  cup" and "my cup" differ only in case or spaces'),
        (
            make_layout("train/cup", "train/keys", "val/Cup", "val/keys"),
            'val: the classes "Cup" and "cup" differ',
        ),
        (make_layout("café", "cafe\u0301"), "two folders of one name"),
        (make_layout("g\udce4nse", "enten"), "a class name that is not UTF-8: rename the folder"),
        (make_layout("train", "val"), "1 picture, but no class folders: train/ and val/ are taken for a split"),
        (make_layout("train/cup", "train/keys", "test"), r"to leave test/ out, give .*train$"),
        (make_layout("train/cup", "training/cup", "val/cup"), "train/ and training/ are the same part of a split"),
        (make_layout("seg_train/cup", "seg_test/cup"), "are seg_test/ and seg_train/ classes, or parts of a split"),
        (make_layout("train/cup", "dev/cup"), "are dev/ and train/ classes, or parts of a split"),
        (make_layout("cup", "keys", "test/cup"), "is test/ a class, or a part of a split"),
        (make_layout("photos/cup", "photos/keys"), r"found one \(photos\): .*or give .*/photos$"),
        (make_layout("images"), "exports for object detection"),
        (lambda root: (root / "a.txt").write_text(""), "no class folders"),
        (
            lambda root: write_photos(root, 1) and (root / "disc" / "0.png").rename(root / "disc" / "0.txt"),
            r"1 .txt file",
        ),
    ],
)
def test_folders_that_cannot_be_trained_on(tmp_path: Path, make, message: str) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    make(root)
    with pytest.raises(DataError, match=message):
        find_photos(root, with_unknown=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("photos.zip", b"PK\3\4", "a zip archive: unpack it, and give the folder"),
        ("photo.jpg", b"\xff\xd8\xff", "one picture: give the folder"),
        ("list.txt", b"a.jpg", "a file, not a folder"),
    ],
)
def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: {message}"):
        find_photos(tmp_path / name, with_unknown=True)


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    make_layout("bus", "car", "train")(tmp_path)
    assert find_photos(tmp_path, with_unknown=True).labels == ("bus", "car", "train")


@pytest.mark.parametrize("arguments", [[], ["-o", "run"], ["-o", "../photos/a/b"]])
def test_a_run_is_never_written_into_the_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    write_photos(tmp_path / "photos", 1)
    monkeypatch.chdir(tmp_path / "photos")
    assert main([".", "--weights", "none", *arguments]) == 2
    assert (
        "is inside the folder of photos: write the run elsewhere, as with -o ../runs/photos" in capfd.readouterr().err
    )
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["cross", "disc", "stripes"]


def test_no_run_folder_is_announced_for_photos_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["photos"]) == 6
    assert capfd.readouterr() == (
        "",
        "error: photos: no such folder: expected one in which each class has a folder of photos\n",
    )


def test_a_photos_name_that_is_not_utf_8_comes_back_from_the_run(tmp_path: Path, command: Command) -> None:
    write_photos(tmp_path / "photos", 6)
    name = os.fsdecode(b"gr\xfcn.png")
    (tmp_path / "photos" / "disc" / "0.png").rename(tmp_path / "photos" / "disc" / name)
    shutil.copy(tmp_path / "photos" / "disc" / name, tmp_path / "photos" / "cross" / name)
    done = command("edge-train", tmp_path / "photos", "-o", tmp_path / "run", *TRAINING)
    assert done.returncode == 0, done.stderr
    files = json.loads((tmp_path / "run" / "run.json").read_text())["photos"]["files"]
    assert f"disc/{name}" in {entry["path"] for entry in files}


def test_negatives_that_cannot_be_read_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("1.jpg", "same.jpg"):
        (tmp_path / name).write_bytes(b"x")
    with open_cache() as database:
        with pytest.raises(DataError, match="--negatives other: none of its pictures can be read"):
            read_negatives(database, {"other": list_pictures(tmp_path)}, None)
        write_photos(tmp_path, 1)
        assert len(read_negatives(database, {"other": list_pictures(tmp_path)}, None)["other"]) == 3
    for name in ("1.jpg", "same.jpg"):
        assert caplog.text.count(f"skipped {tmp_path / name}: not a readable picture") == 2


def test_a_class_with_no_readable_picture_is_named(tmp_path: Path, command) -> None:
    write_photos(tmp_path / "photos", 6)
    for path in (tmp_path / "photos" / "disc").iterdir():
        path.write_bytes(b"no picture " + path.name.encode())
    done = command("edge-train", tmp_path / "photos", "-o", tmp_path / "run", *TRAINING)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1].startswith("error: class disc: no readable picture")
    assert not (tmp_path / "run" / "run.json").exists()
