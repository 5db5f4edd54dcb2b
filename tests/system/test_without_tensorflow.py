"""From photos to model files in an environment that has no TensorFlow: the extra `learn`, and a backbone file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import BACKBONE_NAME as NAME
from conftest import LEARNING, ROOT, TRAINING, make_environment
from edge_classify import Classifier

pytestmark = pytest.mark.slow

# A backbone of random weights loses more to int8 than a trained one, and knows less of what is unknown.
LENIENT = ("--max-drop", 50, "--max-accepted", 100)

# The environment has no pip.
INSTALL_TENSORFLOW = r"uv pip install --python \S+/bin/python 'tensorflow>=2\.20,<3'"

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def without(wheel: Path, tmp_path_factory: pytest.TempPathFactory):
    """Run one of our commands in an environment where only what `learn` names is installed, with a cache of its own."""
    place, cache = tmp_path_factory.mktemp("learn"), tmp_path_factory.mktemp("cache")
    make_environment(place, f"{wheel}[learn]", "--constraint", ROOT / "constraints.txt")
    for name in ("tensorflow", "keras", "h5py"):
        assert subprocess.run([place / "bin" / "python", "-c", f"import {name}"], capture_output=True).returncode

    def run(name: str, *arguments: object, **variables: str) -> Done:
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache), **variables}
        words = [str(place / "bin" / name), *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=900, check=False, env=environment)

    return run


@pytest.fixture(scope="module")
def run(without, backbones: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made without TensorFlow."""
    folder = tmp_path_factory.mktemp("runs") / "drawn"
    done = without("edge-train", photos, "-o", folder, "--backbone", backbones / NAME, *LEARNING)
    assert done.returncode == 0, done.stderr
    return folder


def content(folder: Path) -> dict[str, Any]:
    """By name: what is in each file for programs, without the time that it took."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".html"):
        data: Any = path.read_bytes()
        if path.suffix == ".json":
            data = json.loads(data)
            for entry in [data, *data.get("cells", ())]:
                entry.pop("seconds", None)
        found[str(path.relative_to(folder))] = data
    return found


def test_the_run_is_the_same_as_with_tensorflow(run: Path, light_run: Path) -> None:
    here, there = content(light_run), content(run)
    assert here.keys() == there.keys()
    for name in here:
        assert here[name] == there[name], name
    assert there["run.json"]["versions"].keys() >= {"tensorflow", "keras"}  # those that made the backbone file


def test_a_run_on_a_backbone_file_is_about_that_on_its_weights(run: Path, run_folder: Path) -> None:
    """The same network but for the last bits of its scaling."""
    with np.load(run_folder / "heads" / "0.35_96.npz") as keras, np.load(run / "heads" / "0.35_96.npz") as file:
        np.testing.assert_allclose(file["held_out_probabilities"], keras["held_out_probabilities"], atol=0.01)
    cells = [json.loads((folder / "run.json").read_text())["cells"][0] for folder in (run, run_folder)]
    for name in ("parameters", "multiply_adds"):
        assert cells[0][name] == cells[1][name]


def test_all_precisions_are_made_and_the_same_as_with_tensorflow(without, run: Path, tmp_path: Path, command) -> None:
    done = without("edge-convert", run, "-o", tmp_path / "there", *LENIENT)
    assert done.returncode == 0, done.stderr
    assert "int8: with the value ranges of the backbone file" in done.stdout
    done = without("edge-convert", "--verify", tmp_path / "there")
    assert "all 4 model files match the manifest" in done.stdout, done.stderr
    moved = shutil.copytree(run, tmp_path / "run")
    done = command("edge-convert", moved, "-o", tmp_path / "here", *LENIENT)
    assert done.returncode == 0, done.stderr
    here, there = content(tmp_path / "here"), content(tmp_path / "there")
    assert len(here) == 5
    assert here == there
    with np.load(run / "heads" / "0.35_96.npz") as arrays:
        trained = arrays["held_out_probabilities"]
    photos = np.load(run / "prepared" / "96_held_out.npy")
    classifier = Classifier(tmp_path / "there" / "mobilenet_v2_0.35_96_float32.tflite")
    answers = np.stack([classifier.probabilities(photo[..., ::-1]) for photo in photos])
    # The features are those that were trained on, bit for bit.
    np.testing.assert_allclose(answers, trained, atol=1e-4)


def test_imagenet_is_fetched_where_there_is_no_tensorflow(
    without, backbones: Path, run: Path, photos: Path, tmp_path: Path
) -> None:
    words = (photos, "-o", tmp_path / "run", "--alpha", 0.35, "--resolution", 96, *LEARNING)
    handler = partial(SimpleHTTPRequestHandler, directory=backbones)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        done = without("edge-train", *words, EDGE_CLASSIFY_BACKBONES=f"http://127.0.0.1:{http.server_port}")
        http.shutdown()
    assert done.returncode == 0, done.stderr
    assert f"/{NAME} (" in done.stderr
    with np.load(run / "heads" / "0.35_96.npz") as first, np.load(tmp_path / "run" / "heads" / "0.35_96.npz") as again:
        assert all((first[name] == again[name]).all() for name in first)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--weights", "none"), "--weights none needs TensorFlow"),
        (("--alpha", 0.5, "--resolution", 96), "knows no address to fetch backbone files from"),
        (("--fine-tune", "1"), "--fine-tune needs TensorFlow"),
        (("--backbone", "hub:https://example.org/x"), "--backbone hub: needs TensorFlow"),
    ],
)
def test_what_needs_tensorflow_says_so_in_one_line(without, photos: Path, tmp_path: Path, words, message: str) -> None:
    done = without("edge-train", photos, "-o", tmp_path / "run", *words)
    (line,) = done.stderr.splitlines()
    assert message in line
    assert re.search(INSTALL_TENSORFLOW, line)
    assert done.returncode == 6
    assert not (tmp_path / "run").exists()


def test_a_run_on_weights_of_keras_is_converted_with_tensorflow_only(without, run_folder: Path, tmp_path: Path) -> None:
    done = without("edge-convert", run_folder, "-o", tmp_path / "models")
    (line,) = done.stderr.splitlines()
    assert re.search(f"converting weights of Keras needs TensorFlow: {INSTALL_TENSORFLOW}", line)


def test_a_backbone_file_is_not_fine_tuned(backbones: Path, photos: Path, tmp_path: Path, command) -> None:
    done = command("edge-train", photos, "-o", tmp_path / "run", "--backbone", backbones / NAME, "--fine-tune", 1)
    assert done.returncode == 2
    assert "--fine-tune changes weights of Keras" in done.stderr.splitlines()[-1]


def test_what_tensorflow_has_read_once_is_trained_on_without_it(
    without, run_folder: Path, photos: Path, tmp_path: Path
) -> None:
    cache = os.environ["XDG_CACHE_HOME"]
    weights = next((Path(cache) / "edge-classify" / "weights").glob("none_0.35_seed0.weights.h5"))
    words = [*TRAINING[2:], "--weights", weights]
    done = without("edge-train", photos, "-o", tmp_path / "run", *words, XDG_CACHE_HOME=cache)
    assert done.returncode == 0, done.stderr
    here, there = content(run_folder), content(tmp_path / "run")
    for name in here:
        if not name.endswith(".json"):
            assert here[name] == there[name], name
