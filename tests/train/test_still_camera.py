"""Photos that are alike: near-duplicates, the same picture twice, and a camera that does not move."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import draw_photo, write_photos
from edge_classify.learn.photos.near_duplicates import MAX_COPIES, are_same_picture, find_near_duplicates
from edge_classify.learn.photos.photo_set import HELD_OUT, TRAINING, Photo, PhotoSet, find_photos
from edge_train.cache import open_cache
from edge_train.photo_check import check_photos
from edge_train.photo_columns import as_columns
from edge_train.photo_facts import collect_facts, read_cached_facts
from edge_train.settings import Settings
from edge_train.split import check_classes, split_photos
from edge_train.still_camera import is_still_camera, sort_by_time
from edge_train.training import sort_photos
from edge_train.training_run import TrainingRun


def scene() -> np.ndarray:
    """A place full of edges, 320×240 BGR."""
    rng = np.random.default_rng(7)
    blocks = rng.integers(30, 220, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(blocks, (320, 240), interpolation=cv2.INTER_CUBIC)


def take_photo(rng: np.random.Generator, *, mug: bool = False) -> np.ndarray:
    """The scene in its light and noise, with a mug somewhere in it or not."""
    image = scene().astype(np.float32) * rng.uniform(0.9, 1.1) + rng.normal(0, 4, (240, 320, 3))
    if mug:
        x, y = int(rng.integers(40, 280)), int(rng.integers(40, 200))
        cv2.circle(image, (x, y), 17, (30, 60, 200), -1)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_still_photos(root: Path, each: int) -> Path:
    rng = np.random.default_rng(0)
    for label in ("empty", "mug"):
        (root / label).mkdir(parents=True)
        for number in range(each):
            assert cv2.imwrite(str(root / label / f"{number}.jpg"), take_photo(rng, mug=label == "mug"))
    return root


@pytest.fixture
def cache() -> Iterator[sqlite3.Connection]:
    with open_cache() as database:
        yield database


def read(cache: sqlite3.Connection, root: Path) -> PhotoSet:
    found = find_photos(root, with_unknown=True)
    assert collect_facts(cache, root, found.photos) == {}
    return found


def test_photos_of_a_still_camera_are_one_scene_and_no_copies(tmp_path: Path, cache: sqlite3.Connection) -> None:
    found = read(cache, write_still_photos(tmp_path, 25))
    names = sorted({photo.sha256 for photo in found.photos})
    alike = find_near_duplicates(names, read_cached_facts(cache, names))
    assert len(alike.scenes) == 1
    assert alike.pairs == ()
    assert is_still_camera(cache, names)


def test_photos_of_many_places_are_not_of_a_still_camera(tmp_path: Path, cache: sqlite3.Connection) -> None:
    rng = np.random.default_rng(1)
    (tmp_path / "a").mkdir()
    for number in range(25):
        blocks = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "a" / f"{number}.png"), cv2.resize(blocks, (320, 240)))
    write_photos(tmp_path, 20)
    found = read(cache, tmp_path)
    assert not is_still_camera(cache, sorted({photo.sha256 for photo in found.photos}))


def test_groups_do_not_grow_by_chains(tmp_path: Path, cache: sqlite3.Connection) -> None:
    """A slow pan: each photo is like the next, the first is nothing like the last."""
    blocks = np.random.default_rng(3).integers(0, 255, (3, 20, 3), dtype=np.uint8)
    panorama = cv2.resize(blocks, (1600, 240), interpolation=cv2.INTER_CUBIC)
    for label, first in (("left", 0), ("right", 640)):
        (tmp_path / label).mkdir()
        for number in range(30):
            x = first + 8 * number
            cv2.imwrite(str(tmp_path / label / f"{number}.png"), panorama[:, x : x + 320])
    found = read(cache, tmp_path)
    names = sorted({photo.sha256 for photo in found.photos})
    alike = find_near_duplicates(names, read_cached_facts(cache, names))
    assert max(list(alike.groups.values()).count(group) for group in alike.groups.values()) <= MAX_COPIES
    check_classes(split_photos(as_columns(found), alike.first))


CHANGES = {
    "rescaled": lambda image: cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA),
    "recompressed": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1),
    "cut by a little": lambda image: image[6:-4, 8:-8],
    "darker": lambda image: cv2.convertScaleAbs(image, alpha=0.8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_picture_is_known_again(tmp_path: Path, change: str) -> None:
    image = take_photo(np.random.default_rng(2))
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "b.png"), CHANGES[change](image))
    assert are_same_picture(tmp_path / "a.png", tmp_path / "b.png")


def draw_mask(image: np.ndarray, color: tuple[float, ...]) -> np.ndarray:
    """A mask as people wear it, in the middle, over a ninth of the picture's width."""
    height, width = image.shape[:2]
    mask = np.array([(-1, -0.5), (0, -0.7), (1, -0.5), (0.7, 0.7), (0, 1), (-0.7, 0.7)])
    corners = (mask * width / 18 + (width / 2, height / 2)).astype(np.int32)
    return cv2.fillPoly(image.copy(), [corners], color, cv2.LINE_AA)


