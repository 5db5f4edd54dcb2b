"""What happens when a camera stops, for faults that no camera at hand can be made to have."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge_classify import CameraError
from edge_classify.sources import live
from edge_classify.sources.frame import Transform
from edge_classify.sources.live import NewestFrame


def picture(value: int, width: int = 64) -> np.ndarray:
    return np.full((48, width, 3), value, np.uint8)


class Device:
    """Plays a script: each entry is a picture, None, an error to raise, or something to call first."""

    description = "64x48"
    patience = 0.3

    def __init__(self, *script: object) -> None:
        self._script = iter(script)
        self.closed = threading.Event()

    def read(self) -> tuple[np.ndarray, float] | None:
        time.sleep(0.01)
        entry = next(self._script)
        while callable(entry):
            entry = entry() or next(self._script)
        if isinstance(entry, Exception):
            raise entry
        return None if entry is None else (entry, time.perf_counter())

    def close(self) -> None:
        self.closed.set()


def endless(entry: object) -> list[object]:
    return [entry] * 2000


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_GRACE", 0.5)
    monkeypatch.setattr(live, "_FIRST_PICTURE", 0.5)


@pytest.fixture
def start() -> Iterator[Callable[..., NewestFrame]]:
    opened: list[NewestFrame] = []

    def begin(*devices: Device | Exception, give_up: float | None = None) -> NewestFrame:
        coming = iter(devices)

        def open_device() -> Device:
            device = next(coming, CameraError("not there"))
            if isinstance(device, Exception):
                raise device
            return device

        opened.append(NewestFrame("0", open_device, Transform(), give_up))
        return opened[-1]

    yield begin
    for camera in opened:
        camera.close()


def test_a_driver_that_never_answers_is_left_behind_and_its_late_frame_with_it(start, caplog) -> None:
    answer = threading.Event()
    stuck = Device(picture(1), answer.wait, *[picture(99)] * 3)
    good = Device(*endless(picture(2)))
    camera = start(stuck, good)
    frames = camera.frames()
    assert next(frames).image[0, 0, 0] == 1
    began = time.perf_counter()
    assert next(frames).image[0, 0, 0] == 2
    assert time.perf_counter() - began < 5
    answer.set()
    assert stuck.closed.wait(5)  # it closes its device itself once the driver lets it go
    later = [next(frames) for _ in range(5)]
    assert {frame.image[0, 0, 0] for frame in later} == {2}
    assert "its driver does not answer" in caplog.messages[0]
    assert "back after" in caplog.messages[1]


def test_only_a_few_threads_wait_for_a_dead_driver(start) -> None:
    answer = threading.Event()
    camera = start(Device(picture(1), answer.wait), *[Device(answer.wait) for _ in range(9)])
    frames = camera.frames()
    next(frames)
    thread = threading.Thread(target=lambda: list(frames), daemon=True)
    thread.start()
    time.sleep(5)
    waiting = [thread for thread in threading.enumerate() if thread.name == "camera 0"]
    assert len(waiting) <= 4
    began = time.perf_counter()
    camera.close()
    assert time.perf_counter() - began < 1
    thread.join(5)
    assert not thread.is_alive()
    answer.set()


def test_each_loss_is_said_once_and_the_pauses_grow(caplog) -> None:
    tries: list[float] = []

    def open_device() -> Device:
        tries.append(time.perf_counter())
        if len(tries) == 1:
            return Device(picture(1), CameraError("it was unplugged"))
        if len(tries) < 5:
            raise CameraError("not there")
        return Device(*endless(picture(2)))

    camera = NewestFrame("0", open_device, Transform(), None)
    frames = camera.frames()
    values = [next(frames).image[0, 0, 0] for _ in range(2)]
    camera.close()
    assert values == [1, 2]
    assert caplog.messages[0] == "camera 0: it was unplugged: waiting for it to come back"
    assert len(caplog.messages) == 2
    assert (np.diff(tries) > [0.2, 0.45, 0.95, 1.95]).all()


def test_broken_pictures_are_left_out_and_a_camera_that_gives_no_other_is_opened_again(start, caplog) -> None:
    camera = start(
        Device(picture(1), None, picture(2), *[None] * 1000),
        Device(*endless(picture(3))),
    )
    frames = camera.frames()
    values = []
    while 3 not in values:
        values.append(int(next(frames).image[0, 0, 0]))
    assert values in ([1, 2, 3], [2, 3])
    assert caplog.messages[0] == "camera 0: no picture for 0.3 s: waiting for it to come back"


def test_a_size_that_changes_is_said(start, caplog) -> None:
    camera = start(Device(*[picture(1)] * 3, *endless(picture(1, width=80))))
    assert any(frame.image.shape == (48, 80, 3) for frame in camera.frames())
    assert caplog.messages == ["camera 0: its pictures changed from 64x48 to 80x48"]


def test_it_gives_up_after_the_time_that_was_asked_for(start) -> None:
    camera = start(Device(picture(1), CameraError("it was unplugged")), give_up=1)
    frames = camera.frames()
    next(frames)
    with pytest.raises(CameraError, match=r"^camera 0: no picture for 1 s, given up: not there$"):
        next(frames)


def test_a_camera_that_is_absent_or_silent_at_the_start_is_an_error(start) -> None:
    with pytest.raises(CameraError, match=r"^camera 0: not there$"):
        start()
    with pytest.raises(CameraError, match=r"^camera 0: no picture for 0.5 s$"):
        start(Device(*[None] * 1000))
    with pytest.raises(CameraError, match="its driver does not answer"):
        start(Device(lambda: time.sleep(3)))


def test_a_mistake_of_ours_is_not_mistaken_for_a_fault(start) -> None:
    camera = start(Device(picture(1), ValueError("wrong")))
    with pytest.raises(ValueError, match="wrong"):
        list(camera.frames())


def test_a_program_that_leaves_its_camera_open_ends_at_once_and_well() -> None:
    code = """
from edge_classify import open_source
for frame in open_source("demo"):
    if frame.number > 3:
        break
"""
    began = time.perf_counter()
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert time.perf_counter() - began < 30
