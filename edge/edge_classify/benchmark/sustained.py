"""What heat does to a model file's latency: it runs without a pause, in slices that are reported one by one."""

from __future__ import annotations

from collections.abc import Callable

from .candidates import Candidate
from .environment import Watch
from .result import Slice, SustainedResult
from .statistics import frame_statistics
from .turns import ThirdParty, take_slices

_MIN_SLICES = 20
_MAX_SLICE_S = 30.0


def run_sustained(
    candidate: Candidate,
    threads: int,
    seconds: float,
    watch: Watch,
    report: Callable[[str], None],
    third_party: ThirdParty,
) -> SustainedResult:
    """Run for `seconds`; `report` is called with a line of text after each slice, and with one at the end."""
    count = max(_MIN_SLICES, round(seconds / _MAX_SLICE_S))
    slices: list[Slice] = []
    elapsed = 0.0
    for block in take_slices(candidate.path, threads, seconds / count, count, third_party):
        elapsed += float(block.frames.sum()) / 1e3
        state = watch.record()
        slices.append(
            {
                "seconds": round(elapsed, 1),
                "frames": len(block.frames),
                "stages": frame_statistics([block]),
                "clock_mhz": state["clock_mhz"],
                "celsius": state["celsius"],
                "throttled": state["throttled"],
            }
        )
        report(_line(slices[-1]))
    medians = [part["stages"]["total"]["p50"] for part in slices]
    ratio = medians[-1] / min(medians)
    throttled_after = next((part["seconds"] for part in slices if part["throttled"]), None)
    throttled = "" if throttled_after is None else f"; throttled from {_clock(throttled_after)}"
    report(f"after {_clock(elapsed)} a frame takes {ratio:.2f} times as long as in the fastest slice{throttled}")
    return {
        "model": str(candidate.path),
        "name": candidate.name,
        "num_threads": threads,
        "ratio": round(ratio, 3),
        "throttled_after": throttled_after,
        "slices": slices,
    }


def _line(part: Slice) -> str:
    total = part["stages"]["total"]
    times = "  ".join(f"{statistic} {total[statistic]:8.2f}" for statistic in ("p50", "p90", "p99"))
    text = f"{_clock(part['seconds']):>8}  total {times}"
    if part["celsius"] is not None:
        text += f"  {part['celsius']:.0f} °C"
    if part["clock_mhz"] is not None:
        text += f"  {part['clock_mhz']} MHz"
    if part["throttled"]:
        text += "  throttled"
    return text


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
