"""A classifier on model files of every kind: ours, the built-in one, third-party ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import ROOT, draw_photo
from edge_classify import Classifier, ModelFileError, UsageError, preprocess, read_photo
from edge_classify.sources import demo


def test_the_built_in_model_reads_the_demo() -> None:
    classifier = Classifier()
    scenes = [demo.draw(number) for number in range(0, 105 * 60, 13)]
    answers = [(scene.truth, classifier.classify(scene.image).label) for scene in scenes if scene.truth is not None]
    digits = [truth == label for truth, label in answers if truth != "unknown"]
    strangers = [label == "unknown" for truth, label in answers if truth == "unknown"]
    assert len(digits) > 100
    assert len(strangers) > 50
    assert np.mean(digits) >= 0.95
    assert np.mean(strangers) >= 0.95


def test_the_built_in_model_calls_photos_unknown(data: Path) -> None:
    classifier = Classifier()
    folders = [data / "data" / "flowers" / "validation", data / "data" / "trashnet"]
    pictures = [path for folder in folders for path in sorted(folder.rglob("*.jpg"))[::5]]
    accepted = [classifier.classify(read_photo(path)).label != "unknown" for path in pictures]
    assert len(accepted) > 100
    assert np.mean(accepted) <= 0.1


def test_categories_come_best_first_and_sum_to_one(int8_model: Path, float32_model: Path) -> None:
    photo = draw_photo("disc", np.random.default_rng(5))
    for path in (int8_model, float32_model):
        result = Classifier(path, top_k=99).classify(photo)
        scores = [category.score for category in result.categories]
        names = [category.category_name for category in result.categories]
        assert names[0] == result.label
        assert sorted(names) == ["cross", "disc", "stripes", "unknown"]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=0.02)
        assert [c.index for c in Classifier(path, top_k=2).classify(photo).categories] == [
            category.index for category in result.categories[:2]
        ]


def test_a_prepared_picture_gives_what_it_gave_when_it_was_prepared(int8_model: Path, float32_model: Path) -> None:
    picture = draw_photo("disc", np.random.default_rng(3))
    for model in (int8_model, float32_model):
        classifier = Classifier(model)
        prepared = preprocess(picture, np.empty((*classifier.input_size, 3), np.uint8))
        assert np.array_equal(classifier.infer_prepared(prepared), classifier.infer(picture).outputs)


def test_threads_change_the_time_and_not_the_answer(int8_model: Path) -> None:
    photo = draw_photo("stripes", np.random.default_rng(6))
    single, double = Classifier(int8_model), Classifier(int8_model, num_threads=2)
    assert (single.probabilities(photo) == double.probabilities(photo)).all()


def test_a_score_below_the_threshold_is_unknown(float32_model: Path) -> None:
    photo = draw_photo("cross", np.random.default_rng(7))
    best = Classifier(float32_model).classify(photo)
    assert Classifier(float32_model, threshold=best.score - 0.001).classify(photo).label == best.label
    assert Classifier(float32_model, threshold=min(best.score + 0.001, 1)).classify(photo).label == "unknown"


@pytest.mark.parametrize("option", [{"top_k": 0}, {"num_threads": 0}, {"threshold": 1.5}])
def test_arguments_out_of_range(option: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(option))} is .*: expected "):
        Classifier(**option)  # type: ignore[arg-type]


def test_labels_that_do_not_fit_the_outputs(int8_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="2 labels for 4 outputs"):
        Classifier(int8_model, labels=["one", "two"])
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    with pytest.raises(ModelFileError, match="5 labels for 4 outputs"):
        Classifier(int8_model, labels=tmp_path / "labels.txt")


@pytest.mark.parametrize("output", ["logits", "probabilities"])
@pytest.mark.parametrize("input_type", ["float32", "int8", "uint8"])
def test_a_third_party_file_with_any_input_and_output(input_type: str, output: str) -> None:
    path = ROOT / "tests" / "models" / "colors" / f"{input_type}_{output}.tflite"
    classifier = Classifier(path, labels=["red", "green", "blue"], top_k=3)
    for label, color in {"red": (20, 30, 250), "green": (40, 230, 20), "blue": (255, 10, 0)}.items():
        result = classifier.classify(np.full((48, 64, 3), color, np.uint8))
        assert result.label == label
        assert result.score > 0.9
        assert sum(category.score for category in result.categories) == pytest.approx(1, abs=0.03)


def test_third_party_files_recognise_a_macaw(data: Path) -> None:
    parrot = read_photo(data / "data" / "parrot.jpg")
    for name in (
        "tf2_mobilenet_v2_1.0_224_ptq",
        "mobilenet_v2_1.0_224_quant",
        "mobilenet_v1_0.25_224_quant_with_metadata",
    ):
        path = data / "models" / f"{name}.tflite"
        assert Classifier(path).classify(parrot).label == "macaw"
        given = Classifier(path, labels=data / "models" / "imagenet_labels.txt")
        assert given.classify(parrot).label == "macaw"


def test_a_model_that_is_not_a_classifier_is_refused(data: Path) -> None:
    with pytest.raises(ModelFileError, match="not a classifier"):
        Classifier(data / "models" / "mobilenet_v2_035_96_embedder_with_metadata.tflite")


def test_one_classifier_serves_frames_of_any_size(int8_model: Path) -> None:
    classifier = Classifier(int8_model)
    photo = draw_photo("disc", np.random.default_rng(8))
    large = cv2.resize(photo, (1280, 960))
    assert classifier.classify(large).label == classifier.classify(photo).label
