"""The time that a budget or a comparison is about: a stage of the way from frame to label, and a statistic of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import UsageError

# start: a new process to its first label. total: from frame to label.
STAGES = ("start", "preprocess", "inference", "postprocess", "total")
STATISTICS = ("mean", "p50", "p90", "p99")


class Metric(NamedTuple):
    """One time of a model file, in milliseconds: "total.p90"."""

    stage: str
    statistic: str

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Raises UsageError."""
        stage, _, statistic = text.partition(".")
        if stage not in STAGES or statistic not in STATISTICS:
            raise UsageError(
                f"expected STAGE.STATISTIC such as total.p90, with a stage of {', '.join(STAGES)} "
                f"and a statistic of {', '.join(STATISTICS)}, found {text!r}"
            )
        return cls(stage, statistic)

    def __str__(self) -> str:
        return f"{self.stage}.{self.statistic}"

    def of(self, stages: Mapping[str, Mapping[str, float]]) -> float:
        """stages: the statistics of each stage in milliseconds."""
        return stages[self.stage][self.statistic]


def metric(text: str) -> Metric:
    """For argparse's `type=`."""
    try:
        return Metric.parse(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