OTHERS = {
    "a thing": lambda image: cv2.circle(image.copy(), (200, 100), 17, (30, 60, 200), -1),
    "a mask": lambda image: draw_mask(image, (240, 240, 240)),
    "a mask, cut by a little": lambda image: draw_mask(image, (200, 150, 90))[4:-4, 4:-4],
    "a mask of the picture's mean colour, recompressed": lambda image: CHANGES["recompressed"](
        draw_mask(image, cv2.mean(image))
    ),
}


@pytest.mark.parametrize("change", OTHERS)
def test_a_picture_with_a_thing_in_it_is_another_picture(tmp_path: Path, change: str) -> None:
    image = take_photo(np.random.default_rng(2))
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "b.png"), OTHERS[change](image))
    assert not are_same_picture(tmp_path / "a.png", tmp_path / "b.png")


def as_photos(*names: str) -> list[Photo]:
    return [Photo(Path(name), 0, name) for name in names]


def test_photos_are_sorted_by_exif_then_file_times_then_names(tmp_path: Path) -> None:
    names = ("photo10.jpg", "photo9.jpg", "photo1.jpg")
    for number, name in enumerate(names):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2026:01:05 10:{number:02}:00"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name, exif=exif)
        os.utime(tmp_path / name, (1000, 1000))
    photos = as_photos("photo1.jpg", "photo9.jpg", "photo10.jpg")
    ordered, clock = sort_by_time(tmp_path, photos)
    assert ([photos[index].sha256 for index in ordered], clock) == (list(names), "EXIF times")
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name)
        os.utime(tmp_path / name, (1000, 1000))
    ordered, clock = sort_by_time(tmp_path, photos)
    assert ([photos[index].sha256 for index in ordered], clock) == (list(reversed(names)), "file names")
    for number, name in enumerate(names):
        os.utime(tmp_path / name, (1000 + 60 * number, 1000 + 60 * number))
    ordered, clock = sort_by_time(tmp_path, photos)
    assert ([photos[index].sha256 for index in ordered], clock) == (list(names), "file times")


def test_a_still_scene_is_split_by_time(tmp_path: Path, cache: sqlite3.Connection) -> None:
    photos, _ = sort_photos(cache, write_still_photos(tmp_path, 40), Settings())
    assert photos.still_camera
    assert photos.held_out_name == "the last fifth of each class's photos, by file names"
    for label in range(2):
        own = sorted((photo for photo in photos.photos if photo.label == label), key=lambda photo: int(photo.path.stem))
        assert [photo.part for photo in own] == [TRAINING] * 32 + [HELD_OUT] * 8
        folds = [photo.fold for photo in own[:32]]
        assert folds == sorted(folds)
        assert set(folds) == set(range(5))
        # What was taken within a while counts as one photo where chance is judged.
        whiles = [photo.group for photo in own[:32]]
        assert len({*zip(whiles, folds, strict=True)}) == len(set(whiles)) == 20
        assert sum(before != after for before, after in itertools.pairwise(whiles)) == 19


@pytest.mark.parametrize("odd", [1, 3])
def test_few_odd_frames_among_many_alike_are_no_reason_to_refuse(
    tmp_path: Path, cache: sqlite3.Connection, odd: int
) -> None:
    root = write_still_photos(tmp_path, 40)
    rng = np.random.default_rng(5)
    for number in range(odd):
        cv2.imwrite(str(root / "mug" / f"odd {number}.jpg"), draw_photo("disc", rng))
    photos, _ = sort_photos(cache, root, Settings())
    check_classes(photos)


def test_a_given_split_of_a_still_camera_is_kept(tmp_path: Path, cache: sqlite3.Connection) -> None:
    root = write_still_photos(tmp_path / "photos", 30)
    for part, numbers in (("train", range(20)), ("validation", range(20, 30))):
        for label in ("empty", "mug"):
            (tmp_path / "split" / part / label).mkdir(parents=True)
            for number in numbers:
                (root / label / f"{number}.jpg").rename(tmp_path / "split" / part / label / f"{number}.jpg")
    photos, alike = sort_photos(cache, tmp_path / "split", Settings())
    assert len(photos.of(HELD_OUT)) == 20
    assert photos.held_out_name == "validation/"
    run = TrainingRun(tmp_path / "split", tmp_path / "run", Settings(), (), photos)
    told = check_photos(cache, run, alike, 96).summary()
    assert "a camera that does not move took all photos, in both parts of your split" in told
    assert "split by time" not in told


def test_views_that_do_harm_are_left_out_and_own_photos_kept(tmp_path: Path, data: Path, command) -> None:
    photos = write_still_photos(tmp_path / "photos", 100)
    words = ("edge-train", photos, "-o", tmp_path / "run", "--alpha", 0.5, "--resolution", 160)
    done = command(*words, "--weights", data / "weights")
    assert done.returncode == 0, done.stderr
    assert "a camera that does not move" in done.stdout
    assert "views did harm in cross-validation, and were left out for: 0.5 @ 160" in done.stdout
    (cell,) = json.loads((tmp_path / "run" / "run.json").read_text())["cells"]
    assert cell["decision"]["views"] == 0
    assert cell["decision"]["keep"] == 0.99
    assert cell["evaluation"]["accuracy_with_unknown"] >= 0.95
    assert (tmp_path / "run" / "photo_check.json").stat().st_size < 10_000
    again = command(*words[:3], tmp_path / "forced", *words[4:], "--weights", data / "weights", "--views", 3)
    assert "views did harm" not in again.stdout, again.stderr
