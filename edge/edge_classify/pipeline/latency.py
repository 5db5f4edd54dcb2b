"""Statistics of how long each stage took, over the most recent frames."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from ..system.counted import counted

PERCENTILES = (50, 90, 99)
# Frames.
_WINDOW = 10_000


class StageTimes(NamedTuple):
    """One frame's times in milliseconds.

    capture_age: the frame's age when work on it began.
    total: from capture to result.
    """

    capture_age: float
    preprocess: float
    inference: float
    postprocess: float
    total: float


_TIMES = struct.Struct(f"{len(StageTimes._fields)}f")


class Latency:
    """The stages' times of the last 10,000 frames, in a fixed amount of memory; counts all frames."""

    def __init__(self) -> None:
        self.frames = 0
        self._still = 0
        # Packed numbers: as many tuples would take 2 MB, and still be growing after minutes.
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
        """Count a frame that was skipped because it showed nothing new; the first frame never is."""
        self._last = now
        self._still += 1

    @property
    def frames_per_second(self) -> float:
        """Classified frames per second, from the first frame to the last; 0 for fewer than two."""
        return self._rate(self.frames)

    def _rate(self, frames: int) -> float:
        elapsed = self._last - self._first
        return (frames - 1) / elapsed if elapsed > 0 else 0.0

    def percentiles(self) -> dict[str, dict[str, float]]:
        """Each stage's p50, p90 and p99 in milliseconds."""
        times = np.frombuffer(self._window, np.float32).reshape(_WINDOW, -1)[: self.frames]
        values = _percentiles(times)
        return {
            stage: {f"p{percent}": float(value) for percent, value in zip(PERCENTILES, column, strict=True)}
            for stage, column in zip(StageTimes._fields, values.T, strict=True)
        }

    def table(self) -> str:
        """The percentiles, the number of frames and the frame rate, as lines of text."""
        if not self.frames:
            return "no frames"
        rows = [f"{'latency (ms)':<14}" + "".join(f"{f'p{percent}':>9}" for percent in PERCENTILES)]
        for stage, percentiles in self.percentiles().items():
            rows.append(f"{stage:<14}" + "".join(f"{value:9.2f}" for value in percentiles.values()))
        count = counted(self.frames, "frame")
        rate = f", {self.frames_per_second:.1f} frames per second" if self.frames > 1 else ""
        rows.append(count + rate)
        if self._still:
            rate_with_still = self._rate(self.frames + self._still)
            rows.append(
                f"unchanged frames skipped: {self._still} ({rate_with_still:.1f} frames per second including them)"
            )
        return "\n".join(rows)


def _percentiles(times: np.ndarray) -> np.ndarray:
    """As np.percentile, which imports numpy.ma: 10 ms that would be most of what a picture's summary takes."""
    ordered = np.sort(times, axis=0)
    places = np.array(PERCENTILES) / 100 * (len(times) - 1)
    below = places.astype(int)
    above = np.minimum(below + 1, len(times) - 1)
    return ordered[below] + (places - below)[:, None] * (ordered[above] - ordered[below])
