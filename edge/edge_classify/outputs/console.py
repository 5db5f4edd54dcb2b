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

TABLE = "output"

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
    several: name the model of each answer; the line of a stream shows those of all models.
    """

    def __init__(self, queue: BoundedQueue[str], *, stream: bool, terminal: bool, several: bool = False) -> None:
        super().__init__(queue)
        self._stream = stream
        self._terminal = terminal
        self._several = several
        # Each model's answer for the present frame, and how wide its part of the line has been so far.
        self._answers: dict[str, Result] = {}
        self._widths: dict[str, int] = {}
        self._finished: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._shown_at = float("-inf")
        self._shown_states: list[str] = []
        self._line_open = False

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._line_open:
            self._queue.put("\n")

    def append(self, result: Result) -> None:
        if not self._stream:
            name = _printable(result.frame.name) + (f": {_printable(result.model)}" if self._several else "")
            self._queue.put(f"{name}: {_categories(result)}  {result.timing_ms.total:.1f} ms\n")
            return
        self._answers[result.model] = result
        if not result.frame_done:
            return
        answers, self._answers = list(self._answers.values()), {}
        self._finished.append(result.finished_at)
        rate = _TERMINAL_LINES_PER_S if self._terminal else _FILE_LINES_PER_S
        states = [answer.state for answer in answers]
        if states == self._shown_states and result.finished_at - self._shown_at < 1 / rate:
            return
        self._shown_at, self._shown_states = result.finished_at, states
        shown = "  ".join(map(self._part, answers)) if self._several else _categories(result)
        line = f"{shown}  {result.timing_ms.total:6.1f} ms  {self._frames_per_second():5.1f} fps"
        if self._terminal:
            # Rewritten in place, so it must not wrap; \x1b[K clears what a longer line has left.
            self._queue.put(f"\r{_cut(line, _columns() - 1)}\x1b[K")
            self._line_open = True
        else:
            self._queue.put(f"{line}\n")

    def _part(self, result: Result) -> str:
        """One of several models' part of the line: short, and as wide as it has ever been, so that nothing jumps."""
        text = f"{_printable(result.model)}: {_printable(result.state)} {_own_answer(result)}{_others(result)}"
        width = max(sum(map(_cells, text)), self._widths.get(result.model, 0))
        self._widths[result.model] = width
        return _pad(text, width)

    def _frames_per_second(self) -> float:
        elapsed = self._finished[-1] - self._finished[0]
        return (len(self._finished) - 1) / elapsed if elapsed > 0 else 0.0


def _categories(result: Result) -> str:
    state, own = _printable(result.state), _own_answer(result)
    return f"{_pad(state, _STATE_CELLS)} {_pad(own, _SCORE_CELLS)}{_others(result)}"


def _own_answer(result: Result) -> str:
    """The frame's own: its score, and its label if the state is another."""
    best = result.classification.categories[0]
    score = f"{best.score:.2f}"
    return score if result.state == best.category_name else f"({_printable(best.category_name)} {score})"


def _others(result: Result) -> str:
    others = result.classification.categories[1:]
    return "".join(f"  {_printable(other.category_name)} {other.score:.2f}" for other in others)


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


def open_output(options: argparse.Namespace, destinations: Destinations) -> Console | None:
    if destinations.claimed:
        return None
    terminal = sys.stdout is not None and sys.stdout.isatty()
    several = len(options.model or ()) > 1
    return Console(destinations.standard_output, stream=destinations.stream, terminal=terminal, several=several)
