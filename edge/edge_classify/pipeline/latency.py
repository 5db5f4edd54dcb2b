"""How long each stage takes, over the last frames."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

PERCENTILES = (50, 90, 99)
_WINDOW = 10_000


class StageTimes(NamedTuple):
    """One frame's times in milliseconds.

    capture_age: how old the frame was when work on it began.
    total: from its capture to the result.
    """

    capture_age: float
    preprocess: float
    inference: float
    postprocess: float
    total: float


_TIMES = struct.Struct(f"{len(StageTimes._fields)}f")


class Latency:
    """A bounded window of the stages' times; memory does not grow with the number of frames."""

    def __init__(self) -> None:
        self.frames = 0
        self._still = 0
        # Numbers in a block of their own: as many tuples would be 2 MB, and would still be growing after minutes.
        self._window = bytearray(_WINDOW * _TIMES.size)
        self._first = self._last = 0.0

    def append(self, times: StageTimes, now: float) -> None:
        """Add one frame's times; `now` in seconds of `time.perf_counter`."""
        if not self.frames:
            self._first = now
        self._last = now
        _TIMES.pack_into(self._window, self.frames % _WINDOW * _TIMES.size, *times)
        self.frames += 1

    def append_still(self, now: float) -> None:
        """Add a frame that was not classified, for it showed nothing new; the first frame always is."""
        self._last = now
        self._still += 1

    @property
    def frames_per_second(self) -> float:
        """Frames classified a second from the first frame to the last, 0 with fewer than two."""
        return self._rate(self.frames)

    def _rate(self, frames: int) -> float:
        elapsed = self._last - self._first
        return (frames - 1) / elapsed if elapsed > 0 else 0.0

    def percentiles(self) -> dict[str, dict[str, float]]:
        """For each stage its p50, p90 and p99 in milliseconds."""
        times = np.frombuffer(self._window, np.float32).reshape(_WINDOW, -1)[: self.frames]
        figures = np.percentile(times, PERCENTILES, axis=0)
        return {
            stage: {f"p{percent}": float(value) for percent, value in zip(PERCENTILES, column, strict=True)}
            for stage, column in zip(StageTimes._fields, figures.T, strict=True)
        }

    def table(self) -> str:
        """The percentiles and the frame rate, as lines of text."""
        if not self.frames:
            return "no frames"
        rows = [f"{'latency (ms)':<14}" + "".join(f"{f'p{percent}':>9}" for percent in PERCENTILES)]
        for stage, figures in self.percentiles().items():
            rows.append(f"{stage:<14}" + "".join(f"{value:9.2f}" for value in figures.values()))
        count = "1 frame" if self.frames == 1 else f"{self.frames} frames"
        rate = f", {self.frames_per_second:.1f} frames a second" if self.frames > 1 else ""
        rows.append(count + rate)
        if self._still:
            everything = self._rate(self.frames + self._still)
            still = f"not classified, for they showed nothing new: {self._still}"
            rows.append(f"{still}; with them {everything:.1f} frames a second")
        return "\n".join(rows)
