"""Figures of turns: mean, p50, p90 and p99 of each stage, under the keys of `litert-benchmark` and ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import UsageError
from ..metrics import pareto_front
from .candidates import Candidate
from .turns import Block, Turn

STAGES = ("start", "preprocess", "inference", "postprocess", "total")
STATISTICS = ("mean", "p50", "p90", "p99")
_MB = 2**20

Entry = Mapping[str, Any]


class Metric(NamedTuple):
    """One figure of a model file, in milliseconds: "total.p90"."""

    stage: str
    statistic: str

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Raises UsageError."""
        stage, _, statistic = text.partition(".")
        if stage not in STAGES or statistic not in STATISTICS:
            raise UsageError(
                f"{text}: no such metric: one of {', '.join(STAGES)}, a dot, and one of {', '.join(STATISTICS)}"
            )
        return cls(stage, statistic)

    def __str__(self) -> str:
        return f"{self.stage}.{self.statistic}"

    def of(self, stages: Mapping[str, Mapping[str, float]]) -> float:
        return stages[self.stage][self.statistic]


def entry(candidate: Candidate, threads: int, turns: Sequence[Turn]) -> dict[str, Any]:
    """What a result file says of one model file and number of threads; times in milliseconds."""
    blocks = [block for turn in turns for block in turn.blocks if block.threads == threads]
    inference = np.concatenate([block.frames for block in blocks])[:, 1]
    warmups = [block.warmup[:, 1] for block in blocks if len(block.warmup)]
    last, running = turns[-1], turns[-1].operators
    size = candidate.path.stat().st_size
    stages = stage_figures(turns, threads)
    return {
        "model": str(candidate.path),
        "model_size_mb": round(size / _MB, 2),
        "accelerators": ["CPU"],
        "signature": last.signature,
        "fully_accelerated": running is not None and set(running) == {"DELEGATE"},
        "num_threads": threads,
        "latency": _rounded(
            {
                "init_ms": np.median([turn.init_ms for turn in turns]),
                "warmup_first_ms": np.median([warmup[0] for warmup in warmups]) if warmups else 0,
                "warmup_avg_ms": np.mean(np.concatenate(warmups)) if warmups else 0,
                "num_warmup_runs": sum(map(len, warmups)),
                "avg_ms": inference.mean(),
                "min_ms": inference.min(),
                "max_ms": inference.max(),
                "median_ms": np.median(inference),
                "std_ms": inference.std(ddof=1) if len(inference) > 1 else 0,
                "p5_ms": np.percentile(inference, 5),
                "p95_ms": np.percentile(inference, 95),
                "num_runs": len(inference),
            }
        ),
        "throughput_mb_s": round(last.input_bytes / _MB / (inference.mean() / 1e3), 2),
        "name": candidate.name,
        "sha256": candidate.sha256,
        **{
            name: getattr(candidate, name)
            for name in ("alpha", "resolution", "precision", "multiply_adds", "accuracy", "photos")
        },
        "xnnpack": None
        if running is None
        else {
            "partitions": running.count("DELEGATE"),
            "operators_outside": sorted(name for name in running if name != "DELEGATE"),
        },
        "stages": stages,
        "frames_per_second": round(1e3 / stages["total"]["mean"], 2),
        "peak_memory_mb": round(max(turn.peak_memory for turn in turns) / _MB, 1) or None,
        "rounds": [stage_figures([turn], threads) for turn in turns],
    }


def stage_figures(turns: Sequence[Turn], threads: int) -> dict[str, dict[str, float]]:
    """For each stage its statistics: of `start` over the turns, of the others the median of the turns' statistics.

    So a turn that other work fell into does not decide. Times in milliseconds.
    """
    each = [frame_figures([block for block in turn.blocks if block.threads == threads]) for turn in turns]
    return {
        "start": _statistics([turn.start_ms for turn in turns]),
        **{
            stage: _rounded({name: np.median([one[stage][name] for one in each]) for name in STATISTICS})
            for stage in STAGES[1:]
        },
    }


def frame_figures(blocks: Sequence[Block]) -> dict[str, dict[str, float]]:
    """For each stage of a frame its statistics; `total` is from frame to label."""
    frames = np.concatenate([block.frames for block in blocks])
    columns = [*frames.T, frames.sum(axis=1)]
    return {stage: _statistics(column) for stage, column in zip(STAGES[1:], columns, strict=True)}


def latency_front(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that no other beats in accuracy and in total p50, fastest first; those without accuracy left out."""
    known = [one for one in entries if one["accuracy"] is not None]
    return pareto_front(known, lambda one: one["stages"]["total"]["p50"], lambda one: one["accuracy"])


def _statistics(times: Sequence[float] | np.ndarray) -> dict[str, float]:
    p50, p90, p99 = np.percentile(times, (50, 90, 99))
    return _rounded({"mean": np.mean(times), "p50": p50, "p90": p90, "p99": p99})


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(float(value), 4) if not isinstance(value, int) else value for name, value in figures.items()}
