"""From the frames of turns to the statistics of each stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..learn.metrics import pareto_front
from ..model.threads import Threads, fewest_threads
from .candidates import Candidate
from .metric import STAGES, STATISTICS
from .result import ModelResult, Stages, Xnnpack
from .turns import Block, Turn

_PERCENTILES = (50, 90, 99)
_MB = 2**20


def model_result(candidate: Candidate, threads: int, turns: Sequence[Turn]) -> ModelResult:
    """The result of one model file with one number of threads. turns: at least one, each with that number."""
    blocks = [block for turn in turns for block in turn.blocks if block.threads == threads]
    totals = np.concatenate([block.frames.sum(axis=1) for block in blocks])
    stages = stage_statistics(turns, threads)
    counts = {block.threads for block in turns[0].blocks}
    peak_memory = max(turn.peak_memory for turn in turns)
    return {
        "model": str(candidate.path),
        "name": candidate.name,
        "sha256": candidate.sha256,
        "bytes": candidate.path.stat().st_size,
        "alpha": candidate.alpha,
        "resolution": candidate.resolution,
        "precision": candidate.precision,
        "multiply_adds": candidate.multiply_adds,
        "accuracy": candidate.accuracy,
        "photos": candidate.photos,
        "num_threads": threads,
        "auto_threads": threads_needed(turns).count if 1 in counts and len(counts) > 1 else None,
        "stages": stages,
        "frames_per_second": round(1e3 / stages["total"]["mean"], 2),
        "frames": len(totals),
        "slowest_ms": _rounded(totals.max()),
        "peak_memory_mb": round(peak_memory / _MB, 1) if peak_memory else None,
        "xnnpack": _xnnpack(turns[-1].operators),
        "rounds": [stage_statistics([turn], threads) for turn in turns],
    }


def stage_statistics(turns: Sequence[Turn], threads: int) -> Stages:
    """For `start` the statistics over the turns; for every other stage the median of the turns' statistics.

    So a turn that was disturbed by other programs does not decide.
    """
    turn_stages = [frame_statistics([block for block in turn.blocks if block.threads == threads]) for turn in turns]
    result = {"start": _statistics([turn.start_ms for turn in turns])}
    for stage in STAGES[1:]:
        result[stage] = {
            statistic: _rounded(np.median([stages[stage][statistic] for stages in turn_stages]))
            for statistic in STATISTICS
        }
    return result


def threads_needed(turns: Sequence[Turn]) -> Threads:
    """The fewest threads that are nearly as fast as the best, of those that each turn has; if it has one, that."""
    counts = [block.threads for block in turns[0].blocks]
    if len(counts) == 1:
        return Threads(counts[0])
    times_ms = {count: stage_statistics(turns, count)["inference"]["p50"] for count in sorted(counts)}
    return fewest_threads(times_ms)


def frame_statistics(blocks: Sequence[Block]) -> Stages:
    """The statistics of each stage of a frame, which `start` is not."""
    frames = np.concatenate([block.frames for block in blocks])
    columns = [*frames.T, frames.sum(axis=1)]
    return {stage: _statistics(column) for stage, column in zip(STAGES[1:], columns, strict=True)}


def latency_front(results: Iterable[ModelResult]) -> list[ModelResult]:
    """The Pareto front of accuracy and total p50, fastest first; results without an accuracy are left out."""
    known = [result for result in results if result["accuracy"] is not None]
    return pareto_front(
        known, lambda result: result["stages"]["total"]["p50"], lambda result: result["accuracy"] or 0.0
    )


def _statistics(times: Sequence[float] | np.ndarray) -> dict[str, float]:
    values = (np.mean(times), *np.percentile(times, _PERCENTILES))
    return {statistic: _rounded(value) for statistic, value in zip(STATISTICS, values, strict=True)}


def _xnnpack(operators: Sequence[str] | None) -> Xnnpack | None:
    if operators is None:
        return None
    return {
        "partitions": operators.count("DELEGATE"),
        "operators_outside": sorted(operator for operator in operators if operator != "DELEGATE"),
    }


def _rounded(milliseconds: float) -> float:
    return round(float(milliseconds), 4)
