"""A live camera: read in a thread of its own that keeps only the newest frame, and opened again when it stops.

How soon a fault is noticed: an unplugged camera and a stream that ends at once; a camera that gives no or only
broken pictures after its `patience` (2 s or three frames, streams 5 s); a driver whose call does not return 3 s
later.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import cv2

from ..errors import CameraError
from ..images.preprocessing import Image
from .frame import Frame, Transform

log = logging.getLogger(__name__)

# Seconds.
_FIRST_PICTURE = 10.0  # until the first picture of a camera that was just opened
_GRACE = 3.0  # beyond its patience, until a driver's call counts as stuck
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0  # between attempts to open it again
_STEADY = 10.0  # a camera that ran so long starts with the shortest pause again
_WATCH = 0.25
_CLOSE = 0.3
_AT_EXIT = 6.0

_MOST_STUCK = 3


def stuck_readers() -> int:
    """How many cameras' readers are still alive; after `close`, those that hang in their driver."""
    return sum(thread.name.startswith("camera ") for thread in threading.enumerate())


class Device(Protocol):
    """An open camera, as this module needs it. The errors of opening and reading it do not name it.

    description: what was negotiated with it, in one line.
    patience: seconds without a picture after which it counts as stalled.
    """

    description: str
    patience: float

    def read(self) -> tuple[Image, float] | None:
        """The next picture and when it was captured (seconds of `time.perf_counter`).

        None if none came in time, or a broken one. Raises CameraError if no more will come.
        """

    def close(self) -> None: ...


