"""Writing from a thread of its own, so that whoever reads it, or does not, never holds up the frames."""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
from collections import deque
from typing import Self

log = logging.getLogger(__name__)

MOST_WAITING = 256
_WARN_EVERY = 60.0
_BUSY = 2.0

# Nobody will ever read what is written here: a pipe's reader, or the terminal, has gone.
_GONE = (errno.EPIPE, errno.EIO, errno.ECONNRESET)


class Writer:
    """Writes text to a file descriptor, from a thread of its own, through a bounded queue.

    name: what messages call it.
    live: frames come whether they are wanted or not, so nothing waits. A full queue drops its oldest text. What an
        error (a full disk) keeps from being written is lost, and told now and then.
        Otherwise nothing may be lost: `write` waits while the queue is full, and raises the error. May be set to
        live later, when the program is asked to end.
    patience: how many seconds the end of a live output, or one after an error, waits for what is left to be written.

    gone: whether the reader has gone for ever. That is no error; what is written from then on is let go.
    dropped: how many texts were lost, those after the reader had gone aside.
    """

    def __init__(self, descriptor: int, name: str, *, live: bool, patience: float = 0.3) -> None:
        self.gone = False
        self.dropped = 0
        self._descriptor = descriptor
        self._name = name
        self.live = live
        self._patience = patience
        self._waiting: deque[str] = deque()
        self._writing = False
        self._closed = False
        self._error: OSError | None = None
        self._warned_at = float("-inf")
        self._line_cut = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"writer of {name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.drain(self._patience if self.live or error is not None else None)
        finally:
            self.close()

    def write(self, text: str) -> None:
        with self._changed:
            if not self.live:
                self._changed.wait_for(self._may_take)
                if self._error is not None:
                    raise self._error
            if self.gone or self._closed:
                return
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(text)
            self._changed.notify_all()

    def _may_take(self) -> bool:
        return len(self._waiting) < MOST_WAITING or self.gone or self._closed or self._error is not None

    def flush(self) -> None:
        """Nothing: all is written as soon as it can be. Logging asks it of a stream."""

    def drain(self, seconds: float | None) -> bool:
        """Wait until all is written, for so many seconds at most; returns whether it was. Raises as `write` does."""
        with self._changed:
            done = self._changed.wait_for(self._is_done, seconds)
            if not done and select.select([], [self._descriptor], [], 0)[1]:
                # The reader holds up nothing; the machine is so busy that this thread has not run.
                done = self._changed.wait_for(self._is_done, _BUSY)
            if self._error is not None:
                raise self._error
            return done and not self.gone and not self._closed

    def _is_done(self) -> bool:
        return self._closed or self._error is not None or not (self._waiting or self._writing)

    def close(self) -> None:
        """End without waiting; what was not written is counted as dropped."""
        with self._changed:
            if self._closed:
                return
            self.dropped += len(self._waiting) + self._writing
            self._waiting.clear()
            self._closed = True
            self._changed.notify_all()
        # A write that is stuck keeps its thread: a daemon, which ends with the process.
        self._thread.join(timeout=0.1)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                text = self._waiting.popleft()
                self._writing = True
            error = None
            try:
                self._write(text.encode("utf-8", "replace"))
            except OSError as failure:
                error = failure
            with self._changed:
                self._writing = False
                if error is not None:
                    self._fail(error)
                self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        if self._line_cut:
            # What was only half written, the disk being full, must not spoil the line that follows.
            data = b"\n" + data
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
                self._line_cut = bool(data)
            except BlockingIOError:  # whoever shares the terminal has made it non-blocking
                select.select([], [self._descriptor], [])

    def _fail(self, error: OSError) -> None:
        if error.errno in _GONE:
            self.gone = True
            self._waiting.clear()
        elif not self.live:
            self._error = OSError(error.errno, error.strerror, self._name)
        else:
            self.dropped += 1
            now = time.monotonic()
            if now - self._warned_at >= _WARN_EVERY:
                self._warned_at = now
                log.warning("%s: %s: what cannot be written is lost", self._name, error.strerror)
