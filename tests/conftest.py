"""What tests share: drawn photos, a run and model files made from them, real data, and what is slow or skipped."""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from edge_classify.model.labels import UNKNOWN
from edge_classify.sources import demo

# How long an example takes depends on how busy the machine is.
_FUZZING = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("short", settings(max_examples=40, derandomize=True, **_FUZZING))
settings.register_profile("long", settings(max_examples=10_000, **_FUZZING))
settings.load_profile("short")

ROOT = Path(__file__).parent.parent

# One cell with a backbone of random weights: quick, and needs no file from elsewhere.
CELL = ("--weights", "none", "--alpha", 0.35, "--resolution", 96)
LEARNING = ("--learning-rate", 0.003)
TRAINING = (*CELL, *LEARNING)
# That backbone as a file.
BACKBONE_NAME = "mobilenet_v2_0.35_96_backbone.tflite"

GRID = ("--weights", "none", "--alpha", 0.35, "--resolution", 96, 128, 160)

# A test is slow, and left out by `make check`, if it uses one of these fixtures or needs the desktop's libraries.
_SLOW_FIXTURES = {"backbones", "data", "grid_run", "integer_models", "run_folder", "wheel"}
_DESKTOP = re.compile('import (tensorflow|keras)|"(mediapipe|edge-train|edge-convert)"')


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: needs TensorFlow, a trained run, real photos or a package index")
    config.addinivalue_line("markers", "nightly: has a make target and an environment of its own")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what `make check` cannot run: it has no TensorFlow, and a minute."""
    for item in items:
        assert isinstance(item, pytest.Function)
        if _SLOW_FIXTURES & set(item.fixturenames) or _DESKTOP.search(inspect.getsource(item.function)):
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """A last line that says how to run the tests that were skipped: what follows → in their reasons."""
    yield
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())]
    remedies = Counter(reason.partition(" → ")[2] for reason in reasons if " → " in reason)
    if remedies:
        ways = "; ".join(f"{remedy} ({count} of them)" for remedy, count in remedies.most_common())
        terminalreporter.write_line(f"{len(reasons)} tests were skipped. To run those too: {ways}", yellow=True)


def needs_programs(*names: str) -> None:
    """Skip the test if one of these programs, which tests/apt-packages.txt installs, is missing."""
    if missing := [name for name in names if not shutil.which(name)]:
        skip_for_packages(f"missing programs: {', '.join(missing)}")


def skip_for_packages(reason: str) -> NoReturn:
    pytest.skip(f"{reason} → sudo make test-packages")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real photos, weights and models; without it the test is skipped."""
    folder = Path(os.environ.get("EDGE_CLASSIFY_DATA", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder} → set EDGE_CLASSIFY_DATA to a folder of them")
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of pytest-xdist have in common."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, filled by `make`: once, by the first process that asks, while the others wait."""
    done = folder.with_name(f"{folder.name}.done")
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def wheel(shared: Path) -> Path:
    """Our wheel, for tests that install it and fetch its dependencies; skipped if pip reaches no package index."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    reached = subprocess.run([*pip, "index", "versions", "numpy"], capture_output=True, text=True, check=False)
    if reached.returncode:
        pytest.skip(f"pip reaches no package index: {(reached.stderr.splitlines() or ['no reason given'])[-1]}")
    build = [*pip, "wheel", "--quiet", "--no-deps", ROOT, "--wheel-dir"]
    folder = make_once(shared / "wheel", lambda folder: subprocess.run([*build, folder], check=True, timeout=300))
    (path,) = folder.glob("*.whl")
    return path


def pip_of(environment: Path) -> list[str | Path]:
    """How our pip is told to work in another environment, which then needs none of its own."""
    python = environment / "bin" / "python"
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]


def make_environment(folder: Path, *packages: object) -> None:
    """A virtual environment with what pip makes of these words."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=300)
    # Few of the modules are ever imported: compiling all takes as long as installing them.
    install = [*pip_of(folder), "install", "--quiet", "--no-compile", *packages]
    subprocess.run(install, check=True, timeout=900)


@pytest.fixture(scope="session", autouse=True)
def _cache(shared: Path) -> None:
    """A feature cache of the tests' own, for these processes and for commands."""
    os.environ["XDG_CACHE_HOME"] = str(shared / "cache")


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def command() -> Command:
    """Run one of our commands as a user does, in a process of its own."""

    def run(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        words = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=600, check=False, **options)

    return run


def stop(process: subprocess.Popen[str], how: signal.Signals) -> tuple[str, str]:
    """Send edge-classify this signal, on which it must exit with 0; returns the rest of its output and errors.

    How long it takes is not asserted, but a program that waits for its camera or reader never ends.
    """
    process.send_signal(how)
    rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest[1]
    return rest


def run_here(
    main: Callable[[list[str]], int], capfd: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str]:
    """Run a command in this process, where that shows as much: its exit code, and what it writes to stderr."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as ended:  # the parser's own errors
        code = int(ended.code or 0)
    return code, capfd.readouterr().err


def classify_here(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """edge-classify, as `run_here`."""
    from edge_classify.cli import main

    return run_here(main, capfd, *arguments)


@pytest.fixture(scope="session")
def browser() -> Generator[Any, None, None]:
    """Headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver")
    needs_programs("chromium", "chromedriver")
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
        *("disable-background-networking", "disable-component-update", "window-size=1200,900"),
    ):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    except WebDriverException as error:
        skip_for_packages(f"Chromium does not start: {error}")
    yield driver
    driver.quit()


