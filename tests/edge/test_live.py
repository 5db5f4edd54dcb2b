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
from edge_classify.sources.live import Backoff, LiveCamera, Timeouts, stuck_readers

# Nothing here lasts so long, unless the machine is very busy.
GENEROUS_S = 30.0


def picture(value: int, width: int = 64) -> np.ndarray:
    return np.full((48, width, 3), value, np.uint8)


class Device:
    """Plays a script: each entry is a picture, None, an error to raise, or something to call first."""

    description = "64x48"

    def __init__(self, *script: object, patience: float = GENEROUS_S) -> None:
        self._script = iter(script)
        self.patience = patience
        self.closed = threading.Event()

    def read(self) -> tuple[np.ndarray, float] | None:
        time.sleep(0.01)
        entry = next(self._script)
        while callable(entry):
            entry()
            entry = next(self._script)
        if isinstance(entry, Exception):
            raise entry
        return None if entry is None else (entry, time.perf_counter())

    def close(self) -> None:
        self.closed.set()


def endless(entry: object) -> Iterator[object]:
    while True:
        yield entry


class Playing(Device):
    """Gives one picture for ever."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self._script = endless(picture(value))


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + GENEROUS_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def start() -> Iterator[Callable[..., LiveCamera]]:
    """Start a camera whose devices are opened in turn, and which then is not there any more."""
    opened: list[LiveCamera] = []

    def begin(*devices: Device | Exception, give_up: float | None = None, **timeouts: float) -> LiveCamera:
        coming = iter(devices)

        def open_device() -> Device:
            device = next(coming, CameraError("not there"))
            if isinstance(device, Exception):
                raise device
            return device

        opened.append(LiveCamera("0", open_device, give_up=give_up, timeouts=Timeouts(**timeouts)))
        return opened[-1]

    yield begin
    for camera in opened:
        camera.close()


def test_a_driver_that_never_returns_is_left_behind_and_its_late_frame_with_it(start, caplog) -> None:
    answer = threading.Event()
    stuck = Device(picture(1), answer.wait, *[picture(99)] * 3, patience=0.05)
    frames = start(stuck, Playing(2), driver=0.05).frames()
    assert next(frames).image[0, 0, 0] == 1
    assert next(frames).image[0, 0, 0] == 2
    assert stuck_readers() == 1
    answer.set()
    assert stuck.closed.wait(GENEROUS_S)  # its own reader closes it once the driver lets it go
    assert eventually(lambda: stuck_readers() == 0)
    later = [next(frames) for _ in range(5)]
    assert {frame.image[0, 0, 0] for frame in later} == {2}
    assert caplog.messages[0] == "camera 0: the driver is not responding; waiting for it to return"
    assert caplog.messages[1].startswith("camera 0: back after ")


def test_only_a_few_threads_wait_for_a_dead_driver(start) -> None:
    answer = threading.Event()
    opened: list[int] = []

    def dying(number: int) -> Device:
        return Device(lambda: opened.append(number), picture(1), answer.wait, patience=0.05)

    camera = start(*[dying(number) for number in range(10)], driver=0.05)
    consumer = threading.Thread(target=lambda: list(camera.frames()), daemon=True)
    consumer.start()
    assert eventually(lambda: len(opened) == 4)
    time.sleep(0.5)  # when there would be more, were they not limited
    assert opened == [0, 1, 2, 3]
    assert stuck_readers() == 3
    camera.close()
    consumer.join(GENEROUS_S)
    assert not consumer.is_alive()
    assert stuck_readers() == 4
    answer.set()
    assert eventually(lambda: stuck_readers() == 0)


def test_pauses_double_up_to_the_longest_and_begin_again_after_a_reset() -> None:
    backoff = Backoff(0.25, 5)
    assert [backoff.next() for _ in range(7)] == [0.25, 0.5, 1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 0.25


def test_each_loss_is_reported_once_and_the_pauses_grow(caplog) -> None:
    attempts: list[float] = []

    def open_device() -> Device:
        attempts.append(time.perf_counter())
        if len(attempts) == 1:
            return Device(picture(1), CameraError("unplugged"))
        if len(attempts) < 5:
            raise CameraError("not there")
        return Playing(2)

    camera = LiveCamera("0", open_device, timeouts=Timeouts(shortest_pause=0.02))
    frames = camera.frames()
    values = [next(frames).image[0, 0, 0] for _ in range(2)]
    camera.close()
    assert values == [1, 2]
    assert caplog.messages[0] == "camera 0: unplugged; waiting for it to return"
    assert caplog.messages[1].endswith(" s: 64x48")
    assert len(caplog.messages) == 2
    assert (np.diff(attempts) > [0.018, 0.038, 0.078, 0.158]).all()


def test_broken_pictures_are_skipped_and_a_camera_that_gives_no_other_is_opened_again(start, caplog) -> None:
    camera = Device(picture(1), None, lambda: setattr(camera, "patience", 0.05), picture(2), *[None] * 1000)
    values = []
    for frame in start(camera, Playing(3), shortest_pause=0.02).frames():
        values.append(int(frame.image[0, 0, 0]))
        if 3 in values:
            break
    assert values in ([1, 2, 3], [2, 3])
    assert caplog.messages[0] == "camera 0: no frames for 0.05 s; waiting for it to return"


def test_a_size_that_changes_is_reported(start, caplog) -> None:
    camera = start(Device(*[picture(1)] * 3, *[picture(1, width=80)] * 1000))
    assert any(frame.image.shape == (48, 80, 3) for frame in camera.frames())
    assert caplog.messages == ["camera 0: frame size changed from 64x48 to 80x48"]


def test_it_gives_up_after_the_requested_time(start) -> None:
    frames = start(Device(picture(1), CameraError("not there")), give_up=0.3).frames()
    next(frames)
    with pytest.raises(CameraError, match=r"^camera 0: no frames for 0.3 s, giving up \(not there\)$"):
        next(frames)


def test_a_camera_that_is_absent_or_silent_at_the_start_is_an_error(start) -> None:
    with pytest.raises(CameraError, match=r"^camera 0: not there$"):
        start()
    with pytest.raises(CameraError, match=r"^camera 0: no frames for 0.1 s$"):
        start(Device(*[None] * 1000), first_frame=0.1, driver=GENEROUS_S)
    answer = threading.Event()
    with pytest.raises(CameraError, match=r"^camera 0: the driver is not responding: unplug"):
        start(Device(answer.wait), first_frame=0.1, driver=0.1)
    answer.set()


def test_a_bug_of_ours_is_not_mistaken_for_a_fault(start) -> None:
    camera = start(Device(picture(1), ValueError("wrong")))
    with pytest.raises(ValueError, match="wrong"):
        list(camera.frames())


def test_a_program_that_leaves_its_camera_open_ends_and_without_a_crash() -> None:
    code = """
from edge_classify import open_source
for frame in open_source("demo"):
    if frame.number > 3:
        break
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
