"""Results as tables: on a terminal and in Markdown a row a model file, in CSV every figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from ..metrics import wilson_interval
from .statistics import STAGES, STATISTICS, Entry, latency_front

_FACTS = ("model", "alpha", "resolution", "precision", "multiply_adds", "accuracy", "photos", "num_threads")


def overview(entries: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: times are p50 in milliseconds, with the first number of threads; a star is the Pareto front."""
    first, *others = dict.fromkeys(one["num_threads"] for one in entries)
    of_threads = {(one["model"], one["num_threads"]): one["stages"]["total"]["p50"] for one in entries}
    shown = [one for one in entries if one["num_threads"] == first]
    best = {one["model"] for one in latency_front(shown)}
    columns = ["model file", "", "accuracy %", *STAGES, "p90", "p99", "frames/s", "MB"]
    rows = []
    for one in shown:
        stages = one["stages"]
        rows.append(
            [
                *(one["name"], "*" if one["model"] in best else "", _accuracy(one)),
                f"{stages['start']['p50']:.0f}",
                *(f"{stages[stage]['p50']:.2f}" for stage in STAGES[1:]),
                *(f"{stages['total'][statistic]:.2f}" for statistic in ("p90", "p99")),
                f"{one['frames_per_second']:.0f}",
                f"{one['peak_memory_mb']:.0f}" if one["peak_memory_mb"] else "-",
                *(f"{of_threads[one['model'], threads]:.2f}" for threads in others),
            ]
        )
    return [*columns, *(f"{threads} threads" for threads in others)], rows


def as_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned for a terminal, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [columns, *rows]
    )


def as_markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def as_csv(entries: Iterable[Entry]) -> str:
    """A row for each file and number of threads; times in milliseconds."""
    file = io.StringIO()
    figures = [(stage, statistic) for stage in STAGES for statistic in STATISTICS]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [*_FACTS, *(f"{stage}_{statistic}" for stage, statistic in figures), "frames_per_second", "peak_memory_mb"]
    )
    for one in entries:
        times = [one["stages"][stage][statistic] for stage, statistic in figures]
        writer.writerow([*(one[fact] for fact in _FACTS), *times, one["frames_per_second"], one["peak_memory_mb"]])
    return file.getvalue()


def machine(environment: dict[str, Any]) -> str:
    """The machine in one line."""
    name = environment["device"] or environment["processor"] or "unknown machine"
    cores = environment["cores"]
    kind = f"{name}, {environment['machine']}, {cores} core{'s'[: cores > 1]}, {environment['word_bits']} bits"
    governor = f", governor {environment['governor']}" if environment["governor"] else ""
    version = environment["interpreter_version"] or ""
    return f"{kind}{governor}, Python {environment['python']}, {environment['interpreter']} {version}".rstrip()


def _accuracy(one: Entry) -> str:
    if one["accuracy"] is None:
        return "-"
    low, high = wilson_interval(one["accuracy"], one["photos"]) if one["photos"] else (0.0, 1.0)
    return f"{100 * one['accuracy']:.1f} ({100 * low:.0f}-{100 * high:.0f})"
