"""What heat does to a model file's times: it runs without a pause, and each slice is told with the machine's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .candidates import Candidate
from .environment import Watch
from .statistics import frame_figures
from .turns import take_slices

_SLICES = 20
_LONGEST_SLICE = 30.0


def run_sustained(
    candidate: Candidate, threads: int, seconds: float, watch: Watch, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Run for so many seconds; `tell` is called with a line about each slice. Ready for JSON, times in milliseconds.

    ratio: the last slice's total p50 to the fastest one's.
    """
    slices = max(_SLICES, round(seconds / _LONGEST_SLICE))
    told: list[dict[str, Any]] = []
    elapsed = 0.0
    for block in take_slices(candidate.path, threads, seconds / slices, slices):
        elapsed += float(block.frames.sum()) / 1e3
        state = watch.during()
        stages = frame_figures([block])
        told.append(
            {
                "seconds": round(elapsed, 1),
                "frames": len(block.frames),
                "stages": stages,
                **{name: state[name] for name in ("clock_mhz", "celsius", "throttled")},
            }
        )
        tell(_line(told[-1]))
    middles = [one["stages"]["total"]["p50"] for one in told]
    ratio = middles[-1] / min(middles)
    since = next((one["seconds"] for one in told if one["throttled"]), None)
    tell(
        f"after {_clock(elapsed)} a frame takes {ratio:.2f} of its fastest slice's time"
        + ("" if since is None else f"; throttled from {_clock(since)} on")
    )
    return {
        "model": str(candidate.path),
        "name": candidate.name,
        "num_threads": threads,
        "ratio": round(ratio, 3),
        "throttled_after": since,
        "slices": told,
    }


def _line(one: dict[str, Any]) -> str:
    total = one["stages"]["total"]
    text = (
        f"{_clock(one['seconds']):>8}  total p50 {total['p50']:8.2f}  p90 {total['p90']:8.2f}  p99 {total['p99']:8.2f}"
    )
    text += "" if one["celsius"] is None else f"  {one['celsius']:.0f} °C"
    text += "" if one["clock_mhz"] is None else f"  {one['clock_mhz']} MHz"
    return text + ("  throttled" if one["throttled"] else "")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
