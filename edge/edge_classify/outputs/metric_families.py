"""The metrics as Prometheus' client library writes them, made of the counts whenever somebody asks.

Importing this takes 0.1 s, most of it the library: only from a thread, and after the first result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from .. import __version__
from ..pipeline.latency import StageTimes
from ..system.checksum import file_sha256
from ..system.machine import System, is_throttled
from .metric_counts import BOUNDS_MS, ModelCounts

if TYPE_CHECKING:
    from threading import Event

    from ..pipeline.loop import Model
    from .run import Run

_PREFIX = "edge_classify"
_BOUNDS = [*(f"{bound / 1e3:g}" for bound in BOUNDS_MS), "+Inf"]
# On a Pi, asking for throttling starts a process: not for each of many scrapes at once.
_MACHINE_INTERVAL_S = 5.0


class Families(Collector):
    """A collector for prometheus_client's registry.

    counts: gives those of each model, by its name.
    ended: set at the end of the run. There is no state then, and a camera is not up.
    process: give also what the library knows of this process: its memory, processor time and open files.
    """

    def __init__(
        self,
        run: Run,
        counts: Callable[[], Mapping[str, ModelCounts]],
        ended: Event,
        *,
        process: bool,
        system: System | None = None,
    ) -> None:
        self._run = run
        self._ended = ended
        self._process = ProcessCollector(registry=None) if process else None
        self._read_counts = counts
        self._counts: dict[str, ModelCounts] = {}
        self._infos: dict[str, tuple[Model, dict[str, str]]] = {}
        self._system = system or System()
        self._machine: tuple[Metric, ...] = ()
        self._machine_read_at = float("-inf")

    def collect(self) -> Iterator[Metric]:
        self._counts = {_text(name): counts for name, counts in self._read_counts().items()}
        yield self._stages()
        yield self._frames()
        yield from self._states()
        yield from self._camera()
        yield from self._read_machine()
        yield _family(
            CounterMetricFamily(f"{_PREFIX}_output_dropped", "What an output has lost.", labels=["output"]),
            (((name,), sum(output.counts().values())) for name, output in dict(self._run.outputs).items()),
        )
        info = InfoMetricFamily(f"{_PREFIX}_model", "The model file.")
        for model in self._run.models:
            info.add_metric([], self._info(model))
        yield info
        yield InfoMetricFamily(f"{_PREFIX}_build", "The program.", {"version": __version__})
        if self._process is not None:
            yield from self._process.collect()

    def _info(self, model: Model) -> dict[str, str]:
        """Its checksum takes reading the whole file."""
        known, info = self._infos.get(model.name, (None, {}))
        if known is not model:
            info = _model_info(model)
            self._infos[model.name] = model, info
        return info

    def _stages(self) -> Metric:
        family = HistogramMetricFamily(
            f"{_PREFIX}_stage_seconds",
            "How long classified frames took; total is from capture to result.",
            labels=["model", "stage"],
        )
        several = len(self._counts) > 1
        for name, counts in self._counts.items():
            for stage, buckets, milliseconds in zip(StageTimes._fields, counts.buckets, counts.sums_ms, strict=True):
                if several and stage == "postprocess":
                    continue  # what is left of `total`
                bounds = list(zip(_BOUNDS, accumulate(buckets.copy()), strict=True))
                if several and stage != "total":
                    bounds = bounds[-1:]  # all stages' percentiles would be most of all series
                family.add_metric([name, stage], bounds, milliseconds / 1e3)
        return family

    def _frames(self) -> Metric:
        source = self._run.source
        family = CounterMetricFamily(
            f"{_PREFIX}_frames",
            "Frames: classified, or skipped as still, by each model; dropped for newer ones; undecodable.",
            labels=["model", "result"],
        )
        values = {
            (name, result): value
            for name, counts in self._counts.items()
            for result, value in (("classified", counts.classified), ("still", counts.still))
        }
        # Lost before any model saw them: an empty label is none.
        values |= {("", "dropped"): source.dropped, ("", "undecodable"): source.undecodable}
        return _family(family, values.items())

    def _states(self) -> Iterator[Metric]:
        states = StateSetMetricFamily(f"{_PREFIX}_state", "1 for the present state.", labels=["model"])
        changes = CounterMetricFamily(
            f"{_PREFIX}_state_changes", "How often each state was changed to.", labels=["model", "state"]
        )
        unknown = CounterMetricFamily(
            f"{_PREFIX}_unknown_frames",
            "Classified frames that show none of the classes, by their own answer.",
            labels=["model"],
        )
        last = GaugeMetricFamily(
            f"{_PREFIX}_last_result_timestamp_seconds", "When the newest result was ready.", labels=["model"]
        )
        now, ticks = time.time(), time.perf_counter()
        for name, counts in self._counts.items():
            numbers, present = counts.changes, None if self._ended.is_set() else counts.state
            states.add_metric([name], {_text(state): state == present for state in numbers})
            _family(changes, (((name, _text(state)), number) for state, number in numbers.items()))
            unknown.add_metric([name], counts.unknown)
            if counts.last is not None:
                last.add_metric([name], now - (ticks - counts.last))
        yield from (states, changes, unknown, last)

    def _camera(self) -> Iterator[Metric]:
        source = self._run.source
        if not source.live:
            return
        up = not self._ended.is_set() and source.lost_since is None
        yield GaugeMetricFamily(f"{_PREFIX}_camera_up", "Whether the camera gives frames.", up)
        yield CounterMetricFamily(f"{_PREFIX}_camera_reopens", "How often a lost camera came back.", source.returns)

    def _read_machine(self) -> tuple[Metric, ...]:
        now = time.monotonic()
        if now - self._machine_read_at >= _MACHINE_INTERVAL_S:
            self._machine_read_at = now
            self._machine = tuple(_machine(self._system))
        return self._machine


def _machine(system: System) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        f"{_PREFIX}_throttled", "Whether the processor is slowed down by heat or low power.", is_throttled(system)
    )
    if (degrees := system.temperature()) is not None:
        yield GaugeMetricFamily(f"{_PREFIX}_temperature_celsius", "The hottest part of the machine.", degrees)


def _model_info(model: Model) -> dict[str, str]:
    """Empty where the file does not say it, as those of others."""
    file = model.classifier.model_file
    facts = (file.contract or {}).get("model", {})
    try:
        checksum = file_sha256(file.path)
    except OSError:  # it is gone since it was loaded
        checksum = ""
    return {
        "model": _text(model.name),
        **{name: _text(str(facts.get(name, ""))) for name in ("alpha", "resolution", "precision")},
        "sha256": checksum,
    }


def _family(family: CounterMetricFamily, values: Iterable[tuple[Sequence[str], float]]) -> CounterMetricFamily:
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _text(text: str) -> str:
    """A file name may hold bytes that are not UTF-8, which cannot be sent."""
    return text.encode(errors="backslashreplace").decode()
