"""`edge-convert imagenet`: the pretrained network, from local files."""

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
    # What third-party ImageNet models answer for these pictures.
    for picture, label in (("parrot.jpg", "macaw"), ("cat.bmp", "Egyptian cat"), ("sunflower.bmp", "daisy")):
        assert classifier.classify(read_photo(data / "data" / picture)).label == label
    assert command("edge-convert", "--verify", tmp_path / "models").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights", "gone.h5", "--top", "gone.npz"), "gone.h5: not the weights"),
        (("--photos", "gone"), "--photos gone: no such folder"),
        (("--labels", "gone.txt"), "gone.txt: labels cannot be read"),
        (("--labels", "two.txt"), "--labels two.txt: expected 1000 lines, or 1001 with the background first, found 2"),
    ],
)
def test_parts_that_are_missing_or_do_not_fit_are_refused_in_one_line(
    tmp_path: Path, command, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "two.txt").write_text("cup\nkey\n")
    (tmp_path / "labels.txt").write_text("".join(f"thing {number}\n" for number in range(1000)))
    given = arguments if "--labels" in arguments else ("--labels", "labels.txt", *arguments)
    done = command("edge-convert", "imagenet", "-o", "models", *given, cwd=tmp_path)
    assert done.returncode == 6
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
