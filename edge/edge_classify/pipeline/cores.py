"""How a run of edge-classify shares the cores: threads of one inference, or several inferences at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..model.threads import AUTO, Threads, in_words
from ..sources.opening import source_kind
from ..system.cores import usable_cores


@dataclass(frozen=True)
class Cores:
    """interpreters: how many run at once. num_threads: of each, as `Classifier` takes it."""

    interpreters: int
    num_threads: int | Literal["auto"]

    def describe(self, threads: Threads, *, stream: bool) -> str:
        """For the first line. threads: the classifier's. stream: as of `Source`."""
        if self.interpreters == 1:
            return str(threads)
        return f"{self.interpreters} {'frames' if stream else 'pictures'} at a time, {in_words(threads.count)} each"


def share_cores(source: str, num_threads: int | Literal["auto"], *, fast: bool, in_turn: bool) -> Cores:
    """One inference at a time for a camera; as many as there are cores where all frames are there already.

    source, fast: as of `open_source`. in_turn: whether to classify a frame depends on the one before it, or on time.
    Raises DataError if there is no such file.
    """
    kind = source_kind(source)
    if (kind == "folder" or fast) and not in_turn:
        threads = 1 if isinstance(num_threads, str) else num_threads
        return Cores(max(1, usable_cores() // threads), threads)
    if kind == "picture" and num_threads == AUTO:
        return Cores(1, 1)  # measuring takes longer than one inference
    return Cores(1, num_threads)
