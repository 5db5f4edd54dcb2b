"""A Raspberry Pi's 64-bit userland under emulation: our wheel installs there from ARM wheels, and answers as here.

tools/mkpi.sh of the shared data makes a folder with Debian for ARM in it, tools/pirun.sh runs a command there with the
processor of a Pi 4 or a Pi 5. The folders stay in build/arm, so the minutes that they take are spent once a clone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import (
    BACKBONE_NAME,
    ROOT,
    Command,
    assert_the_demo_is_read,
    draw_photo,
    needs_programs,
    write_photos,
)
from edge_classify import Classifier, read_photo, teach
from edge_classify.sources import demo

# Emulated, pip takes minutes, and many of them on a busy machine.
pytestmark = pytest.mark.timeout(5000)

ANSWERS = Path(__file__).with_name("arm_answers.py")
BOARDS = {"pi4": "Raspberry Pi 4 Model B", "pi5": "Raspberry Pi 5 Model B"}
# Python 3.11 and 3.13; Cortex-A72, and Cortex-A76, which has int8 dot products.
PLACES = pytest.mark.parametrize(("suite", "board"), [("bookworm", "pi4"), ("trixie", "pi5")])

INT8, FLOAT32 = "mobilenet_v2_0.35_96_int8.tflite", "mobilenet_v2_0.35_96_float32.tflite"
IMAGENET, MACAW = "tf2_mobilenet_v2_1.0_224_ptq", 89
DEMO = (45, 150, 360)  # frames that show a digit

Done = subprocess.CompletedProcess[str]


def run(*words: object) -> Done:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=2400, check=False)


def remove_ours(environment: Path) -> None:
    """What an earlier run of the tests installed: pip would keep it, the version being the same."""
    for old in environment.glob("lib/python3*/site-packages/edge_*"):
        shutil.rmtree(old)


@pytest.fixture(scope="module")
def tools(data: Path) -> Path:
    folder = data / "tools"
    if not (folder / "mkpi.sh").exists():
        pytest.skip(f"the tools that make an ARM system are missing: {folder / 'mkpi.sh'}")
    if not shutil.which("apt-get"):
        pytest.skip("the ARM system comes from the mirror of apt-get, which this machine does not have")
    needs_programs("qemu-aarch64-static", "mmdebstrap", "arch-test")
    if os.geteuid() or run("unshare", "--mount", "true").returncode:
        pytest.skip("an ARM system is entered by chroot and mounts, which only root may → run the tests as root")
    return folder


@pytest.fixture(scope="module")
def roots(tools: Path, wheel: Path) -> dict[str, Path]:
    """A folder for each Debian, with our wheel in its /venv, installed by the Debian's own pip."""

    def make(suite: str) -> Path:
        root = ROOT / "build" / "arm" / suite
        root.parent.mkdir(parents=True, exist_ok=True)
        made = run(tools / "mkpi.sh", "-s", suite, root)
        if made.returncode:
            pytest.skip(f"mkpi.sh makes no {suite}: {(made.stderr.splitlines() or ['no reason given'])[-1]}")
        remove_ours(root / "venv")
        shutil.copy(wheel, root / "wheels")
        shutil.copy(ROOT / "constraints.txt", root / "wheels")
        done = run(tools / "mkpi.sh", "-s", suite, root, "-c", "/wheels/constraints.txt", f"/wheels/{wheel.name}")
        assert done.returncode == 0, done.stderr
        return root

    with ThreadPoolExecutor() as pool:
        suites = ("bookworm", "trixie")
        return dict(zip(suites, pool.map(make, suites), strict=True))


