"""How often a frame is taken: up to a maximum rate, and less often while the device is throttled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter, sleep

from ..sources.frame import Frame

log = logging.getLogger(__name__)

_POLL_INTERVAL_S = 5.0
# The largest factor by which a throttled device's interval between frames grows.
_MAX_FACTOR = 8


class Pace:
    """Takes frames more slowly than they could come. A live source hands over its newest, so frames do not get older.

    max_fps: the maximum rate, in frames per second; None: no limit.
    is_throttled: called every `poll` seconds in a thread of its own. While it returns True, each call doubles the
        interval between frames, up to eight times the original one; afterwards each call halves it again.

    factor: by how much the interval is now longer than without throttling: 1, 2, 4 or 8.
    """

    def __init__(
        self, max_fps: float | None, is_throttled: Callable[[], bool] | None = None, *, poll: float = _POLL_INTERVAL_S
    ) -> None:
        self.factor = 1
        self._interval = 1 / max_fps if max_fps else 0.0
        self._is_throttled = is_throttled
        self._poll = poll

    def frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        ended = threading.Event()
        if self._is_throttled is not None:
            threading.Thread(
                target=self._watch, args=(self._is_throttled, ended), name="throttling", daemon=True
            ).start()
        usual = 0.0  # a moving average of the interval while not throttled
        taken_at: float | None = None
        try:
            for frame in frames:
                now = perf_counter()
                # Of a device that is throttled from the start the first interval has to do.
                if taken_at is not None and (self.factor == 1 or not usual):
                    usual += 0.1 * (now - taken_at - usual) if usual else now - taken_at
                taken_at = now
                yield frame
                factor = self.factor
                rest = taken_at + (usual * factor if factor > 1 else self._interval) - perf_counter()
                if rest > 0:
                    sleep(rest)
        finally:
            ended.set()

    def _watch(self, is_throttled: Callable[[], bool], ended: threading.Event) -> None:
        while not ended.wait(self._poll):
            before = self.factor
            self.factor = min(2 * before, _MAX_FACTOR) if is_throttled() else max(before // 2, 1)
            if before == 1 < self.factor:
                log.warning("the processor is throttled (heat or insufficient power): taking fewer frames")
            elif self.factor == 1 < before:
                log.warning("the processor is no longer throttled: taking all frames again")
