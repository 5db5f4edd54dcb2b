"""What is reported at the end of a run: how many pictures were of each label, and the latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .latency import Latency, StageTimes

if TYPE_CHECKING:
    from .loop import Result


class Summary:
    """Takes all results of a run, and is then lines of text.

    models: the names of all models. One model's lines do not name it.
    stream: frames follow one another; otherwise they are separate pictures, whose labels are counted.
    """

    def __init__(self, models: Sequence[str], *, stream: bool) -> None:
        self._stream = stream
        self._latencies = {model: Latency() for model in models}
        self._labels: dict[str, Counter[str]] = {model: Counter() for model in models}
        self._together = _Together() if len(models) > 1 else None

    def append(self, result: Result) -> None:
        latency = self._latencies[result.model]
        if result.still:
            latency.append_still(result.finished_at)
        else:
            latency.append(result.timing_ms, result.finished_at)
        if not self._stream:
            self._labels[result.model][result.state] += 1
        if self._together is not None:
            self._together.append(result)

    def lines(self) -> list[str]:
        lines = []
        for model, latency in self._latencies.items():
            if self._together is not None:
                lines.append(f"model {model}")
            labels = self._labels[model]
            if labels.total() > 1:
                counts = ", ".join(f"{label} {count}" for label, count in labels.most_common())
                lines.append(f"{labels.total()} pictures: {counts}")
            lines.append(latency.table())
        if self._together is not None:
            lines += ["all models together", self._together.latency.table()]
        return lines


class _Together:
    """The latency of frames that several models classify, one after another."""

    def __init__(self) -> None:
        self.latency = Latency()
        self._times: list[StageTimes] = []
        self._still = True

    def append(self, result: Result) -> None:
        self._times.append(result.timing_ms)
        self._still = self._still and result.still
        if not result.frame_done:
            return
        first, last = self._times[0], self._times[-1]
        preprocess = sum(times.preprocess for times in self._times)
        inference = sum(times.inference for times in self._times)
        self._times.clear()
        still, self._still = self._still, True
        if still:
            self.latency.append_still(result.finished_at)
            return
        postprocess = last.total - first.capture_age - preprocess - inference
        times = StageTimes(first.capture_age, preprocess, inference, postprocess, last.total)
        self.latency.append(times, result.finished_at)
