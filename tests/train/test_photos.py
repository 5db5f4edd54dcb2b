"""Folders of photos as people have them: what is found, how it is split, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import TRAINING, write_photos
from edge_classify import DataError
from edge_train.photos import check_classes, find_photos, fingerprint


def test_the_split_goes_by_content(tmp_path: Path) -> None:
    first = write_photos(tmp_path / "a", 30)
    labels, photos, skipped = find_photos(first, with_unknown=True)
    assert labels == ("cross", "disc", "stripes")
    assert len(photos) == 90
    assert skipped == []
    assert 8 <= sum(photo.held_out for photo in photos) <= 30

    # Renamed, moved and joined by a copy: every photo stays on its side.
    for path in sorted(first.rglob("*.png")):
        path.rename(path.with_name(f"holiday {path.name}"))
    shutil.copy(first / "disc" / "holiday 3.png", first / "disc" / "copy of 3.png")
    _, again, _ = find_photos(first.rename(tmp_path / "b"), with_unknown=True)
    sides = {photo.sha256: photo.held_out for photo in photos}
    assert len(again) == 91
    assert all(sides[photo.sha256] == photo.held_out for photo in again)
    assert fingerprint([photo for photo in again if "copy" not in photo.path.name]) == fingerprint(photos)


def test_a_given_split_is_used(tmp_path: Path) -> None:
    write_photos(tmp_path / "train", 4, seed=1)
    write_photos(tmp_path / "validation", 2, seed=2)
    _, photos, _ = find_photos(tmp_path, with_unknown=True)
    assert sum(photo.held_out for photo in photos) == 6
    assert all(photo.held_out == (photo.path.parts[0] == "validation") for photo in photos)


def test_every_class_gets_a_held_out_photo_however_small(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    labels, photos, _ = find_photos(tmp_path, with_unknown=True)
    check_classes(labels, photos)
    for label in range(3):
        assert {photo.held_out for photo in photos if photo.label == label} == {False, True}


def test_other_files_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_photos(tmp_path, 2)
    (tmp_path / "disc" / "IMG_1.HEIC").write_bytes(b"x")
    (tmp_path / "disc" / ".DS_Store").write_bytes(b"x")
    _, photos, _ = find_photos(tmp_path, with_unknown=True)
    assert len(photos) == 6
    assert "1 .heic" in caplog.text
    assert "DS_Store" not in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.rmdir(), "there is no such folder of photos"),
        (lambda _: None, "no class folders in it"),
        (lambda root: write_photos(root, 2, ("disc",)), r"only one class \(disc\)"),
        (lambda root: (write_photos(root, 2), (root / "empty").mkdir()), "empty: no pictures in this folder"),
        (lambda root: (write_photos(root, 2), (root / "disc").rename(root / "unknown")), "an output of that name"),
        (
            lambda root: (write_photos(root / "train", 2), write_photos(root / "validation", 1, ("disc", "cross"))),
            "stripes: a class in only one of",
        ),
    ],
)
def test_folders_that_cannot_be_trained_on(tmp_path: Path, make, message: str) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    make(root)
    with pytest.raises(DataError, match=message):
        find_photos(root, with_unknown=True)


def test_a_class_may_be_called_unknown_where_the_model_has_no_such_output(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    (tmp_path / "disc").rename(tmp_path / "unknown")
    assert find_photos(tmp_path, with_unknown=False)[0] == ("cross", "stripes", "unknown")


def test_a_class_with_no_readable_picture_is_named(tmp_path: Path, command) -> None:
    write_photos(tmp_path / "photos", 6)
    for path in (tmp_path / "photos" / "disc").iterdir():
        path.write_bytes(b"no picture " + path.name.encode())
    done = command("edge-train", tmp_path / "photos", "-o", tmp_path / "run", *TRAINING)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1].startswith("error: class disc: no picture that can be read")
    assert not (tmp_path / "run" / "run.json").exists()