@pytest.fixture(scope="module")
def share(data: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model files, frames of 640×480, and what they give on this machine; the ARM systems see it as /mnt/share."""
    folder = tmp_path_factory.mktemp("share")
    # Beside the small ones, a model of others at 224, where pixels prepared on ARM are not quite the same.
    for path in (models / INT8, models / FLOAT32, data / "models" / f"{IMAGENET}.tflite"):
        shutil.copy(path, folder)
    rng = np.random.default_rng(1)
    pictures = [draw_photo(kind, rng) for kind in ("cross", "disc", "stripes")]
    pictures += [read_photo(data / "data" / name) for name in ("parrot.jpg", "cat.bmp", "sunflower.bmp")]
    frames = [cv2.resize(picture, (640, 480)) for picture in pictures]
    np.save(folder / "frames.npy", np.stack(frames + [demo.draw(number).image for number in DEMO]))
    done = run(sys.executable, ANSWERS, folder, "here")
    assert done.returncode == 0, done.stderr
    shutil.copy(ANSWERS, folder)
    return folder


@pytest.fixture
def on_bare_pi(tools: Path, roots: dict[str, Path]):
    """Run a command as on that board, without models or frames, which take a training."""

    def on_board(suite: str, board: str, *words: object) -> Done:
        return run(tools / "pirun.sh", "-b", board, roots[suite], *words)

    return on_board


@pytest.fixture
def on_pi(tools: Path, roots: dict[str, Path], share: Path):
    """Run a command as on that board."""

    def on_board(suite: str, board: str, *words: object) -> Done:
        return run(tools / "pirun.sh", "-b", board, "-s", share, roots[suite], *words)

    return on_board


def doctors_report(done: Done) -> dict[str, dict[str, Any]]:
    """Its findings by what was looked at; only a camera may be missing."""
    findings = json.loads(done.stdout)["findings"]
    assert [finding["check"] for finding in findings if finding["level"] == "red"] == ["camera"], findings
    assert done.returncode == 3
    return {finding["check"]: finding for finding in findings}


@PLACES
def test_the_wheel_installs_and_edge_doctor_misses_only_a_camera(on_pi, suite: str, board: str) -> None:
    found = doctors_report(on_pi(suite, board, "edge-doctor", "--json", f"/mnt/share/{INT8}"))
    assert found["machine"]["text"].startswith(BOARDS[board])
    assert found["machine"]["text"].endswith(", aarch64, 4 cores, 64 bits")
    assert found["interpreter"]["text"].endswith(" with XNNPACK")
    for check in ("python", "opencv", "test card"):
        assert found[check]["level"] == "green", found[check]


@PLACES
def test_the_built_in_model_reads_the_demo(on_bare_pi, suite: str, board: str) -> None:
    done = on_bare_pi(suite, board, "edge-classify", "--camera", "demo", "--count", 30, "--json")
    assert done.returncode == 0, done.stderr
    assert_the_demo_is_read(done.stdout, 30)


@PLACES
def test_results_equal_this_machines(on_pi, share: Path, suite: str, board: str) -> None:
    done = on_pi(suite, board, "/venv/bin/python", "/mnt/share/arm_answers.py", "/mnt/share", board)
    assert done.returncode == 0, done.stderr
    here, there = np.load(share / "here.npz"), np.load(share / f"{board}.npz")
    assert len(here.files) == 5 + 2 * 4
    for name in here.files:
        difference = np.abs(there[name].astype(float) - here[name])
        if name.startswith("pixels"):
            # Where the picture becomes less than three times smaller, OpenCV's resize rounds otherwise on ARM.
            assert difference.max() <= (name == "pixels 224"), name
            assert difference.mean() <= 0.25, name
        elif name == f"equal {Path(FLOAT32).stem}":
            # Sums are added up in another order, and the votes of `unknown` cancel each other out.
            assert difference.max() <= 5e-5
        elif name == f"equal {Path(INT8).stem}":
            # The head computes in float32: one probability between two steps of uint8 may fall on either.
            assert np.count_nonzero(difference) <= 1, name
            assert difference.max() <= 1.01 / 255, name
            assert np.array_equal(there[name].argmax(1), here[name].argmax(1)), name
        elif name.startswith("equal"):
            assert difference.max() == 0, name
        else:
            # What one grey level makes of a score.
            assert difference.max() <= 0.05, name
            assert np.array_equal(there[name].argmax(1), here[name].argmax(1)), name
    assert there[f"frames {IMAGENET}"].argmax(1)[3] == MACAW
    # The built-in model's outputs are the digits in their order.
    assert [str(digit) for digit in there["frames builtin"].argmax(1)[-3:]] == [demo.draw(one).truth for one in DEMO]


def test_tflite_runtime_in_an_environment_of_its_own(on_bare_pi, roots: dict[str, Path], wheel: Path) -> None:
    remove_ours(roots["bookworm"] / "old")
    if not (roots["bookworm"] / "old").exists():
        assert on_bare_pi("bookworm", "pi4", "python3", "-m", "venv", "--without-pip", "/old").returncode == 0
    # Compiling all modules would take emulated Python as long as installing them.
    settings = ("PIP_CERT=/etc/ssl/certs/ca-certificates.crt", "PIP_NO_COMPILE=1")
    pip = ("env", *settings, "/venv/bin/pip", "--python", "/old/bin/python3")
    # As docs/raspberry-pi.md has it.
    package = f"/wheels/{wheel.name}[tflite-runtime]"
    for words in (("install", package), ("uninstall", "--yes", "ai-edge-litert")):
        done = on_bare_pi("bookworm", "pi4", *pip, *words)
        assert done.returncode == 0, done.stderr
    found = doctors_report(on_bare_pi("bookworm", "pi4", "/old/bin/edge-doctor", "--json"))
    assert found["interpreter"]["text"].startswith("tflite-runtime 2.14.0")
    done = on_bare_pi("bookworm", "pi4", "/old/bin/edge-classify", "--camera", "demo", "--count", 30, "--json")
    assert done.returncode == 0, done.stderr
    assert_the_demo_is_read(done.stdout, 30)


@PLACES
def test_edge_teach_makes_the_file_that_it_makes_here(on_pi, share: Path, suite: str, board: str) -> None:
    folder = share / "taught"
    if not folder.exists():
        photos = write_photos(folder / "photos", 10)
        for path in photos.rglob("*.png"):
            # As large as a camera's: OpenCV makes the same pixels of them on ARM. One grey level is enough to change
            # the features of this backbone of random weights (those of ImageNet's still correlate by 0.99).
            cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (640, 480), interpolation=cv2.INTER_CUBIC))
        teach(share / INT8, photos, folder / "here.tflite")
    words = (f"/mnt/share/{INT8}", "/mnt/share/taught/photos", "-o", f"/mnt/share/taught/{board}.tflite")
    done = on_pi(suite, board, "edge-teach", *words)
    assert done.returncode == 0, done.stderr
    # Its self-test passes here too.
    here, there = Classifier(folder / "here.tflite"), Classifier(folder / f"{board}.tflite")
    assert here.labels == there.labels == ("cross", "disc", "stripes", "unknown")
    figures = [classifier.model_file.contract["evaluation"] for classifier in (here, there)]
    assert figures[0]["photos"] == figures[1]["photos"] == 30
    assert figures[0]["accuracy"] == pytest.approx(figures[1]["accuracy"], abs=0.05)
    rng = np.random.default_rng(2)
    pictures = [draw_photo(kind, rng) for kind in here.labels[:3] for _ in range(5)]
    answers = [np.stack([classifier.probabilities(picture) for picture in pictures]) for classifier in (here, there)]
    assert np.abs(answers[0] - answers[1]).max() <= 0.1
    assert np.abs(answers[0] - answers[1]).mean() <= 0.02


@pytest.mark.nightly  # most of it is pip's, under emulation
def test_edge_train_needs_no_tensorflow_there(
    on_pi, wheel: Path, backbones: Path, share: Path, command: Command
) -> None:
    suite, board, folder = "bookworm", "pi4", share / "trained"
    settings = ("env", "PIP_CERT=/etc/ssl/certs/ca-certificates.crt", "PIP_NO_COMPILE=1")
    pip = ("/venv/bin/pip", "install", "--quiet", "--only-binary=:all:", "-c", "/wheels/constraints.txt")
    done = on_pi(suite, board, *settings, *pip, f"/wheels/{wheel.name}[learn]")
    assert done.returncode == 0, done.stderr
    write_photos(folder / "photos", 15)
    shutil.copy(backbones / BACKBONE_NAME, folder)

    def words(place: Path, run: str) -> tuple[object, ...]:
        rate = ("--learning-rate", 0.003)
        return place / "photos", "-o", place / run, "--backbone", place / BACKBONE_NAME, *rate

    there = Path("/mnt/share/trained")
    done = on_pi(suite, board, "edge-train", *words(there, "there"))
    assert done.returncode == 0, done.stderr
    done = command("edge-train", *words(folder, "here"))
    assert done.returncode == 0, done.stderr
    ours, theirs = (np.load(folder / run / "heads" / "0.35_96.npz") for run in ("here", "there"))
    np.testing.assert_allclose(theirs["held_out_probabilities"], ours["held_out_probabilities"], atol=0.05)
    lenient = ("--precision", "int8", "--max-drop", 50, "--max-accepted", 100)
    done = on_pi(suite, board, "edge-convert", there / "there", "-o", there / "models", *lenient)
    assert done.returncode == 0, done.stderr
    assert Classifier(folder / "models" / INT8).labels == ("cross", "disc", "stripes", "unknown")


# Each by its own command, into folders that no other test looks at. What pip is told in this environment, uv is too.
TOOLS = {
    "pipx": ("PIPX_HOME=/tools/pipx", "PIPX_BIN_DIR=/tools/bin-pipx", "PIPX_MAN_DIR=/tools/man", "pipx", "install"),
    "uv": (
        "UV_TOOL_DIR=/tools/uv",
        "UV_TOOL_BIN_DIR=/tools/bin-uv",
        "UV_PYTHON_DOWNLOADS=never",
        "uv",
        "tool",
        "install",
    ),
}


@pytest.mark.nightly  # eight minutes under emulation
@PLACES
@pytest.mark.parametrize("tool", TOOLS)
def test_the_wheel_installs_as_people_do(
    on_bare_pi, roots: dict[str, Path], wheel: Path, suite: str, board: str, tool: str
) -> None:
    shutil.rmtree(roots[suite] / "tools", ignore_errors=True)
    index = os.environ.get("PIP_INDEX_URL")
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    settings = ["env", f"PIP_CERT={certificates}", f"SSL_CERT_FILE={certificates}", "PIP_NO_COMPILE=1"]
    settings += [f"UV_DEFAULT_INDEX={index}"] * bool(index)
    done = on_bare_pi(suite, board, *settings, "/venv/bin/pip", "install", "--quiet", tool)
    assert done.returncode == 0, done.stderr
    done = on_bare_pi(suite, board, *settings, *TOOLS[tool], f"/wheels/{wheel.name}[web]")
    assert done.returncode == 0, done.stderr
    done = on_bare_pi(suite, board, f"/tools/bin-{tool}/edge-doctor", "--versions")
    assert re.search(rf"installed by {tool}( tool)? in a virtual environment", done.stdout), done.stdout + done.stderr
    assert "aiohttp" in done.stdout
    done = on_bare_pi(suite, board, f"/tools/bin-{tool}/edge-classify", "--camera", "demo", "--count", 30, "--json")
    assert done.returncode == 0, done.stderr
    assert_the_demo_is_read(done.stdout, 30)
    # What a message says to install is installed by the command that it gives.
    words = (f"/tools/bin-{tool}/edge-classify", "--camera", "demo", "--count", 5, "--metrics", "127.0.0.1:9464")
    (message,) = [line for line in on_bare_pi(suite, board, *words).stderr.splitlines() if "not installed" in line]
    remedy = shlex.split(message.partition("not installed: ")[2])
    done = on_bare_pi(suite, board, *settings, "PATH=/venv/bin:/usr/bin:/bin", *remedy)
    assert done.returncode == 0, (remedy, done.stderr)
    done = on_bare_pi(suite, board, *words)
    assert done.returncode == 0, done.stderr
    man_page = "man/man1/edge-classify.1" if tool == "pipx" else "uv/edge-classify/share/man/man1/edge-classify.1"
    # There: pipx links it, by a path from the root.
    assert on_bare_pi(suite, board, "test", "-f", f"/tools/{man_page}").returncode == 0
    shutil.rmtree(roots[suite] / "tools")
