"""A bounded queue between frames and whoever takes their results: a slow disk, reader or network holds up no frame."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Self, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")

# Items that wait in one queue, unless it has a limit of its own.
MAX_WAITING = 256
_WARN_INTERVAL_S = 60.0
# The end of a live queue, or of one after an error, waits so long for what is left in it.
_END_TIMEOUT_S = 0.3
# If nothing blocks and the thread has still not run, the machine is busy.
_BUSY_TIMEOUT_S = 2.0
# A consumer that is stuck keeps its thread, which is a daemon and ends with the process.
_JOIN_TIMEOUT_S = 0.1


class ConsumerGone(Exception):  # noqa: N818
    """Raised by a consumer that nobody will ever read again, such as a closed pipe. It is not an error."""


class BoundedQueue(Generic[Item]):
    """Hands each item to `consume`, from a thread of its own, in order.

    consume: takes one item and may block. It raises OSError if an item was lost, ConsumerGone if all others will be.
    name: what messages call it.
    live: frames arrive whether or not they are wanted, so `put` never waits: a full queue drops its oldest item, and
        what `consume` fails to write (a full disk) is lost, with a warning once a minute. Otherwise nothing may be
        lost: `put` waits while the queue is full, and raises the consumer's error. May be set to true later, when
        the program is asked to stop.
    is_ready: whether `consume` would return at once, if that can be known.
    close: called at the end, to close what `consume` writes to.
    limit: how many items may wait.

    gone: whether the consumer has gone. Items are then discarded and not counted.
    dropped: how many items were lost before that.
    """

    def __init__(
        self,
        consume: Callable[[Item], object],
        name: str,
        *,
        live: bool,
        is_ready: Callable[[], bool] | None = None,
        close: Callable[[], object] | None = None,
        limit: int = MAX_WAITING,
    ) -> None:
        self.live = live
        self.gone = False
        self.dropped = 0
        self._consume = consume
        self._name = name
        self._is_ready = is_ready
        self._close = close
        self._limit = limit
        self._waiting: deque[Item] = deque()
        self._consuming = False
        self._closed = False
        self._error: Exception | None = None
        self._warned_at = float("-inf")
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"queue for {name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.drain(_END_TIMEOUT_S if self.live or error is not None else None)
        finally:
            self.close()

    def put(self, item: Item) -> None:
        """Add an item. Unless `live`, waits for room and raises OSError if an earlier item could not be written."""
        with self._changed:
            if not self.live:
                self._changed.wait_for(self._has_room)
            self._raise_error()
            if self.gone or self._closed:
                return
            if len(self._waiting) >= self._limit:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(item)
            self._changed.notify_all()

    def drain(self, timeout: float | None) -> bool:
        """Wait up to `timeout` seconds until every item is written; returns whether it is. Raises as `put` does."""
        with self._changed:
            done = self._changed.wait_for(self._is_done, timeout)
            if not done and self._is_ready is not None and self._is_ready():
                done = self._changed.wait_for(self._is_done, _BUSY_TIMEOUT_S)
            self._raise_error()
            return done and not self.gone and not self._closed

    def close(self) -> None:
        """End at once. Whatever is still waiting counts as dropped."""
        with self._changed:
            if self._closed:
                return
            self.dropped += len(self._waiting) + self._consuming
            self._waiting.clear()
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_JOIN_TIMEOUT_S)
        # What a stuck consumer writes to stays open: its number must not be given to another file meanwhile.
        if self._close is not None and not self._thread.is_alive():
            self._close()

    def _has_room(self) -> bool:
        return len(self._waiting) < self._limit or self.gone or self._closed or self._error is not None

    def _is_done(self) -> bool:
        return self._closed or self._error is not None or not (self._waiting or self._consuming)

    def _raise_error(self) -> None:
        # What a live queue loses is no reason to stop; a bug in the consumer is.
        if self._error is not None and not (self.live and isinstance(self._error, OSError)):
            raise self._error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                item = self._waiting.popleft()
                self._consuming = True
            failure: Exception | None = None
            try:
                self._consume(item)
            except Exception as error:  # whoever puts the next item must hear of it
                failure = error
            with self._changed:
                self._consuming = False
                if failure is not None:
                    self._fail(failure)
                self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ConsumerGone):
            self.gone = True
            self._waiting.clear()
        elif not isinstance(error, OSError):
            self._error = error
        elif not self.live:
            self._error = OSError(error.errno, error.strerror or str(error), self._name)
        else:
            self.dropped += 1
            now = time.monotonic()
            if now - self._warned_at >= _WARN_INTERVAL_S:
                self._warned_at = now
                log.warning("%s: %s: dropping output until writing works again", self._name, error.strerror or error)
