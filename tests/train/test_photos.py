"""Folders of photos as people have them: what is found, how it is split, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from conftest import TRAINING, write_photos
from edge_classify import DataError
from edge_train.photos import HELD_OUT, LEFT_OUT, VALIDATION, find_photos, fingerprint
from edge_train.photos import TRAINING as TRAINED_ON
from edge_train.split import check_classes, split_photos


def split(root: Path, *alike: Sequence[str], with_unknown: bool = True):
    """alike: groups of photos that are near-duplicates of each other, by sha256."""
    found = find_photos(root, with_unknown=with_unknown)
    groups = {photo.sha256: photo.sha256 for photo in found.photos}
    for group in alike:
        groups |= dict.fromkeys(group, min(group))
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
    assert fingerprint(photo for photo in again.photos if "copy" not in photo.path.name) == fingerprint(found.photos)


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


def test_other_files_are_ignored_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_photos(tmp_path, 2)
    (tmp_path / "disc" / "IMG_1.HEIC").write_bytes(b"x")
    (tmp_path / "disc" / ".DS_Store").write_bytes(b"x")
    assert len(find_photos(tmp_path, with_unknown=True).photos) == 6
    assert "1 .heic" in caplog.text
    assert "DS_Store" not in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.rmdir(), "no such folder of photos"),
        (lambda _: None, "no class folders"),
        (lambda root: write_photos(root, 2, ("disc",)), r"expected at least two classes, found one \(disc\)"),
        (lambda root: (write_photos(root, 2), (root / "empty").mkdir()), "empty: no pictures in this folder"),
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


def test_a_class_with_no_readable_picture_is_named(tmp_path: Path, command) -> None:
    write_photos(tmp_path / "photos", 6)
    for path in (tmp_path / "photos" / "disc").iterdir():
        path.write_bytes(b"no picture " + path.name.encode())
    done = command("edge-train", tmp_path / "photos", "-o", tmp_path / "run", *TRAINING)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1].startswith("error: class disc: no readable picture")
    assert not (tmp_path / "run" / "run.json").exists()
