"""What tests share: drawn photos, a run and model files made from them, real data, and what is slow or skipped."""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
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
TRAINING = ("--weights", "none", "--alpha", 0.35, "--resolution", 96, "--learning-rate", 0.003)


# A test is slow, and left out by `make check`, if it uses one of these fixtures or needs the desktop's libraries.
_SLOW_FIXTURES = {"data", "run_folder", "wheel"}
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
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, for tests that install it and fetch its dependencies; skipped if pip reaches no package index."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    reached = subprocess.run([*pip, "index", "versions", "numpy"], capture_output=True, text=True, check=False)
    if reached.returncode:
        pytest.skip(f"pip reaches no package index: {(reached.stderr.splitlines() or ['no reason given'])[-1]}")
    folder = tmp_path_factory.mktemp("wheel")
    # Building writes into our folder: tests of another process wait.
    with (tmp_path_factory.getbasetemp().parent / "wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True, timeout=300)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A feature cache of the tests' own, for this process and for commands."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


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
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three easy classes of 40 drawn photos, one folder each."""
    return write_photos(tmp_path_factory.mktemp("photos"), 40)


@pytest.fixture(scope="session")
def run_folder(photos: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A run of edge-train on the drawn photos, with a backbone of random weights."""
    folder = tmp_path_factory.mktemp("runs") / "drawn"
    done = command("edge-train", photos, "-o", folder, *TRAINING)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def models(run_folder: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """The run's model files, one for each precision, with their manifest."""
    folder = tmp_path_factory.mktemp("models")
    # A backbone of random weights loses more to int8 than a trained one, and knows less of what is unknown.
    done = command("edge-convert", run_folder, "-o", folder, "--max-drop", 25, "--max-accepted", 100)
    assert done.returncode == 0, done.stderr
    return folder


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
