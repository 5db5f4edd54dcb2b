"""Other people's model files: each of those in tests/cases/models has one property that exports have.

Most tell how bright a picture is: dark, middle, bright. A wrong scaling of the input gives a wrong label.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import ROOT, Command
from edge_classify import Classifier, ModelFileError, UsageError, read_photo
from edge_classify.model import input_scaling
from edge_classify.model.interpreter import BUILTIN_MODEL, GraphStart
from edge_classify.model.model_file import read_model_file

MODELS = ROOT / "tests" / "cases" / "models"
LABELS = ("dark", "middle", "bright")


def answers(classifier: Classifier) -> tuple[str, ...]:
    """Its labels for a dark, a middle and a bright picture."""
    noise = np.random.default_rng(1).integers(-20, 20, (60, 80, 3))
    return tuple(classifier.classify((level + noise).astype(np.uint8)).label for level in (25, 128, 230))


@pytest.mark.parametrize(
    "name",
    ["mids_en", "named_only", "perchannel", "scale_0_255", "imagenet_mean_std", "dynamic_hw", "uint8_cast"],
)
def test_pictures_are_scaled_as_the_file_shows(name: str) -> None:
    assert answers(Classifier(MODELS / f"{name}.tflite", labels=LABELS)) == LABELS


def test_each_channel_has_its_own_normalization() -> None:
    normalization = read_model_file(MODELS / "perchannel.tflite").normalization
    assert normalization is not None
    table = input_scaling.table(normalization, np.dtype(np.float32), None)
    assert table is not None
    assert table[0, 0] == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], abs=0.01)
    assert table[0, 255] == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], abs=0.01)


def test_metadata_with_ids_and_names_shows_the_names() -> None:
    assert Classifier(MODELS / "mids_en.tflite").labels == LABELS


def test_a_label_file_that_is_not_attached() -> None:
    with pytest.raises(
        ModelFileError, match=r"names the label file 'labels.txt', which is not attached.*--labels FILE"
    ):
        Classifier(MODELS / "named_only.tflite")


def test_a_scale_that_the_file_does_not_show_is_assumed_aloud_and_can_be_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = MODELS / "scale_0_1.tflite"
    assert answers(Classifier(path, labels=LABELS)) != LABELS
    assert "assuming pixels as -1..1; change it with --input-range" in caplog.text
    caplog.clear()
    assert answers(Classifier(path, labels=LABELS, input_range="0..1")) == LABELS
    assert not caplog.text
    assert answers(Classifier(MODELS / "scale_0_255.tflite", labels=LABELS, input_range="0..1")) == ("dark",) * 3
    with pytest.raises(UsageError, match=r"input_range is '1..2': expected one of"):
        Classifier(path, labels=LABELS, input_range="1..2")
    with pytest.raises(UsageError, match=r"says itself .*: leave out the input range"):
        Classifier(BUILTIN_MODEL, input_range="0..1")


@pytest.mark.parametrize(
    ("factor", "offset", "name"),
    [
        (1 / 127.5, -1.0, "0..255"),
        (1 / 255, 0.0, "0..255"),
        (2.0, -1.0, "0..1"),
        (255.0, 0.0, "0..1"),
        ([1 / 0.229, 1 / 0.224, 1 / 0.225], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], "0..1"),
        ([1 / 58.395, 1 / 57.12, 1 / 57.375], [-2.1179, -2.0357, -1.8044], "0..255"),
        (1.0, [-123.68, -116.78, -103.94], "0..255"),
        (0.5, 0.5, "-1..1"),
        (127.5, 127.5, "-1..1"),
        (1.0, 0.0, None),
        (3.0, 0.7, None),
    ],
)
def test_rescaling_in_the_graph_shows_the_range(factor: float, offset: float, name: str | None) -> None:
    start = GraphStart(np.atleast_1d(factor), np.atleast_1d(offset), None)
    assert input_scaling.from_graph(start) == name


def test_a_quantized_input_that_does_not_cover_all_pixels(caplog: pytest.LogCaptureFixture) -> None:
    path = MODELS / "uint8_dark_photos.tflite"  # 0 to 0.5
    assert answers(Classifier(path, labels=LABELS)) == ("dark", "middle", "middle")
    assert (
        "its quantized input covers 0 to 0.5: assuming pixels as 0..1, and cutting off what is outside" in caplog.text
    )


def test_outputs_are_probabilities_or_made_so() -> None:
    classifier = Classifier(MODELS / "small_logits.tflite", labels=("dark", "bright"), top_k=2)
    for level in (0, 128, 255):
        scores = classifier.probabilities(np.full((40, 40, 3), level, np.uint8))
        assert scores.min() >= 0
        assert scores.sum() == pytest.approx(1)


def test_logits_that_show_only_later(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    monkeypatch.setattr("edge_classify.model.classifier._probes", lambda *_: [grey, grey])
    classifier = Classifier(MODELS / "small_logits.tflite", labels=("dark", "bright"))
    assert classifier.classify(np.zeros((32, 32, 3), np.uint8)).score == pytest.approx(0.98, abs=0.02)
    assert "treating them as logits (softmax) from now on" in caplog.text


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ModelFileError, match=r"nan.tflite: its scores are not numbers \(NaN or infinite\)"):
        Classifier(MODELS / "nan.tflite", labels=LABELS)


def test_one_output_between_two_labels() -> None:
    path = MODELS / "one_sigmoid.tflite"
    classifier = Classifier(path, labels=("dark", "bright"), top_k=2)
    assert answers(classifier)[::2] == ("dark", "bright")
    assert classifier.probabilities(np.full((9, 9, 3), 255, np.uint8)) == pytest.approx([0, 1], abs=0.01)
    with pytest.raises(ModelFileError, match="it has one output, which needs two labels"):
        Classifier(path)
    with pytest.raises(ModelFileError, match="3 labels for 2 outputs"):
        Classifier(path, labels=LABELS)


def test_an_input_of_any_size(caplog: pytest.LogCaptureFixture) -> None:
    path = MODELS / "dynamic_hw.tflite"
    assert Classifier(path, labels=LABELS).input_size == (224, 224)
    assert "takes pictures of any size: assuming 224x224; change it with --input-size WxH" in caplog.text
    classifier = Classifier(path, labels=LABELS, input_size=(48, 64))
    assert classifier.input_size == (48, 64)
    assert answers(classifier) == LABELS
    with pytest.raises(UsageError, match="its input size is fixed, 32x32"):
        Classifier(MODELS / "uint8_cast.tflite", labels=LABELS, input_size=(48, 48))


def test_what_is_not_one_picture_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelFileError, match=r"not for single colour pictures: it has 2 inputs \(\[1, 32, 32, 3\]"):
        Classifier(MODELS / "two_inputs.tflite")


def test_the_background_output_is_named_when_labels_do_not_fit() -> None:
    with pytest.raises(ModelFileError, match="2 labels for 3 outputs: if its first output means background, put the"):
        Classifier(MODELS / "uint8_cast.tflite", labels=LABELS[1:])
    with pytest.raises(ModelFileError, match="4 labels for 3 outputs: if the first label is background or a heading"):
        Classifier(MODELS / "uint8_cast.tflite", labels=("background", *LABELS))


@pytest.mark.parametrize("name", [b"mod\xe8le.tflite", "k\u00e4tzchen.tflite".encode()])
def test_file_names_are_bytes(name: bytes, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    shutil.copy(MODELS / "uint8_cast.tflite", path)
    assert answers(Classifier(path, labels=LABELS)) == LABELS
    shutil.copy(BUILTIN_MODEL, path)
    assert Classifier(path).labels == Classifier().labels


def test_options_of_the_command(command: Command, tmp_path: Path) -> None:
    picture = tmp_path / "middle.png"
    cv2.imwrite(str(picture), np.full((40, 40, 3), 128, np.uint8))
    labels = tmp_path / "labels.txt"
    labels.write_text("2: bright\n0: dark\n1: middle\n")
    words = [picture, "--labels", labels, "--model"]
    assert ": dark " in command("edge-classify", *words, MODELS / "scale_0_1.tflite", "--input-range", "-1..1").stdout
    assert ": middle " in command("edge-classify", *words, MODELS / "scale_0_1.tflite", "--input-range", "0..1").stdout
    assert ": middle " in command("edge-classify", *words, MODELS / "dynamic_hw.tflite", "--input-size", "64x48").stdout
    done = command("edge-classify", picture, "--input-range", "0..1")
    assert "for third-party models: name one with --model FILE" in done.stderr


def test_our_own_files_and_real_ones_answer_as_before(data: Path) -> None:
    for name in ("tf2_mobilenet_v2_1.0_224_ptq", "mobilenet_v2_1.0_224_quant"):
        classifier = Classifier(data / "models" / f"{name}.tflite", labels=data / "models" / "imagenet_labels.txt")
        assert not classifier.assumptions
        for picture, label in {"parrot.jpg": "macaw", "cat.bmp": "Egyptian cat", "sunflower.bmp": "daisy"}.items():
            assert classifier.classify(read_photo(data / "data" / picture)).label == label
