"""What all outputs that write lines of text share."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from .queue import BoundedQueue
from .writer import open_text


class LineOutput:
    """Writes lines to a file or standard output, from a thread of its own.

    to: the path of a file, to which lines are appended; "-" for standard output; or a queue, which stays open.
    live: lose lines rather than wait for a slow reader or stop for a full disk, as a camera needs it.

    Raises OSError if the file cannot be opened, and, unless live, if a line cannot be written.
    """

    def __init__(self, to: str | Path | BoundedQueue[str] = "-", *, live: bool = False) -> None:
        self._owns_queue = not isinstance(to, BoundedQueue)
        self._queue = to if isinstance(to, BoundedQueue) else open_text(to, live=live)

    @property
    def gone(self) -> bool:
        """Whether the reader has gone, such as `head` when it has enough."""
        return self._queue.gone

    def counts(self) -> dict[str, int]:
        """What the summary reports, if it is not 0."""
        return {"lines not written": self._queue.dropped}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._owns_queue:
            self._queue.__exit__(kind, error, trace)
