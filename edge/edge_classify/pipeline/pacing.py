"""How often a frame is taken: at most so many a second, and fewer while the device is throttled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter, sleep

from ..sources.opening import Frame

log = logging.getLogger(__name__)

_POLL = 5.0
_LARGEST_FACTOR = 8


class Pace:
    """Holds frames back; a live source gives its newest when asked, so they are not older for it.

    max_fps: at most so many frames a second; None does not limit them.
    is_throttled: asked every `poll` seconds, in a thread of its own. While it says so the time from frame to frame is
        doubled at each question, up to eight times what it was; afterwards it is halved until it is as before.
    """

    def __init__(
        self, max_fps: float | None, is_throttled: Callable[[], bool] | None = None, *, poll: float = _POLL
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
        own = 0.0  # the time from frame to frame while nothing is slowed down
        taken_at: float | None = None
        try:
            for frame in frames:
                now = perf_counter()
                if taken_at is not None and self.factor == 1:
                    own += 0.1 * (now - taken_at - own) if own else now - taken_at
                taken_at = now
                yield frame
                factor = self.factor
                rest = taken_at + (own * factor if factor > 1 else self._interval) - perf_counter()
                if rest > 0:
                    sleep(rest)
        finally:
            ended.set()

    def _watch(self, is_throttled: Callable[[], bool], ended: threading.Event) -> None:
        while not ended.wait(self._poll):
            before = self.factor
            self.factor = min(2 * before, _LARGEST_FACTOR) if is_throttled() else max(before // 2, 1)
            if before == 1 < self.factor:
                log.warning("the processor is throttled (heat, or too little power): taking fewer frames")
            elif self.factor == 1 < before:
                log.warning("the processor is no longer throttled: taking all frames again")
