"""edge-teach on the files of edge-convert: with MobileNetV2's middle layer, and for the programs of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_classify import Classifier, teach
from edge_classify.learn.open_set import SHAPE_CONSTANTS
from edge_classify.learn.teaching.base import open_base
from edge_classify.learn.teaching.head_graph import write_head
from edge_classify.model.interpreter import load_interpreter, running_operators

# What the head of a run folder lacks, and edge.json has.
HEAD_NUMBERS = ("vote_weight", "sharpness", "threshold", *SHAPE_CONSTANTS)
PRECISIONS = ("float32", "float16", "dynamic", "int8")


def file_of(models: Path, precision: str) -> Path:
    return models / f"mobilenet_v2_0.35_96_{precision}.tflite"


@pytest.fixture(scope="module")
def taught(models: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a taught file for each precision."""
    folder = tmp_path_factory.mktemp("taught")
    for precision in PRECISIONS:
        teach(file_of(models, precision), photos, folder / f"{precision}.tflite")
    return folder


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic"])
def test_the_head_is_written_as_edge_convert_writes_it(models: Path, run_folder: Path, precision: str) -> None:
    base = open_base(file_of(models, precision))
    graph, parts = base.graph()
    assert len(parts) == 2
    with np.load(run_folder / "heads" / "0.35_96.npz") as arrays:
        head = {name: arrays[name] for name in arrays.files}
    head |= {name: np.array(value) for name, value in base.contract["decision"].items() if name in HEAD_NUMBERS}
    ours = base.classifier.twin(graph.pack(write_head(graph, parts, head, precision)))
    # We round fewer weights to float16, and near its limit `unknown` is steep.
    tolerance = 0.05 if precision == "float16" else 1e-3
    for photo in np.load(run_folder / "prepared" / "96_held_out.npy"):
        picture = photo[..., ::-1]
        assert ours.infer(picture).outputs == pytest.approx(base.classifier.infer(picture).outputs, abs=tolerance)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_xnnpack_takes_as_much_of_a_taught_file(taught: Path, models: Path, precision: str) -> None:
    operators = running_operators(load_interpreter(taught / f"{precision}.tflite"))
    assert operators is not None
    assert operators.count("DELEGATE") == 1
    assert set(operators) <= {"DELEGATE", "CAST", "QUANTIZE"}
    sizes = [path.stat().st_size for path in (taught / f"{precision}.tflite", file_of(models, precision))]
    assert 0.8 < sizes[0] / sizes[1] < 1.25


@pytest.mark.parametrize("precision", PRECISIONS)
def test_mediapipe_reads_a_taught_file(taught: Path, run_folder: Path, precision: str) -> None:
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    path = taught / f"{precision}.tflite"
    options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=str(path)))
    ours = Classifier(path)
    with vision.ImageClassifier.create_from_options(options) as theirs:
        for photo in np.load(run_folder / "prepared" / "96_held_out.npy"):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(photo))
            category = theirs.classify(image).classifications[0].categories[0]
            assert ours.labels[category.index] == category.category_name
            assert category.score == pytest.approx(ours.probabilities(photo[..., ::-1]).max(), abs=0.005)


def test_edge_convert_verifies_single_files(taught: Path, tmp_path: Path, command) -> None:
    path = taught / "int8.tflite"
    assert command("edge-convert", "--verify", path).returncode == 0
    damaged = bytearray(path.read_bytes())
    damaged[9000] ^= 1
    (tmp_path / "damaged.tflite").write_bytes(damaged)
    assert command("edge-convert", "--verify", tmp_path / "damaged.tflite").returncode == 4


def test_a_base_that_is_integer_throughout_gets_unknown(
    integer_models: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    """int8 files of such runs are integer throughout, as those of `edge-convert imagenet` are."""
    base = file_of(integer_models[1], "int8")
    assert Classifier(base).labels == ("cross", "disc", "stripes")
    taught = teach(base, photos, tmp_path / "things.tflite")
    classifier = Classifier(taught.path)
    assert classifier.labels == ("cross", "disc", "stripes", "unknown")
    assert taught.evaluation["accuracy"] > 0.6  # a random backbone tells little
