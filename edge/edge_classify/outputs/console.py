"""Results for a person: one steady line while a stream runs, one line for each picture."""

from __future__ import annotations

from collections import deque
from shutil import get_terminal_size
from types import TracebackType
from typing import Self, TextIO

from ..pipeline import Result

_REDRAWS_PER_SECOND = 10
_LINES_PER_SECOND = 1
_RATE_FRAMES = 30


class Console:
    """Shows label, score and latency on `stream`.

    steady: rewrite one line (a stream of frames); otherwise a line for each result (pictures). Where
        `stream` is no terminal a steady line becomes a new line when the label changes, and once a second.
    """

    def __init__(self, stream: TextIO, *, steady: bool) -> None:
        self._stream = stream
        self._steady = steady
        self._terminal = stream.isatty()
        self._finished: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._shown_at = float("-inf")
        self._shown_label = ""
        self._line_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line_open and not isinstance(error, BrokenPipeError):
            print(file=self._stream, flush=True)

    def append(self, result: Result) -> None:
        self._finished.append(result.finished_at)
        if not self._steady:
            print(
                f"{result.frame.name}: {_categories(result)}  {result.timing_ms.total:.1f} ms",
                file=self._stream,
                flush=True,
            )
            return
        label = result.classification.label
        rate = _REDRAWS_PER_SECOND if self._terminal else _LINES_PER_SECOND
        if label == self._shown_label and result.finished_at - self._shown_at < 1 / rate:
            return
        self._shown_at, self._shown_label = result.finished_at, label
        line = f"{_categories(result)}  {result.timing_ms.total:6.1f} ms  {self._frames_per_second():5.1f} fps"
        if self._terminal:
            # Rewritten in place, so it must not wrap; what a longer line left is cleared.
            shown = line[: get_terminal_size().columns - 1]
            print(f"\r{shown}\x1b[K", end="", file=self._stream, flush=True)
            self._line_open = True
        else:
            print(line, file=self._stream, flush=True)

    def _frames_per_second(self) -> float:
        elapsed = self._finished[-1] - self._finished[0]
        return (len(self._finished) - 1) / elapsed if elapsed > 0 else 0.0


def _categories(result: Result) -> str:
    first, *others = result.classification.categories
    shown = f"{result.classification.label:<16} {first.score:.2f}"
    if result.classification.label != first.category_name:
        shown = f"{result.classification.label:<16} ({first.category_name} {first.score:.2f})"
    return shown + "".join(f"  {category.category_name} {category.score:.2f}" for category in others)
