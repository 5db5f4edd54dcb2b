"""Results for a person: one steady line while a stream runs, one line for each picture."""

from __future__ import annotations

from collections import deque
from shutil import get_terminal_size

from ..pipeline.loop import Result
from . import Output
from .writer import Writer

_REDRAWS_PER_SECOND = 10
_LINES_PER_SECOND = 1
_RATE_FRAMES = 30


class Console(Output):
    """Shows state, score and latency.

    steady: rewrite one line (a stream of frames); otherwise a line for each result (pictures). Where
        `writer` leads to no terminal a steady line becomes a new line when the state changes, and once a second.
    """

    def __init__(self, writer: Writer, *, steady: bool, terminal: bool) -> None:
        self._writer = writer
        self._steady = steady
        self._terminal = terminal
        self._finished: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._shown_at = float("-inf")
        self._shown_state = ""
        self._line_open = False

    def __exit__(self, *_: object) -> None:
        if self._line_open:
            self._writer.write("\n")

    def append(self, result: Result) -> None:
        self._finished.append(result.finished_at)
        if not self._steady:
            self._writer.write(f"{result.frame.name}: {_categories(result)}  {result.timing_ms.total:.1f} ms\n")
            return
        rate = _REDRAWS_PER_SECOND if self._terminal else _LINES_PER_SECOND
        if result.state == self._shown_state and result.finished_at - self._shown_at < 1 / rate:
            return
        self._shown_at, self._shown_state = result.finished_at, result.state
        line = f"{_categories(result)}  {result.timing_ms.total:6.1f} ms  {self._frames_per_second():5.1f} fps"
        if self._terminal:
            # Rewritten in place, so it must not wrap; what a longer line left is cleared.
            shown = line[: get_terminal_size().columns - 1]
            self._writer.write(f"\r{shown}\x1b[K")
            self._line_open = True
        else:
            self._writer.write(f"{line}\n")

    def _frames_per_second(self) -> float:
        elapsed = self._finished[-1] - self._finished[0]
        return (len(self._finished) - 1) / elapsed if elapsed > 0 else 0.0


def _categories(result: Result) -> str:
    first, *others = result.classification.categories
    own = f"{first.score:.2f}" if result.state == first.category_name else f"({first.category_name} {first.score:.2f})"
    shown = f"{result.state:<16} {own:<14}"
    return shown + "".join(f"  {category.category_name} {category.score:.2f}" for category in others)
