"""Photos → run → model files → labels, on real photos and weights where they are at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_classify import Classifier, read_photo
from edge_classify.learn.metrics import auroc


@pytest.fixture(scope="module")
def alien_vs_predator(data: Path, tmp_path_factory: pytest.TempPathFactory, command) -> Path:
    """The int8 file of Alien vs Predator at 0.35@96, made as the README says."""
    folder = tmp_path_factory.mktemp("alien_vs_predator")
    photos, weights = data / "data" / "alien_vs_predator", data / "weights"
    done = command(
        "edge-train", photos, "-o", folder / "run", "--weights", weights, "--alpha", 0.35, "--resolution", 96
    )
    assert done.returncode == 0, done.stderr
    done = command("edge-convert", folder / "run", "-o", folder / "models", "--precision", "int8")
    assert done.returncode == 0, done.stderr
    return folder / "models"


def test_real_photos_are_told_apart_and_strangers_refused(alien_vs_predator: Path, data: Path) -> None:
    classifier = Classifier(alien_vs_predator / "mobilenet_v2_0.35_96_int8.tflite")
    assert classifier.labels == ("alien", "predator", "unknown")
    folder = data / "data" / "alien_vs_predator" / "validation"
    known, right, kept = [], [], []
    for index, label in enumerate(("alien", "predator")):
        for path in sorted((folder / label).iterdir()):
            scores = classifier.probabilities(read_photo(path))
            right.append(scores[:2].argmax() == index)
            kept.append(scores.argmax() != 2)
            known.append(1 - scores[2])
    strangers = sorted((data / "data" / "flowers" / "validation").rglob("*.jpg"))
    strange = [1 - classifier.probabilities(read_photo(path))[2] for path in strangers]
    assert len(right) == 200
    assert len(strange) == 300
    assert np.mean(right) >= 0.88
    assert np.mean(kept) >= 0.93
    assert auroc(np.array(known), np.array(strange)) >= 0.97


def test_a_camera_feed_of_real_pictures(alien_vs_predator: Path, data: Path, command) -> None:
    feed = data / "video" / "derived_avp_validation_feed.avi"
    model = alien_vs_predator / "mobilenet_v2_0.35_96_int8.tflite"
    # Each frame's own answer: a state follows five frames later, which is half of a picture here.
    done = command("edge-classify", feed, "--model", model, "--json", "--fast", "--smoothing", 0)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    truth = [line.split(",")[1] for line in feed.with_suffix(".labels.csv").read_text().splitlines()[1:]]
    assert len(results) == len(truth) == 240
    told = [(line["state"], label) for line, label in zip(results, truth, strict=True) if line["state"] != "unknown"]
    assert len(told) >= 160
    # Ten frames each of only 24 pictures: one picture is four points.
    assert np.mean([state == label for state, label in told]) >= 0.75


def test_photos_in_the_wrong_folder_are_suspected(data: Path, tmp_path: Path, command) -> None:
    flowers = data / "data" / "flowers" / "train"
    wrong = []
    for label in ("sunflowers", "daisy"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number, path in enumerate(sorted((flowers / label).iterdir())[:80]):
            moved = label == "daisy" and number % 10 == 0
            target = tmp_path / "photos" / ("sunflowers" if moved else label) / f"{label} {number}{path.suffix}"
            shutil.copy(path, target)
            wrong += [target.relative_to(tmp_path / "photos").as_posix()] if moved else []
    arguments = ("--weights", data / "weights", "--alpha", 0.35, "--resolution", 224, "--check")
    done = command("edge-train", tmp_path / "photos", "-o", tmp_path / "run", *arguments)
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "run" / "photo_check.json").read_text())
    suspects = {suspect["path"] for suspect in index["suspects"]}
    assert len(suspects & set(wrong)) >= 3
    assert len(suspects - set(wrong)) <= 4
    assert f"to look at: {tmp_path / 'run' / 'photo_check.html'}" in done.stdout
    sheet = (tmp_path / "run" / "photo_check.html").read_text()
    assert all(path in sheet for path in suspects)
