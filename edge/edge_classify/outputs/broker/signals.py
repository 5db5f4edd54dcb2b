"""What the thread of the frames and that of the connection tell each other."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


class Signals:
    """stop: set when the program ends.
    exchanged: a model was exchanged for another, which may have other labels.
    settled: everything has been told, or cannot be told now.
    woken: a file descriptor that can be read once `wake` was called, until `calm` is.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.exchanged = threading.Event()
        self.settled = threading.Event()
        self.woken, self._waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self) -> None:
        """Never blocks: a thread that has not read thousands of calls will look anyway."""
        with suppress(BlockingIOError):
            os.write(self._waking, b"1")

    def calm(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self.woken, 4096):
                pass

    def close(self) -> None:
        os.close(self.woken)
        os.close(self._waking)
