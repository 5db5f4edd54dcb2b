"""A live camera: read in a thread of its own that keeps only the newest frame, and reopened when it stops.

How soon a fault is noticed: an unplugged camera and a stream that ends at once; a camera that gives no frames, or only
broken ones, after its `patience` (2 s or three frames, streams 5 s); a driver whose call does not return 3 s later.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2

from ..errors import CameraError
from ..images.preprocessing import Image
from .device import Device, UndecodableFrameError
from .frame import UNCHANGED, Frame, Transform

log = logging.getLogger(__name__)

# How often whoever waits for a frame looks after the reader.
_WATCH_INTERVAL_S = 0.25
# A driver that fails at once would otherwise be asked a million times.
_RETRY_PAUSE_S = 0.01
_CLOSE_TIMEOUT_S = 0.3
_EXIT_TIMEOUT_S = 6.0

_MAX_STUCK_READERS = 3


@dataclass(frozen=True)
class Timeouts:
    """When a camera counts as lost, and how often it is then opened again; all in seconds.

    first_frame: until the first frame of a camera that was just opened.
    driver: beyond its patience, until a call of its driver counts as stuck.
    shortest_pause, longest_pause: between attempts to open it; doubled from one to the other.
    steady: a camera that ran for so long begins with the shortest pause again.
    """

    first_frame: float = 10.0
    driver: float = 3.0
    shortest_pause: float = 0.25
    longest_pause: float = 5.0
    steady: float = 10.0


DEFAULT_TIMEOUTS = Timeouts()


class Backoff:
    """The pauses between attempts to open a camera: each twice the one before, up to the longest."""

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self._next = shortest

    def next(self) -> float:
        pause = self._next
        self._next = min(2 * pause, self._longest)
        return pause

    def reset(self) -> None:
        self._next = self._shortest


class _Reader(threading.Thread):
    """One attempt to read a camera, which a driver may never let end.

    deadline: when its present call of the driver must have returned, in seconds of `time.perf_counter`.
    dismissed: it shall end and may deliver no more. If it is alive for long after that, it is stuck in its driver.
    """

    def __init__(self, capture: Callable[[_Reader], None], name: str, deadline: float) -> None:
        super().__init__(name=name, daemon=True)
        self.deadline = deadline
        self.dismissed = False
        self._capture = capture

    def run(self) -> None:
        self._capture(self)


def stuck_readers() -> int:
    """How many reader threads of cameras that were closed or replaced have not ended: their drivers do not return.

    Such a thread cannot be stopped, and aborts the process if it returns while the interpreter shuts down.
    """
    return sum(isinstance(thread, _Reader) and thread.dismissed for thread in threading.enumerate())


class LiveCamera:
    """Owns the reader thread, the slot for the newest frame, and what happens when the camera stops.

    open_device: opens the camera, wherever it is now; raises CameraError. Called again after each fault.
    give_up: seconds without a frame after which `frames` raises CameraError; None: never.

    Returns once the first frame is there; raises CameraError if none comes.
    dropped: frames that were captured and replaced by a newer one before they were taken.
    undecodable: frames that were left out because they cannot be decoded, since the first good one.
    returns: how often it was lost and came back.
    """

    def __init__(
        self,
        name: str,
        open_device: Callable[[], Device],
        transform: Transform = UNCHANGED,
        give_up: float | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self.dropped = 0
        self.undecodable = 0
        self.returns = 0
        self._description = ""
        self._name = name
        self._open_device = open_device
        self._transform = transform
        self._give_up = give_up
        self._timeouts = timeouts
        # Its lock guards what follows.
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._frame_at = 0.0
        self._number = 0
        self._size: tuple[int, int] | None = None
        self._failure: Exception | None = None
        # Why the camera is gone; None while it gives frames.
        self._lost: str | None = None
        self._closed = False
        # A reader that is stuck in its driver is replaced; only the newest one may deliver.
        self._stuck: list[_Reader] = []
        self._reader = self._start_reader()
        atexit.register(self._at_exit)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """What was negotiated with the camera, in one line."""
        return f"camera {self._name}: {self._description}"

    @property
    def lost_since(self) -> float | None:
        """When its last frame came, in seconds of `time.perf_counter`, if it is lost; None while it gives frames."""
        return None if self._lost is None else self._frame_at

    def frames(self) -> Iterator[Frame]:
        """The newest frame, again and again, until `close`. Raises CameraError after `give_up`."""
        while self._wait():
            with self._changed:
                frame, self._frame = self._frame, None
            if frame is not None:
                yield frame

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._reader.dismissed = True
            self._changed.notify_all()
        # A driver's read can block for seconds; the reader closes the camera when that returns.
        self._reader.join(_CLOSE_TIMEOUT_S)
        if not any(reader.is_alive() for reader in (self._reader, *self._stuck)):
            atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        """Wait for the readers: one that returns from OpenCV while the interpreter shuts down aborts it."""
        self.close()
        for reader in (self._reader, *self._stuck):
            reader.join(_EXIT_TIMEOUT_S)

    def _wait(self) -> bool:
        """Wait for a frame, watching over the reader; false once closed."""
        with self._changed:
            while self._frame is None and not self._closed:
                if self._failure is not None:
                    raise self._failure
                self._watch()
                self._changed.wait(_WATCH_INTERVAL_S)
            return not self._closed

    def _watch(self) -> None:
        now = time.perf_counter()
        if self._give_up is not None and self._number and now - self._frame_at > self._give_up:
            raise CameraError(
                f"camera {self._name}: no frames for {self._give_up:g} s, giving up ({self._lost or 'stalled'})"
            )
        if now >= self._reader.deadline:
            self._replace_reader("the driver is not responding")

    def _replace_reader(self, reason: str) -> None:
        if not self._number:
            raise CameraError(f"camera {self._name}: {reason}: unplug the camera and plug it in again")
        self._stuck = [reader for reader in self._stuck if reader.is_alive()]
        if len(self._stuck) < _MAX_STUCK_READERS:
            self._reader.dismissed = True
            self._stuck.append(self._reader)
            self._reader = self._start_reader()
            self._report_lost(reason)

    def _start_reader(self) -> _Reader:
        deadline = time.perf_counter() + self._timeouts.first_frame + self._timeouts.driver
        reader = _Reader(self._capture, f"camera {self._name}", deadline)
        reader.start()
        return reader

    def _capture(self, reader: _Reader) -> None:
        """The reader's life: open the camera, read until it fails, pause, and open it again."""
        backoff = Backoff(self._timeouts.shortest_pause, self._timeouts.longest_pause)
        while True:
            opened_at = time.perf_counter()
            reason = self._read(reader)
            if not self._may_retry(reader, reason):
                return
            if self._frame_at - opened_at > self._timeouts.steady:
                backoff.reset()
            self._report_lost(reason)
            if not self._pause(reader, backoff.next()):
                return

    def _may_retry(self, reader: _Reader, reason: str) -> bool:
        with self._changed:
            if reader.dismissed:
                return False
            if not self._number and self._failure is None:
                # Never a frame: an error at the start, not a fault to wait out.
                self._failure = CameraError(f"camera {self._name}: {reason}")
            if self._failure is not None:
                self._changed.notify_all()
            return self._failure is None

    def _pause(self, reader: _Reader, seconds: float) -> bool:
        """Wait before the next attempt; returns false if the reader was dismissed meanwhile."""
        opening = self._timeouts.first_frame + self._timeouts.driver
        with self._changed:
            reader.deadline = time.perf_counter() + seconds + opening
            if self._changed.wait_for(lambda: reader.dismissed, seconds):
                return False
            reader.deadline = time.perf_counter() + opening
            return True

    def _read(self, reader: _Reader) -> str:
        """Open the camera and deliver its frames until it fails; returns why it did."""
        device: Device | None = None
        try:
            device = self._open_device()
            last_at, patience = time.perf_counter(), self._timeouts.first_frame
            while self._may_read(reader, patience + self._timeouts.driver):
                captured = self._read_frame(device)
                if captured is not None:
                    self._deliver(reader, device, *captured)
                    last_at, patience = time.perf_counter(), device.patience
                elif time.perf_counter() - last_at >= patience:
                    return f"no frames for {patience:g} s"
                else:
                    time.sleep(_RETRY_PAUSE_S)
        except (CameraError, OSError, cv2.error) as error:
            return str(error).strip()
        except Exception as error:  # a bug of ours, which must reach whoever waits for frames
            self._failure = error
        finally:
            if device is not None:
                device.close()
        return "closed"

    def _read_frame(self, device: Device) -> tuple[Image, float] | None:
        try:
            return device.read()
        except UndecodableFrameError as error:
            # A stream that is joined between two key frames begins with such frames.
            if self._number:
                if not self.undecodable:
                    log.warning("camera %s: left out a frame that cannot be decoded; more will be counted", self._name)
                self.undecodable += error.count
            return None

    def _may_read(self, reader: _Reader, seconds: float) -> bool:
        """Whether this reader may go on; if so, its next call must return within `seconds`."""
        with self._changed:
            if reader.dismissed:
                return False
            reader.deadline = time.perf_counter() + seconds
            return True

    def _deliver(self, reader: _Reader, device: Device, image: Image, captured_at: float) -> None:
        image = self._transform(image)
        size = (image.shape[1], image.shape[0])
        with self._changed:
            if reader.dismissed:
                return
            lost, self._lost = self._lost, None
            previous, self._size = self._size, size
            self._description = device.description
        # Not under the lock: nobody who waits for a frame waits for whoever reads the warnings.
        if lost is not None:
            self.returns += 1
            away = time.perf_counter() - self._frame_at
            log.warning("camera %s: back after %.1f s: %s", self._name, away, device.description)
        elif previous is not None and previous != size:
            log.warning("camera %s: frame size changed from %dx%d to %dx%d", self._name, *previous, *size)
        with self._changed:
            if reader.dismissed:
                return
            if self._frame is not None:
                self.dropped += 1
            self._frame_at = time.perf_counter()
            self._frame = Frame(image, self._number, captured_at, self._name)
            self._number += 1
            self._changed.notify_all()

    def _report_lost(self, reason: str) -> None:
        """One warning per loss, however many attempts to open it again fail."""
        if self._lost is None:
            log.warning("camera %s: %s; waiting for it to return", self._name, reason)
        self._lost = reason
