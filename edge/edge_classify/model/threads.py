"""How many threads an inference gets: the fewest that are nearly as fast as the best, measured on this device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from ..system.counted import counted
from .interpreter import Interpreter

AUTO = "auto"

# More cores than this make models of this size hardly faster anywhere.
_MOST = 4
# A faster inference gains nothing that would be worth a second core.
_WORTH_MS = 1.0
# So much slower than the best is as good: fewer threads leave cores to other programs, and heat less.
_NEARLY = 1.1
# Measuring ends after so long, or when each number of threads had so many turns.
_SECONDS = 0.2
_TURNS = 8


@dataclass(frozen=True)
class Threads:
    """Threads per inference, and why.

    times_ms: of one inference with each number that was measured; empty if the number was given.
    """

    count: int
    times_ms: Mapping[int, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """As the first line of edge-classify says it, and so does whatever else measures."""
        count = in_words(self.count)
        if not self.times_ms:
            return count
        (first, time_ms), *others = self.times_ms.items()
        times = [f"{time_ms:.1f} ms with {first}", *(f"{time_ms:.1f} with {count}" for count, time_ms in others)]
        return f"{count} (auto: an inference takes {', '.join(times)})"


def in_words(count: int) -> str:
    return counted(count, "thread")


def thread_counts(cores: int) -> list[int]:
    """The numbers of threads that are worth measuring with so many cores: 1, 2, 4; 3 instead of 4 if there are 3."""
    return sorted({1, min(2, cores), min(_MOST, cores)})


def fewest_threads(times_ms: Mapping[int, float]) -> Threads:
    """The fewest threads within 10 % of the best time; one if that takes less than a millisecond.

    times_ms: of one inference, with one thread and any other numbers, in ascending order.
    """
    if times_ms[1] < _WORTH_MS:
        return Threads(1, times_ms)
    limit = _NEARLY * min(times_ms.values())
    return Threads(min(count for count, time_ms in times_ms.items() if time_ms <= limit), times_ms)


def load_with_fewest_threads(load: Callable[[int], Interpreter], cores: int) -> tuple[Interpreter, Threads]:
    """Measure a model with several numbers of threads, in turns: the interpreter with the fewest, and how many.

    load: makes an interpreter with a number of threads. Takes up to 0.2 s more than loading it once, or what loading
    and one inference with each number takes if that is longer; hardly any time for a model that takes less than 1 ms.
    """
    interpreters = {1: load(1)}
    began = perf_counter()
    times_ms = {1: _time_ms(interpreters[1])}
    _take_turns(interpreters, times_ms, began + _SECONDS / 10)
    if times_ms[1] >= _WORTH_MS:
        for count in thread_counts(cores)[1:]:
            interpreters[count] = load(count)
            times_ms[count] = _time_ms(interpreters[count])
        if len(interpreters) > 1:
            _take_turns(interpreters, times_ms, began + _SECONDS)
    threads = fewest_threads(times_ms)
    return interpreters[threads.count], threads


def _take_turns(interpreters: Mapping[int, Interpreter], times_ms: dict[int, float], until: float) -> None:
    """Keep the shortest time of each: other programs only add to it."""
    for _ in range(_TURNS):
        if perf_counter() + sum(times_ms.values()) / 1e3 > until:
            return
        for count, interpreter in interpreters.items():
            times_ms[count] = min(times_ms[count], _time_ms(interpreter))


def _time_ms(interpreter: Interpreter) -> float:
    began = perf_counter()
    interpreter.invoke()
    return (perf_counter() - began) * 1e3