class NewestFrame:
    """Owns the reading thread, the slot for the newest frame, and what happens when the camera stops.

    open_device: opens the camera, wherever it is now; raises CameraError. Called again after each fault.
    give_up: seconds without a frame after which `frames` raises CameraError; None: never.

    Returns once the first frame is there; raises CameraError if none comes.
    dropped: frames that were captured and replaced by a newer one before anybody took them.
    """

    def __init__(
        self, name: str, open_device: Callable[[], Device], transform: Transform, give_up: float | None
    ) -> None:
        self.dropped = 0
        self._description = ""
        self._name = name
        self._open_device = open_device
        self._transform = transform
        self._give_up = give_up
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._frame_at = 0.0
        self._number = 0
        self._size: tuple[int, int] | None = None
        self._failure: Exception | None = None
        self._lost: str | None = None
        self._stopped = False
        # A reader that is stuck in its driver is replaced; only the newest generation may deliver.
        self._generation = 0
        self._stuck: list[threading.Thread] = []
        self._deadline = 0.0
        self._thread = self._start()
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

    def frames(self) -> Iterator[Frame]:
        """The newest frame, again and again, until `close`. Raises CameraError after `give_up`."""
        while self._wait():
            with self._changed:
                frame, self._frame = self._frame, None
            if frame is not None:
                yield frame

    def close(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        # A driver's read can block for seconds; the thread closes the camera when that returns.
        self._thread.join(_CLOSE)
        if not any(thread.is_alive() for thread in (self._thread, *self._stuck)):
            atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        """Wait for the readers: one that comes back from OpenCV while the interpreter is taken down aborts it."""
        self.close()
        for thread in (self._thread, *self._stuck):
            thread.join(_AT_EXIT)

    def _wait(self) -> bool:
        """Wait for a frame, watching over the reader; false once closed."""
        with self._changed:
            while self._frame is None and not self._stopped:
                if self._failure is not None:
                    raise self._failure
                self._watch()
                self._changed.wait(_WATCH)
            return not self._stopped

    def _watch(self) -> None:
        now = time.perf_counter()
        if self._give_up is not None and self._number and now - self._frame_at > self._give_up:
            raise CameraError(
                f"camera {self._name}: no picture for {self._give_up:g} s, given up: {self._lost or 'it stalled'}"
            )
        if now < self._deadline:
            return
        reason = "its driver does not answer"
        if not self._number:
            raise CameraError(f"camera {self._name}: {reason}: unplug it and plug it in again")
        self._stuck = [thread for thread in self._stuck if thread.is_alive()]
        if len(self._stuck) < _MOST_STUCK:
            self._stuck.append(self._thread)
            self._generation += 1
            self._thread = self._start()
            self._say_lost(reason)

    def _start(self) -> threading.Thread:
        self._deadline = time.perf_counter() + _FIRST_PICTURE + _GRACE
        thread = threading.Thread(
            target=self._capture, args=(self._generation,), name=f"camera {self._name}", daemon=True
        )
        thread.start()
        return thread

    def _capture(self, generation: int) -> None:
        """The reader: open the camera, read until it fails, pause, and open it again."""
        pause = _SHORTEST_PAUSE
        while True:
            opened_at = time.perf_counter()
            reason = self._read(generation)
            with self._changed:
                if self._superseded(generation):
                    return
                if not self._number and self._failure is None:
                    # Never a picture: that is an error at the start, not a fault to sit out.
                    self._failure = CameraError(f"camera {self._name}: {reason}")
                if self._failure is not None:
                    self._changed.notify_all()
                    return
                if self._frame_at - opened_at > _STEADY:
                    pause = _SHORTEST_PAUSE
            self._say_lost(reason)
            with self._changed:
                self._deadline = time.perf_counter() + pause + _FIRST_PICTURE + _GRACE
                if self._changed.wait_for(lambda: self._superseded(generation), pause):
                    return
                self._deadline = time.perf_counter() + _FIRST_PICTURE + _GRACE
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _read(self, generation: int) -> str:
        """Open the camera and deliver its pictures until it fails; returns why it did."""
        device: Device | None = None
        try:
            device = self._open_device()
            seen_at, patience = time.perf_counter(), _FIRST_PICTURE
            while self._allow(generation, patience + _GRACE):
                captured = device.read()
                if captured is not None:
                    self._deliver(generation, device, *captured)
                    seen_at, patience = time.perf_counter(), device.patience
                elif time.perf_counter() - seen_at >= patience:
                    return f"no picture for {patience:g} s"
                else:
                    time.sleep(0.01)  # a driver that fails at once would be asked a million times
        except (CameraError, OSError, cv2.error) as error:
            return str(error).strip()
        except Exception as error:  # a mistake of ours, which must reach whoever waits for frames
            self._failure = error
        finally:
            if device is not None:
                device.close()
        return "it was closed"

    def _superseded(self, generation: int) -> bool:
        return self._stopped or generation != self._generation

    def _allow(self, generation: int, seconds: float) -> bool:
        """Whether this reader may go on; if so, until when its next call must have returned."""
        with self._changed:
            if self._superseded(generation):
                return False
            self._deadline = time.perf_counter() + seconds
            return True

    def _deliver(self, generation: int, device: Device, image: Image, captured_at: float) -> None:
        image = self._transform(image)
        with self._changed:
            if self._superseded(generation):
                return
            lost, self._lost = self._lost, None
            before, self._size = self._size, (image.shape[1], image.shape[0])
            self._description = device.description
        if lost is not None:
            gone = time.perf_counter() - self._frame_at
            log.warning("camera %s: back after %.1f s: %s", self._name, gone, device.description)
        elif before is not None and before != self._size:
            log.warning("camera %s: its pictures changed from %dx%d to %dx%d", self._name, *before, *self._size)
        with self._changed:
            if self._superseded(generation):
                return
            if self._frame is not None:
                self.dropped += 1
            self._frame_at = time.perf_counter()
            self._frame = Frame(image, self._number, captured_at, self._name)
            self._number += 1
            self._changed.notify_all()

    def _say_lost(self, reason: str) -> None:
        """One line for each loss, however often it is then looked for."""
        if self._lost is None:
            log.warning("camera %s: %s: waiting for it to come back", self._name, reason)
        self._lost = reason
