"""A model file that was trained on a part of the picture: the device cuts it out by itself."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_model_file import rebuild, split

from conftest import draw_photo
from edge_classify import Classifier, ModelFileError, SelfTestError
from edge_classify.cli import main
from edge_classify.model.model_file import read_model_file
from edge_classify.model.self_test import prepare_card
from edge_classify.pipeline.loop import classify_frames
from edge_classify.pipeline.stillness import Stillness
from edge_classify.sources.frame import Frame

CROP = (0.5, 0.25, 0.25, 0.5)


def with_crop(model: Path, path: Path, crop: object, *, card: bool = True) -> Path:
    """A copy of the model file that says it was trained on this part. card: its self-test was recorded with it."""
    data = model.read_bytes()
    contract = json.loads(split(data)[1]["edge.json"])
    contract["preprocess"]["crop"] = crop
    changed = {"edge": json.dumps(contract).encode()}
    if card:
        prepared = prepare_card(contract["test_card"]["variant"], 96, 96, CROP)
        changed["test_card"] = cv2.imencode(".png", prepared[..., ::-1])[1].tobytes()
    path.write_bytes(rebuild(data, **changed))
    return path


@pytest.fixture
def cropped_model(int8_model: Path, tmp_path: Path) -> Path:
    return with_crop(int8_model, tmp_path / "cropped.tflite", CROP)


@pytest.fixture
def frame() -> np.ndarray:
    """A disc in the part, 640×480 BGR, and stripes around it."""
    frame = cv2.resize(draw_photo("stripes", np.random.default_rng(1)), (640, 480))
    frame[120:360, 320:480] = cv2.resize(draw_photo("disc", np.random.default_rng(2)), (160, 240))
    return frame


def test_the_part_is_cut_out_of_each_frame(cropped_model: Path, int8_model: Path, frame: np.ndarray) -> None:
    cropped, whole = Classifier(cropped_model), Classifier(int8_model)
    expected = whole.probabilities(frame[120:360, 320:480])
    assert (cropped.probabilities(frame) == expected).all()
    assert (cropped.classify(frame).scores == expected).all()
    assert (whole.probabilities(frame) != expected).any()


def test_two_models_at_one_camera_each_see_their_part(cropped_model: Path, int8_model: Path, frame: np.ndarray) -> None:
    other = Classifier(int8_model)
    other.crop = (0, 0, 1, 0.25)
    before = frame.copy()
    answers = [classifier.probabilities(frame) for classifier in (Classifier(cropped_model), other)]
    plain = Classifier(int8_model)
    parts = (frame[120:360, 320:480], frame[:120])
    assert all((answer == plain.probabilities(part)).all() for answer, part in zip(answers, parts, strict=True))
    assert (frame == before).all()


def test_a_self_test_of_another_part_fails(int8_model: Path, tmp_path: Path) -> None:
    path = with_crop(int8_model, tmp_path / "model.tflite", CROP, card=False)
    with pytest.raises(SelfTestError, match="preprocesses images differently"):
        Classifier(path)


@pytest.mark.parametrize("crop", [[0.5, 0.5, 0.6, 0.5], [0, 0, 0, 1], [0.1, 0.1, 0.5], "0,0,1,1", [0, 0, 1, True]])
def test_a_part_that_is_none_is_damage(int8_model: Path, tmp_path: Path, crop: object) -> None:
    path = with_crop(int8_model, tmp_path / "model.tflite", crop)
    with pytest.raises(ModelFileError, match=r"preprocess\.crop: .*: copy it again"):
        read_model_file(path)


def test_the_command_says_which_part_and_another_is_used_with_a_warning(
    cropped_model: Path, int8_model: Path, frame: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), frame)

    def said(*options: object) -> tuple[str, list[str]]:
        code = main([str(picture), *map(str, options), "--json"])
        said = capfd.readouterr()
        assert code == 0, said.err
        return said.err, json.loads(said.out)["categories"]

    own, categories = said("--model", cropped_model)
    assert "on the part 0.5,0.25,0.25,0.5 of the picture" in own
    assert "warning" not in own
    same, by_hand = said("--model", int8_model, "--crop", "0.5,0.25,0.25,0.5")
    assert by_hand == categories
    assert "warning" not in same
    assert "warning" not in said("--model", cropped_model, "--crop", "0.5,0.25,0.25,0.5")[0]
    other, of_other = said("--model", cropped_model, "--crop", "0,0,1,1")
    (warning,) = [line for line in other.splitlines() if line.startswith("warning")]
    assert "measured on the part 0.5,0.25,0.25,0.5 of the picture, and is used on 0,0,1,1 (--crop)" in warning
    assert of_other == said("--model", int8_model)[1]


def test_too_few_pixels_are_told_once(cropped_model: Path, frame: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    classifier = Classifier(cropped_model)
    with caplog.at_level(logging.WARNING):
        classifier.classify(frame)
        assert caplog.messages == []
        for _ in range(2):
            classifier.classify(cv2.resize(frame, (320, 240)))
    (message,) = caplog.messages
    assert "80x120 pixels, fewer than the model takes (96x96)" in message


def test_only_the_part_decides_whether_a_picture_is_still(cropped_model: Path, frame: np.ndarray) -> None:
    moving, frames = (400, 200), []
    for number in range(30):
        image = frame.copy()
        image[:100] = 8 * number  # outside: not looked at
        if number >= 20:
            cv2.circle(image, moving, 25, (255, 255, 255), -1)
        frames.append(Frame(image, number, number / 100, "frames"))
    results = list(classify_frames(frames, Classifier(cropped_model), stillness=Stillness()))
    still = [result.still for result in results]
    assert all(still[9:20])
    assert not still[20]
