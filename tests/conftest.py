"""What tests share: drawn photos, a run and model files made from them, and the way to real data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from edge_classify.labels import UNKNOWN
from edge_classify.sources import demo

# Reading a file takes as long as the machine is busy, and its place on disk is not what is varied.
_FUZZING = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("short", settings(max_examples=40, derandomize=True, **_FUZZING))
settings.register_profile("long", settings(max_examples=10_000, **_FUZZING))
settings.load_profile("short")

ROOT = Path(__file__).parent.parent

# One cell with a backbone of random weights: quick, and needs no file from elsewhere.
TRAINING = ("--weights", "none", "--alpha", 0.35, "--resolution", 96, "--learning-rate", 0.003)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real photos, weights and models, where it is at hand."""
    folder = Path(os.environ.get("EDGE_CLASSIFY_DATA", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"real data is not at hand: {folder} (set EDGE_CLASSIFY_DATA)")
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, for tests that install it. Skipped where pip reaches no package index: they fetch what it needs."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    reached = subprocess.run([*pip, "index", "versions", "numpy"], capture_output=True, text=True, check=False)
    if reached.returncode:
        pytest.skip(f"pip reaches no package index: {(reached.stderr.splitlines() or ['no reason given'])[-1]}")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True, timeout=300)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A feature cache of the tests' own, for this process and for commands."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def command():
    """Run a command of ours as a user does, in a process of its own."""

    def run(name: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name(name)
        words = [str(program), *(str(argument) for argument in arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=600, check=False, **options)

    return run


def stop(process: subprocess.Popen[str], how: signal.Signals) -> tuple[str, str]:
    """Ask edge-classify to end, which it must do well and at once; returns what it still said."""
    process.send_signal(how)
    asked = time.perf_counter()
    said = process.communicate(timeout=20)
    assert time.perf_counter() - asked < 1.5
    assert process.returncode == 0
    return said


def draw_photo(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A 160×120 BGR picture of one kind of thing, each a little different."""
    # Different enough for the features of a backbone that was never trained.
    colors = {"cross": (40, 180, 60), "disc": (90, 90, 200), "stripes": (200, 160, 40)}
    image = np.full((120, 160, 3), colors[kind], np.uint8) + rng.integers(0, 30, 3, dtype=np.uint8)
    x, y = (int(v) for v in rng.integers((50, 40), (110, 80)))
    if kind == "disc":
        cv2.circle(image, (x, y), int(rng.integers(25, 38)), (30, 30, 240), -1, cv2.LINE_AA)
    elif kind == "stripes":
        image[:, (np.arange(160) // int(rng.integers(6, 12))) % 2 == 0] = 20
    else:
        cv2.line(image, (x - 45, y), (x + 45, y), (250, 250, 250), 9, cv2.LINE_AA)
        cv2.line(image, (x, y - 35), (x, y + 35), (250, 250, 250), 9, cv2.LINE_AA)
    noise = rng.normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_photos(root: Path, each: int, kinds: tuple[str, ...] = ("cross", "disc", "stripes"), seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for kind in kinds:
        (root / kind).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            assert cv2.imwrite(str(root / kind / f"{number}.png"), draw_photo(kind, rng))
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three easy classes of 40 drawn photos, one folder each."""
    return write_photos(tmp_path_factory.mktemp("photos"), 40)


@pytest.fixture(scope="session")
def run_folder(photos: Path, tmp_path_factory: pytest.TempPathFactory, command) -> Path:
    """A run of edge-train on the drawn photos, with a backbone of random weights."""
    folder = tmp_path_factory.mktemp("runs") / "drawn"
    done = command("edge-train", photos, "-o", folder, *TRAINING)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def models(run_folder: Path, tmp_path_factory: pytest.TempPathFactory, command) -> Path:
    """The run's model files: float32 and int8."""
    folder = tmp_path_factory.mktemp("models")
    # A backbone of random weights loses more to int8 than a trained one.
    done = command("edge-convert", run_folder, "-o", folder, "--max-drop", 25)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def int8_model(models: Path) -> Path:
    return models / "mobilenet_v2_0.35_96_int8.tflite"


@pytest.fixture(scope="session")
def float32_model(models: Path) -> Path:
    return models / "mobilenet_v2_0.35_96_float32.tflite"


def assert_the_demo_is_read(lines: str, count: int) -> None:
    """The results of `edge-classify --camera demo --json` are of the digits that were drawn meanwhile.

    A slow machine leaves frames out, so which frame a result is of is not known exactly.
    """
    results = [json.loads(line) for line in lines.splitlines()]
    assert len(results) == count
    first, last = (datetime.fromisoformat(results[place]["time"]) for place in (0, -1))
    # A visit takes 3.5 s; its digit is whole in the middle of it.
    visits = int((last - first).total_seconds() / 3.5) + 1
    drawn = {demo.draw(105 * visit + 45).truth for visit in range(visits)} | {UNKNOWN}
    told = [result["categories"][0]["category_name"] for result in results]
    assert set(told) - {UNKNOWN}
    # One that comes or goes may be taken for another.
    assert sum(name in drawn for name in told) >= 0.8 * count, (drawn, told)
