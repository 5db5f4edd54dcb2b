"""Where the outputs of one run write to, so that all of it is drained together at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from .queue import MAX_WAITING, BoundedQueue, Item
from .writer import open_text, standard_error, standard_output

if TYPE_CHECKING:
    from .run import Run

# All live queues together have so long to write what is left when the program ends; then the summary has.
_DRAIN_TIMEOUT_S = 0.25


class Destinations:
    """The queues of one run, closed with `stack`.

    run: the run. Its source says whether frames arrive unasked (`live`), so that no queue may wait (see
        `BoundedQueue`), and whether they follow one another (`stream`), unlike separate pictures.

    standard_output: for people, unless an output has claimed it for a program to read.
    standard_error: for warnings.
    """

    def __init__(self, stack: ExitStack, run: Run) -> None:
        self.run = run
        self.live = run.source.live
        self.stream = run.source.stream
        self.claimed = False
        self._stack = stack
        self._queues: list[BoundedQueue[Any]] = []
        self.standard_error = stack.enter_context(standard_error())
        self.standard_output = self._add(standard_output(live=self.live))

    def claim_standard_output(self) -> BoundedQueue[str]:
        """Standard output for one output alone: the console and the summary stay away from it."""
        self.claimed = True
        return self._add(open_text("-", live=self.live))

    def file(self, path: str) -> BoundedQueue[str]:
        """A queue of text that is appended to a file; "-" claims standard output. Raises OSError."""
        return self.claim_standard_output() if path == "-" else self._add(open_text(path, live=self.live))

    def queue(
        self,
        consume: Callable[[Item], object],
        name: str,
        close: Callable[[], object] | None = None,
        limit: int = MAX_WAITING,
    ) -> BoundedQueue[Item]:
        """A queue for whatever else may block, such as a connection. limit: items that may wait."""
        return self._add(BoundedQueue(consume, name, live=self.live, close=close, limit=limit))

    def stop_waiting(self) -> None:
        """From now on wait for no reader: the user has asked the program to stop."""
        for queue in self._queues:
            queue.live = True

    def drain(self) -> None:
        """Have everything written that is left; give up soon on live queues that are blocked."""
        _drain(self._queues)

    def print_summary(self, text: str) -> None:
        """On standard output if that is for people and still read, otherwise on standard error."""
        if not self.claimed:
            screen = self.standard_output
            screen.put(text)
            if screen.drain(_DRAIN_TIMEOUT_S if screen.live else None):
                return
            screen.close()
        self.standard_error.put(text)
        _drain([self.standard_error])

    def _add(self, queue: BoundedQueue[Item]) -> BoundedQueue[Item]:
        self._queues.append(queue)
        return self._stack.enter_context(queue)


def _drain(queues: Iterable[BoundedQueue[Any]]) -> None:
    deadline = time.perf_counter() + _DRAIN_TIMEOUT_S
    for queue in queues:
        if not queue.drain(max(0.0, deadline - time.perf_counter()) if queue.live else None):
            queue.close()
