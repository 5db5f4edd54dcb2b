"""`edge-convert imagenet`: the network as it comes, from local files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_classify import Classifier, read_photo


@pytest.fixture(scope="session")
def parts(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """The real weights of 1.0 at 224, and its top as the command reads it."""
    top = tmp_path_factory.mktemp("top") / "top.npz"
    with np.load(data / "weights" / "mobilenet_v2_1.0_224_top_imagenet1000.npz") as arrays:
        np.savez(top, kernel=arrays["kernel_int8"] * arrays["scale"], bias=arrays["bias"])
    weights = data / "weights" / "mobilenet_v2_1.0_224_no_top.weights.h5"
    return "--weights", weights, "--top", top, "--labels", data / "models" / "imagenet_labels.txt"


def test_the_thousand_classes_are_recognised(parts: tuple[object, ...], data: Path, tmp_path: Path, command) -> None:
    done = command(
        *("edge-convert", "imagenet", "-o", tmp_path / "models", *parts),
        *("--photos", data / "data" / "flowers" / "validation" / "daisy", "--precision", "int8"),
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "models").glob("*.tflite")
    classifier = Classifier(path)
    assert len(classifier.labels) == 1000
    # What the ImageNet models of others say of these pictures.
    for picture, label in (("parrot.jpg", "macaw"), ("cat.bmp", "Egyptian cat"), ("sunflower.bmp", "daisy")):
        assert classifier.classify(read_photo(data / "data" / picture)).label == label
    assert command("edge-convert", "--verify", tmp_path / "models").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "int8"), "int8 takes its ranges from pictures: give some with --photos"),
        (("--resolution", 100), "--resolution 100: one of 96, 128"),
        (("--weights", "gone.h5", "--top", "gone.npz"), "gone.h5: not the weights"),
        (("--weights", "gone.h5"), "give its kernel and bias with --top"),
        (("--photos", "gone"), "--photos gone: two pictures at least"),
        (("--labels", "gone.txt"), "gone.txt: labels cannot be read"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, command, arguments: tuple[str, ...], message: str) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"thing {number}\n" for number in range(1000)))
    given = arguments if "--labels" in arguments else ("--labels", labels, *arguments)
    done = command("edge-convert", "imagenet", "-o", tmp_path / "models", *given)
    assert done.returncode in (2, 6)
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
