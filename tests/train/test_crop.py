"""`edge-train --crop`: the part of the picture goes from the photos to the device, and can be found by itself."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import BACKBONE_NAME, LEARNING, Command, draw_photo, write_photos
from edge_classify import Classifier, UsageError, read_photo
from edge_classify.images.crop import Crop, cut, make_crop
from edge_classify.images.preprocessing import preprocess
from edge_classify.learn.photos.photo_set import find_photos
from edge_classify.model.model_file import read_model_file
from edge_train.cache import open_cache
from edge_train.cli import make_parser
from edge_train.crop_search import find_crop
from edge_train.settings import Settings
from edge_train.training import sort_photos

# Of pictures of 320×240: where the thing may be.
_REACH = (48, 120, 112, 200)
_BLOCKS = np.random.default_rng(7).integers(30, 220, (12, 16, 3), dtype=np.uint8)
_SCENE = cv2.resize(_BLOCKS, (320, 240), interpolation=cv2.INTER_CUBIC).astype(np.float32)
_NOISE = np.random.default_rng(8).normal(0, 4, (480, 640, 3)).astype(np.float32)


def take_photo(rng: np.random.Generator, time: float, *, thing: bool) -> np.ndarray:
    """A scene full of edges, 320×240 BGR, in changing light, at a time of day (0 to 1): a shadow moves over it.

    Now and then somebody walks through the upper part of it. The thing is 16 pixels wide, a twentieth of the picture.
    """
    light = rng.uniform(0.9, 1.1) * (1 - 0.25 / (1 + np.exp(-(np.arange(320)[None, :, None] / 320 - time) * 10)))
    y, x = rng.integers(0, (240, 320))
    noise = _NOISE[y : y + 240, x : x + 320]
    image = np.clip(_SCENE * light.astype(np.float32) + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        x = int(rng.integers(0, 290))
        cv2.rectangle(image, (x, 5), (x + 25, 55), tuple(int(value) for value in rng.integers(0, 255, 3)), -1)
    if thing:
        left, top, right, bottom = _REACH
        centre = (int(rng.integers(left + 8, right - 8)), int(rng.integers(top + 8, bottom - 8)))
        cv2.circle(image, centre, 8, (30, 60, 200), -1)
    return image


def write_still_photos(root: Path, each: int, *, thing: bool = True) -> Path:
    """Photos of the empty scene and of the thing in it, with a hand over a corner in two photos."""
    rng = np.random.default_rng(0)
    for label in ("empty", "thing"):
        (root / label).mkdir(parents=True)
        for number in range(each):
            image = take_photo(rng, number / each, thing=thing and label == "thing")
            if label == "thing" and number in (each // 3, each // 2):
                cv2.rectangle(image, (230, 150), (320, 240), (120, 140, 190), -1)
            assert cv2.imwrite(str(root / label / f"{number}.bmp"), image)
    return root


def test_the_part_in_which_classes_differ_is_found(tmp_path: Path) -> None:
    lines: list[str] = []
    found = find_photos(write_still_photos(tmp_path, 60), with_unknown=True)
    dealt = tuple(replace(photo, fold=int(photo.path.stem) * 5 // 60) for photo in found.photos)
    crop = find_crop(tmp_path, replace(found, photos=dealt, still_camera=True), 32, lines.append)
    assert crop is not None
    (line,) = lines
    assert line.endswith(f"to use it again: --crop {crop}")
    x, y, right, bottom = crop.x * 320, crop.y * 240, (crop.x + crop.width) * 320, (crop.y + crop.height) * 240
    left_edge, top_edge, right_edge, bottom_edge = _REACH
    # All of where the thing may be, and not much more: neither those who walk by nor the hand.
    assert left_edge - 24 < x <= left_edge + 2
    assert top_edge - 24 < y <= top_edge + 2
    assert right_edge - 2 <= right < right_edge + 24
    assert bottom_edge - 2 <= bottom < bottom_edge + 24


@pytest.mark.slow
def test_the_part_that_was_found_is_used_of_all_photos(tmp_path: Path) -> None:
    with open_cache() as cache:
        photos, _ = sort_photos(cache, write_still_photos(tmp_path, 60), Settings(crop="auto"))
    assert photos.still_camera
    assert photos.crop is not None
    assert {photo.crop for photo in photos.photos} == {photos.crop}


def test_if_nothing_differs_or_the_camera_moved_it_is_the_whole_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    roots = write_still_photos(tmp_path / "same", 20, thing=False), write_photos(tmp_path / "many", 12)
    reasons = ("no part was found in which the classes differ", "not of one camera that does not move")
    for root, reason in zip(roots, reasons, strict=True):
        caplog.clear()
        with open_cache() as cache, caplog.at_level(logging.WARNING):
            photos, _ = sort_photos(cache, root, Settings(crop="auto"))
        assert photos.crop is None
        assert reason in caplog.text
        assert "using the whole picture" in caplog.text


def test_photos_that_differ_only_outside_the_part_are_alike(tmp_path: Path) -> None:
    """So they go to one side of the split: for the model they are one photo."""
    rng = np.random.default_rng(3)
    for number in range(12):
        image = draw_photo("disc" if number % 3 else "cross", rng)
        for copy in range(2):
            image[:, 120:] = rng.integers(0, 255, (120, 40, 3))
            path = tmp_path / ("a" if number % 3 else "b") / f"{number}_{copy}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), image)
    with open_cache() as cache:
        photos, alike = sort_photos(cache, tmp_path, Settings(crop=Crop(0, 0, 0.75, 1)))
    by_name = {photo.path.name: photo for photo in photos.photos}
    for number in range(12):
        pair = [by_name[f"{number}_{copy}.png"] for copy in range(2)]
        assert pair[0].part == pair[1].part
        assert alike.groups[pair[0].sha256] == alike.groups[pair[1].sha256]


@pytest.mark.parametrize("text", ["0.5,0,0.6,1", "1,0.2", "a,b,c,d", "0,0,0,1", "0,0,nan,1"])
def test_an_impossible_part_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(["photos", "--crop", text])
    assert ended.value.code == UsageError.exit_code
    assert capsys.readouterr().err.startswith("error: --crop: ")


def test_the_part_goes_from_the_photos_to_the_device(backbones: Path, tmp_path: Path, command: Command) -> None:
    """A shape in a quarter of the picture, and noise around it that says nothing."""
    rng = np.random.default_rng(4)
    for kind in ("cross", "disc", "stripes"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(30):
            frame = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
            frame[60:180, 80:240] = draw_photo(kind, rng)
            cv2.imwrite(str(tmp_path / "photos" / kind / f"{number}.png"), frame)
    run, models = tmp_path / "run", tmp_path / "models"
    words = ("--backbone", backbones / BACKBONE_NAME, *LEARNING, "--crop", "0.25,0.25,0.5,0.5")
    done = command("edge-train", tmp_path / "photos", "-o", run, *words)
    assert done.returncode == 0, done.stderr
    index = json.loads((run / "run.json").read_text())
    assert index["crop"] == index["arguments"]["crop"] == [0.25, 0.25, 0.5, 0.5]
    assert index["format"] == 9
    held_out = [tmp_path / "photos" / file["path"] for file in index["photos"]["files"] if file["part"] == "held_out"]
    prepared = np.load(run / "prepared" / "96_held_out.npy")
    crop = make_crop(index["crop"])
    for photo, path in zip(prepared, held_out, strict=True):
        assert (photo == preprocess(cut(read_photo(path), crop), np.empty_like(photo))).all()
    assert "--crop 0.25,0.25,0.5,0.5" in (run / "report.html").read_text()
    assert index["cells"][0]["evaluation"]["accuracy"] > 0.6

    done = command("edge-convert", run, "-o", models, "--max-drop", 25, "--max-accepted", 100, "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert "--crop 0.25,0.25,0.5,0.5" in (models / "report.html").read_text()
    assert command("edge-convert", "--verify", models).returncode == 0
    path = models / "mobilenet_v2_0.35_96_int8.tflite"
    contract = read_model_file(path).contract
    assert contract is not None
    assert contract["preprocess"]["crop"] == [0.25, 0.25, 0.5, 0.5]
    # The recorded figures are those of the device on whole frames.
    classifier = Classifier(path)
    shown = [classifier.classify(read_photo(photo)).label for photo in held_out]
    right = np.mean([label == photo.parent.name for label, photo in zip(shown, held_out, strict=True)])
    assert right == contract["evaluation"]["accuracy_with_unknown"]
