"""Results as tables: on a terminal and in Markdown one row per model file, in CSV everything."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from ..learn.metrics import wilson_interval
from ..model.threads import in_words
from ..system.counted import counted
from .metric import STAGES, STATISTICS
from .result import Environment, ModelResult
from .statistics import latency_front

# The start of all names that edge-convert gives: said once in the heading it leaves room for numbers.
_FAMILY = "mobilenet_v2_"

# Broken over two lines on a terminal.
_STAGE_HEADINGS = {
    "start": "start",
    "preprocess": "pre-\nprocess",
    "inference": "infer-\nence",
    "postprocess": "post-\nprocess",
    "total": "total",
}


def overview(results: Sequence[ModelResult]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: p50 in milliseconds with the first number of threads; a star is the Pareto front.

    A heading's line break is one on a terminal, and is taken out by `as_markdown`.
    """
    first, *others = dict.fromkeys(result["num_threads"] for result in results)
    shown = [result for result in results if result["num_threads"] == first]
    total_p50 = {(result["model"], result["num_threads"]): result["stages"]["total"]["p50"] for result in results}
    front = {result["model"] for result in latency_front(shown)}
    family = _FAMILY if all(result["name"].startswith(_FAMILY) for result in shown) else ""
    headings = [f"{family}…" if family else "model file", "", "accuracy\n%"]
    headings += [_STAGE_HEADINGS[stage] for stage in STAGES]
    headings += ["p90", "p99", "MB"]
    headings += [f"{threads}\nthreads" for threads in others]
    with_auto = any(result["auto_threads"] for result in shown)
    headings += ["auto"] * with_auto
    rows = []
    for result in shown:
        row = [result["name"].removeprefix(family), "*" if result["model"] in front else "", _accuracy(result)]
        row.append(f"{result['stages']['start']['p50']:.0f}")
        row += [f"{result['stages'][stage]['p50']:.2f}" for stage in STAGES[1:]]
        row += [f"{result['stages']['total'][statistic]:.2f}" for statistic in ("p90", "p99")]
        row.append(f"{result['peak_memory_mb']:.0f}" if result["peak_memory_mb"] else "-")
        row += [f"{total_p50[result['model'], threads]:.2f}" for threads in others]
        row += [str(result["auto_threads"])] * with_auto
        rows.append(row)
    return headings, rows


def legend(results: Sequence[ModelResult]) -> str:
    """What the numbers of `overview` are."""
    text = (
        f"accuracy: of held-out photos, correct as shown, with its 95% interval; *: no other file is both faster and "
        f"more accurate\np50 in milliseconds with {in_words(results[0]['num_threads'])}; p90 and p99 are of total"
    )
    if results[0]["auto_threads"]:
        text += "\nauto: the threads that edge-classify takes, the fewest within 10% of the fastest inference"
    return text


def as_text(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned for a terminal, the first column to the left. Headings may have several lines."""
    split = [heading.split("\n") for heading in headings]
    height = max(map(len, split))
    heading_rows = list(zip(*([""] * (height - len(lines)) + lines for lines in split), strict=True))
    lines = [*heading_rows, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    flat = [heading.replace("-\n", "").replace("\n", " ") for heading in headings]
    rule = ["---"] + ["---:"] * (len(flat) - 1)
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in [flat, rule, *rows])


def as_csv(results: Iterable[ModelResult]) -> str:
    """One row for each file and number of threads; times in milliseconds."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    headings = ["model", "alpha", "resolution", "precision", "multiply_adds", "accuracy", "photos", "num_threads"]
    headings += [f"{stage}_{statistic}" for stage in STAGES for statistic in STATISTICS]
    writer.writerow([*headings, "frames_per_second", "peak_memory_mb"])
    for result in results:
        row: list[object] = [result["model"], result["alpha"], result["resolution"], result["precision"]]
        row += [result["multiply_adds"], result["accuracy"], result["photos"], result["num_threads"]]
        row += [result["stages"][stage][statistic] for stage in STAGES for statistic in STATISTICS]
        writer.writerow([*row, result["frames_per_second"], result["peak_memory_mb"]])
    return file.getvalue()


def machine(environment: Environment) -> str:
    """The machine in one line."""
    name = environment["device"] or environment["processor"] or "unknown machine"
    cores = counted(environment["cores"], "core")
    parts = [name, environment["machine"], cores, f"{environment['word_bits']}-bit"]
    if environment["governor"]:
        parts.append(f"governor {environment['governor']}")
    parts.append(f"Python {environment['python']}")
    parts.append(f"{environment['interpreter']} {environment['interpreter_version'] or ''}".rstrip())
    return ", ".join(parts)


def _accuracy(result: ModelResult) -> str:
    """In percent, with its 95% interval."""
    if result["accuracy"] is None:
        return "-"
    percent = f"{100 * result['accuracy']:.1f}"
    if not result["photos"]:
        return percent
    low, high = wilson_interval(result["accuracy"], result["photos"])
    return f"{percent} ({100 * low:.0f}-{100 * high:.0f})"
