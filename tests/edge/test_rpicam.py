"""Raspberry Pi camera modules, with a stand-in for `rpicam-vid` that speaks its command line and raw output."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from conftest import stop
from edge_classify import CameraError, list_cameras, open_source
from edge_classify.sources import discovery
from edge_classify.sources.device import CameraSettings
from edge_classify.sources.live import LiveCamera, Timeouts
from edge_classify.sources.rpicam import PiCamera

STAND_IN = Path(__file__).with_name("rpicam_stand_in.py")


@pytest.fixture
def rpicam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put the stand-in on PATH, and set what it does."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def install(behaviour: str = "", name: str = "rpicam-vid") -> None:
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("RPICAM_STAND_IN", behaviour)

    return install


def gone(pid: int) -> bool:
    try:
        # A child of ours that ended and was not waited for is gone too.
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@contextmanager
def pi_camera(patience: float | None = None) -> Iterator[LiveCamera]:
    """The stand-in as `open_source("csi")` opens it, but less patient."""

    def open_device() -> PiCamera:
        device = PiCamera(0, CameraSettings())
        device.patience = patience or device.patience
        return device

    camera = LiveCamera("csi", open_device, timeouts=Timeouts(shortest_pause=0.02))
    try:
        yield camera
    finally:
        camera.close()


@pytest.mark.parametrize(
    ("behaviour", "requested", "given"),
    [
        ("", None, (640, 480)),
        ("silent", None, (640, 480)),
        ("limited", None, (640, 480)),
        ("stride=64", (800, 600), (896, 672)),
        ("stride=128", (704, 576), (768, 628)),
    ],
)
def test_colours_and_size_are_right_whatever_the_stride(
    rpicam, behaviour: str, requested: tuple[int, int] | None, given: tuple[int, int]
) -> None:
    rpicam(behaviour)
    with open_source("csi", size=requested) as source:
        image = next(iter(source)).image
        assert f"{given[0]}x{given[1]} YUV420, 30 frames per second" in source.description
    width, height = given
    assert image.shape == (height, width, 3)
    upper = [image[height // 4, (2 * bar + 1) * width // 8] for bar in range(4)]
    expected = [(40, 40, 200), (40, 200, 40), (200, 40, 40), (230, 230, 230)]
    assert np.abs(np.array(upper, int) - expected).max() <= 3
    assert np.abs(image[height * 3 // 4 :].astype(int) - 40).max() <= 3
    assert np.abs(image[: height // 2 - 2, -8:].astype(int) - 230).max() <= 3  # no padding at the right edge


def test_the_newest_frame_is_given_at_the_camera_s_rate(rpicam) -> None:
    rpicam()
    with open_source("csi", fps=20) as source:
        frames = [frame for frame, _ in zip(source, range(11), strict=False)]
        assert eventually(lambda: source.dropped >= 5)
        dropped = source.dropped
        assert next(iter(source)).number >= len(frames) + dropped
    assert frames[-1].captured_at - frames[0].captured_at > 0.45


def test_the_old_name_serves_if_the_new_one_is_missing(rpicam) -> None:
    rpicam(name="libcamera-vid")
    with open_source("csi:0") as source:
        assert "csi:0: libcamera-vid: 640x480" in source.description


def test_camera_0_is_the_module_if_there_is_no_usb_camera(rpicam, monkeypatch: pytest.MonkeyPatch) -> None:
    rpicam()
    monkeypatch.setattr(discovery, "video_devices", lambda _: [])
    with open_source(0) as source:
        assert "camera 0: rpicam-vid: 640x480" in source.description
        assert next(iter(source)).name == "0"
    assert list_cameras() == [("csi:0", "imx708 [4608x2592 10-bit RGGB]")]


@pytest.mark.parametrize("camera", ["csi", "csi:1"])
def test_a_missing_module_is_reported_in_the_program_s_words(rpicam, camera: str) -> None:
    rpicam("none")
    with pytest.raises(CameraError, match=rf"camera {camera}: rpicam-vid exited: ERROR: .* no cameras available"):
        open_source(camera)


def test_without_the_program_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CameraError, match="apt install rpicam-apps"):
        open_source("csi")


def test_a_size_that_the_program_changed_is_taken_or_refused(rpicam) -> None:
    rpicam("adjust=1280x720")
    with open_source("csi", size=(2560, 1440)) as source:
        assert next(iter(source)).image.shape == (720, 1280, 3)
        assert "1280x720" in source.description
    rpicam("adjust=1296x972")
    with pytest.raises(CameraError, match=r"uses 1296x972, .* choose another size, such as 640x480"):
        open_source("csi", size=(2560, 1440))


def test_a_program_that_dies_is_started_again_and_reported_once(rpicam, tmp_path: Path, caplog) -> None:
    starts = tmp_path / "starts"
    rpicam(f"die=5 starts={starts}")
    with pi_camera() as camera:
        numbers = [frame.number for frame, _ in zip(camera.frames(), range(12), strict=False)]
    assert numbers == sorted(set(numbers))
    assert len(starts.read_text().splitlines()) >= 3
    first = caplog.messages[0]
    assert first == (
        "camera csi: rpicam-vid exited: ERROR: *** Camera frontend has timed out! ***; waiting for it to return"
    )
    assert caplog.messages[1].startswith("camera csi: back after ")


def test_a_program_that_stalls_is_noticed_and_replaced(rpicam, tmp_path: Path, caplog) -> None:
    pid = tmp_path / "pid"
    rpicam(f"stall=3 pid={pid}")
    with pi_camera(patience=0.4) as camera:
        frames = camera.frames()
        next(frames)
        stalled = int(pid.read_text())
        rpicam(f"pid={pid}")
        while "back after" not in caplog.text:
            next(frames)
        assert gone(stalled)
    assert caplog.messages[0] == "camera csi: no frames for 0.4 s; waiting for it to return"
    assert eventually(lambda: gone(int(pid.read_text())))


def test_the_child_ends_with_us_even_when_we_are_killed(rpicam, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    rpicam(f"stall=3 pid={pid}")  # it writes no more, so a closed pipe alone would not end it
    code = "import edge_classify, time; source = edge_classify.open_source('csi'); print('open', flush=True); "
    code += "time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    child = int(pid.read_text())
    time.sleep(0.3)  # until it stalls
    assert not gone(child)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert eventually(lambda: gone(child))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_while_the_camera_is_gone(rpicam, tmp_path: Path, how: signal.Signals) -> None:
    rpicam("die=20")
    process = subprocess.Popen(
        [Path(sys.executable).with_name("edge-classify"), "--camera", "csi", "--json", "--rotate", "90"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with Ctrl-C ignored; the tests may be run so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for awaited in ("camera csi: rpicam-vid: 640x480 YUV420, 30 frames per second", "waiting for it to return"):
        line = process.stderr.readline()
        while line and awaited not in line:
            line = process.stderr.readline()
        assert awaited in line
        (tmp_path / "rpicam-vid").unlink(missing_ok=True)
    time.sleep(0.3)  # into the pause before an attempt to start it again
    _, rest = stop(process, how)
    assert "capture_age" in rest
    assert "Traceback" not in rest


def test_giving_up_ends_it_with_code_3(rpicam, command) -> None:
    rpicam("die=3")
    done = command("edge-classify", "--camera", "csi", "--json", "--give-up", 0.2)
    assert done.returncode == 3
    assert "error: camera csi: no frames for 0.2 s, giving up (rpicam-vid exited: ERROR" in done.stderr
