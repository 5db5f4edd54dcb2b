"""The file that `edge-benchmark --result-json` writes: its keys, from the whole down to the parts.

All times are in milliseconds unless a name says otherwise, and None stands for what this machine does not reveal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NotRequired, TypedDict

from ..system.atomic_write import write_atomic

FORMAT = 1

# For each of `metric.STAGES` its `metric.STATISTICS`: {"total": {"mean": 10.1, "p50": 10.0, "p90": …, "p99": …}, …}.
Stages = Mapping[str, Mapping[str, float]]


class ResultFile(TypedDict):
    """The whole file.

    time: when it was written, ISO 8601 in UTC. results: one for each model file and number of threads.
    sustained: one for each model file and number of threads, with --sustained. choice: with --budget-ms.
    """

    format: int
    time: str
    environment: Environment
    watch: WatchRecord
    results: list[ModelResult]
    sustained: NotRequired[list[SustainedResult]]
    choice: NotRequired[ChoiceRecord]


class Environment(TypedDict):
    """The machine and the software on it.

    device: of the device tree, "Raspberry Pi 4 Model B Rev 1.4". features: the instruction sets that inference depends
    on. word_bits: of the userland. governor: of the clock. interpreter: the package that it is from.
    """

    device: str | None
    processor: str | None
    features: list[str]
    machine: str
    cores: int
    word_bits: int
    memory_mb: int | None
    kernel: str
    governor: str | None
    interpreter: str
    interpreter_version: str | None
    python: str
    numpy: str
    opencv: str
    edge_classify: str


class MachineState(TypedDict):
    """when: "before", "during" or "after" the measurement. throttled_bits: the firmware's `get_throttled`."""

    when: str
    seconds: float
    clock_mhz: int | None
    celsius: float | None
    throttled: bool
    throttled_bits: int | None


class WatchRecord(TypedDict):
    """The machine during the measurement.

    throttled: in any of the states, or between them by the firmware's own record.
    others, stolen: how many cores other programs, and a virtual machine's host, used on average.
    """

    seconds: float
    states: list[MachineState]
    throttled: bool
    others: float | None
    stolen: float | None


class Xnnpack(TypedDict):
    """What the fast kernels compute: in how many partitions of the graph, and which operators are left to others."""

    partitions: int
    operators_outside: list[str]


class ModelResult(TypedDict):
    """One model file with one number of threads.

    auto_threads: how many edge-classify takes; None if one thread was not measured, or nothing else.
    model: its path; name: without folder and suffix. accuracy: the share of `photos` held-out photos that it showed
    correctly where it was made, 0 to 1.
    stages: over all rounds; rounds: the same of each round, a process of its own.
    frames: how many were measured; slowest_ms: the total of the slowest of them.
    peak_memory_mb: of the process, with the first number of threads alone.
    """

    model: str
    name: str
    sha256: str
    bytes: int
    alpha: float | None
    resolution: int | None
    precision: str | None
    multiply_adds: int | None
    accuracy: float | None
    photos: int | None
    num_threads: int
    auto_threads: int | None
    stages: Stages
    frames_per_second: float
    frames: int
    slowest_ms: float
    peak_memory_mb: float | None
    xnnpack: Xnnpack | None
    rounds: list[Stages]


class Slice(TypedDict):
    """A part of a run without a pause. seconds: from the beginning to its end. stages: without `start`."""

    seconds: float
    frames: int
    stages: Stages
    clock_mhz: int | None
    celsius: float | None
    throttled: bool


class SustainedResult(TypedDict):
    """A run without a pause.

    ratio: the last slice's total p50 to the fastest one's. throttled_after: seconds, or None if it was not throttled.
    """

    model: str
    name: str
    num_threads: int
    ratio: float
    throttled_after: float | None
    slices: list[Slice]


class MeasuredFile(TypedDict):
    """A file that was measured to choose.

    turns: how often; num_threads: those of value_ms. accuracy: of held-out photos.
    """

    name: str
    accuracy: float | None
    validation_accuracy: float | None
    value_ms: float
    num_threads: int
    turns: int
    fits: bool


class ChoiceRecord(TypedDict):
    """The file that the rule takes within a budget (docs/converting.md).

    accuracy: of `photos` held-out photos, on which it was not chosen. validation_accuracy: of those it was chosen on.
    reason: which file, and why, in one line. too_slow: a file that would be better, in one line, or "".
    threads: num_threads in words, with the reason. margin_ms: of the budget. seconds: what choosing took.
    """

    model: str
    sha256: str
    accuracy: float | None
    photos: int | None
    validation_accuracy: float | None
    reason: str
    too_slow: str
    metric: str
    num_threads: int
    threads: str
    budget_ms: float
    value_ms: float
    margin_ms: float
    measured: list[MeasuredFile]
    not_measured: list[str]
    seconds: float
    time: str
    environment: Environment


def write_result(
    path: Path,
    environment: Environment,
    watch: WatchRecord,
    results: list[ModelResult],
    *,
    sustained: list[SustainedResult] | None = None,
    choice: ChoiceRecord | None = None,
) -> None:
    """Raises OSError."""
    content: ResultFile = {
        "format": FORMAT,
        "time": timestamp(),
        "environment": environment,
        "watch": watch,
        "results": results,
    }
    if sustained:
        content["sustained"] = sustained
    if choice:
        content["choice"] = choice
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