def serious_obstacles(browser: Any) -> list[tuple[str, str]]:
    """What keeps people from using the page that is open, by axe-core: the rule, and the first part that breaks it."""
    axe = pytest.importorskip("axe_core_python.selenium").Axe()
    found = [each for each in axe.run(browser)["violations"] if each["impact"] in ("serious", "critical")]
    return [(each["id"], each["nodes"][0]["html"]) for each in found]


def draw_photo(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A 160×120 BGR picture of one kind of shape, each a little different."""
    # Colours far enough apart for a backbone that was never trained.
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
def drawn_photos(shared: Path) -> Path:
    """Three easy classes of 40 drawn photos, one folder each."""
    return make_once(shared / "photos", lambda folder: write_photos(folder, 40))


@pytest.fixture(scope="session")
def photos(drawn_photos: Path) -> Path:
    """The drawn photos; a file of tests may have others under this name."""
    return drawn_photos


@pytest.fixture(scope="session")
def run_folder(drawn_photos: Path, shared: Path, command: Command) -> Path:
    """A run of edge-train on the drawn photos, with a backbone of random weights."""

    def train(folder: Path) -> None:
        done = command("edge-train", drawn_photos, "-o", folder, *TRAINING)
        assert done.returncode == 0, done.stderr

    return make_once(shared / "drawn", train)


@pytest.fixture(scope="session")
def models(run_folder: Path, shared: Path, command: Command) -> Path:
    """The run's model files, one for each precision, with their manifest."""

    def convert(folder: Path) -> None:
        # A backbone of random weights loses more to int8 than a trained one, and knows less of what is unknown.
        done = command("edge-convert", run_folder, "-o", folder, "--max-drop", 25, "--max-accepted", 100)
        assert done.returncode == 0, done.stderr

    return make_once(shared / "models", convert)


@pytest.fixture(scope="session")
def backbones(shared: Path) -> Path:
    """A folder of one backbone file, with its manifest, as CI makes and publishes it."""
    recipe = [sys.executable, ROOT / "train" / "recipes" / "backbones.py", *map(str, CELL), "-o"]
    return make_once(shared / "backbones", lambda folder: subprocess.run([*recipe, folder], check=True, timeout=600))


@pytest.fixture(scope="session")
def light_run(backbones: Path, drawn_photos: Path, shared: Path, command: Command) -> Path:
    """As `run_folder`, on a backbone file: it is converted without TensorFlow, in a fifth of the time."""

    def train(folder: Path) -> None:
        done = command("edge-train", drawn_photos, "-o", folder, "--backbone", backbones / BACKBONE_NAME, *LEARNING)
        assert done.returncode == 0, done.stderr

    return make_once(shared / "light" / "drawn", train)


@pytest.fixture(scope="session")
def grid_run(drawn_photos: Path, shared: Path, command: Command) -> Path:
    """A run of three cells on the drawn photos."""

    def train(folder: Path) -> None:
        done = command("edge-train", drawn_photos, "-o", folder, *GRID)
        assert done.returncode == 0, done.stderr

    return make_once(shared / "grid", train)


@pytest.fixture(scope="session")
def warm_cache(grid_run: Path, shared: Path) -> Callable[[Path], Path]:
    """Make a folder a cache that has the backbones of `grid_run`, which take TensorFlow, and nothing of any photo."""
    assert grid_run.exists()

    def make(cache: Path) -> Path:
        old, new = shared / "cache" / "edge-classify", cache / "edge-classify"
        shutil.copytree(old / "weights", new / "weights")
        full, copy = (sqlite3.connect(folder / "features.sqlite") for folder in (old, new))
        with closing(full), closing(copy):
            full.backup(copy)
            tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table in tables - {"feature_models"}:
                copy.execute(f"DELETE FROM {table}")
            copy.commit()
            copy.execute("VACUUM")
        return cache

    return make


@pytest.fixture(scope="session")
def integer_models(drawn_photos: Path, shared: Path, command: Command) -> tuple[Path, Path]:
    """A run without `unknown`, and its int8 file, which is integer throughout, in a folder.

    Its photos have neither black nor white in them.
    """

    def draw(folder: Path) -> None:
        for path in sorted(drawn_photos.rglob("*.png")):
            dull = folder / path.relative_to(drawn_photos)
            dull.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(dull), 60 + cv2.imread(str(path)) // 2)

    dull_photos = make_once(shared / "dull photos", draw)

    def train(folder: Path) -> None:
        done = command("edge-train", dull_photos, "-o", folder, *TRAINING, "--no-unknown")
        assert done.returncode == 0, done.stderr

    run = make_once(shared / "without unknown", train)

    def convert(folder: Path) -> None:
        done = command("edge-convert", run, "-o", folder, "--precision", "int8", "--max-drop", 25)
        assert done.returncode == 0, done.stderr

    return run, make_once(shared / "integer", convert)


@pytest.fixture(scope="session")
def small_models() -> Path:
    """The model files of a tiny cell, with their manifest, which need no training: tests/models/make.py made them."""
    return ROOT / "tests" / "models" / "drawn"


@pytest.fixture(scope="session")
def int8_model(small_models: Path) -> Path:
    return small_models / "mobilenet_v2_1.0_96_int8.tflite"


@pytest.fixture(scope="session")
def float32_model(small_models: Path) -> Path:
    return small_models / "mobilenet_v2_1.0_96_float32.tflite"


def assert_the_demo_is_read(lines: str, count: int) -> None:
    """The results of `edge-classify --camera demo --json` name the digits that were drawn in that time.

    A slow machine drops frames, so which frame a result belongs to is not known exactly.
    """
    results = [json.loads(line) for line in lines.splitlines()]
    assert len(results) == count
    first, last = (datetime.fromisoformat(results[place]["time"]) for place in (0, -1))
    # Each digit takes 3.5 s; in the middle of it the digit is whole.
    visits = int((last - first).total_seconds() / 3.5) + 1
    drawn = {demo.draw(105 * visit + 45).truth for visit in range(visits)} | {UNKNOWN}
    labels = [result["categories"][0]["category_name"] for result in results]
    assert set(labels) - {UNKNOWN}
    # A digit that is half in the picture may be taken for another.
    assert sum(label in drawn for label in labels) >= 0.8 * count, (drawn, labels)
