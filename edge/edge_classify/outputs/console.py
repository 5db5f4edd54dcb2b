"""Results for people: a line that is rewritten while a stream runs, or a line per picture."""

from __future__ import annotations

import os
import sys
from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width

from .lines import LineOutput
from .queue import BoundedQueue

if TYPE_CHECKING:
    import argparse

    from ..pipeline.loop import Result
    from .destinations import Destinations

_TERMINAL_LINES_PER_S = 10
_FILE_LINES_PER_S = 1
# Frames that the displayed rate is averaged over.
_RATE_FRAMES = 30
_DEFAULT_COLUMNS = 80
_STATE_CELLS = 16
_SCORE_CELLS = 14
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "?")


class Console(LineOutput):
    """Shows state, score and latency.

    stream: rewrite one line on a terminal; elsewhere, write a line when the state changes and once a second.
        Otherwise write a line per result.
    terminal: whether the queue leads to a terminal.
    """

    def __init__(self, queue: BoundedQueue[str], *, stream: bool, terminal: bool) -> None:
        super().__init__(queue)
        self._stream = stream
        self._terminal = terminal
        self._finished: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._shown_at = float("-inf")
        self._shown_state = ""
        self._line_open = False

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._line_open:
            self._queue.put("\n")

    def append(self, result: Result) -> None:
        self._finished.append(result.finished_at)
        if not self._stream:
            name = _printable(result.frame.name)
            self._queue.put(f"{name}: {_categories(result)}  {result.timing_ms.total:.1f} ms\n")
            return
        rate = _TERMINAL_LINES_PER_S if self._terminal else _FILE_LINES_PER_S
        if result.state == self._shown_state and result.finished_at - self._shown_at < 1 / rate:
            return
        self._shown_at, self._shown_state = result.finished_at, result.state
        line = f"{_categories(result)}  {result.timing_ms.total:6.1f} ms  {self._frames_per_second():5.1f} fps"
        if self._terminal:
            # Rewritten in place, so it must not wrap; \x1b[K clears what a longer line has left.
            self._queue.put(f"\r{_cut(line, _columns() - 1)}\x1b[K")
            self._line_open = True
        else:
            self._queue.put(f"{line}\n")

    def _frames_per_second(self) -> float:
        elapsed = self._finished[-1] - self._finished[0]
        return (len(self._finished) - 1) / elapsed if elapsed > 0 else 0.0


def _categories(result: Result) -> str:
    best, *others = result.classification.categories
    own = f"{best.score:.2f}" if result.state == best.category_name else f"({best.category_name} {best.score:.2f})"
    line = f"{_pad(_printable(result.state), _STATE_CELLS)} {_pad(_printable(own), _SCORE_CELLS)}"
    return line + "".join(f"  {_printable(other.category_name)} {other.score:.2f}" for other in others)


def _printable(text: str) -> str:
    """Without the control characters that a label or file name may hold, which would be commands to a terminal."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def _pad(text: str, cells: int) -> str:
    return text + " " * (cells - sum(map(_cells, text)))


def _cut(text: str, cells: int) -> str:
    """As much of the text as fits."""
    if text.isascii():
        return text[:cells]
    ends = accumulate(map(_cells, text))
    return "".join(letter for letter, end in zip(text, ends, strict=True) if end <= cells)


def _cells(letter: str) -> int:
    """How many columns of a terminal it takes: Chinese, Japanese and Korean letters and emoji take two."""
    if letter.isascii():
        return 1
    if category(letter) in ("Mn", "Me", "Cf"):  # drawn onto the letter before
        return 0
    return 2 if east_asian_width(letter) in "WF" else 1


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _DEFAULT_COLUMNS
    except (OSError, ValueError):  # it is no longer a terminal
        return _DEFAULT_COLUMNS


def add_options(group: argparse._ArgumentGroup) -> None:
    """None: it shows results if no other output takes standard output."""


def check(options: argparse.Namespace, *, stream: bool) -> None:
    """Nothing can be wrong."""


def open_output(_options: argparse.Namespace, destinations: Destinations) -> Console | None:
    if destinations.claimed:
        return None
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(destinations.standard_output, stream=destinations.stream, terminal=terminal)
