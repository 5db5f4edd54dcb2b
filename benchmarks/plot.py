"""A picture of a benchmark: accuracy against latency, from a result file of edge-benchmark.

python benchmarks/plot.py RESULT.json -o FILE.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from compare import read_results
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edge_classify.benchmark.result import ModelResult
from edge_classify.benchmark.statistics import latency_front
from edge_classify.benchmark.tables import machine
from edge_classify.errors import DataError
from edge_classify.options import Parser, output_file
from edge_classify.system.command import run

# Line style and marker of each precision; widths are told apart by colour.
STYLES = {"int8": ("-", "o"), "float32": ("--", "s"), "float16": ("-.", "D"), "dynamic": (":", "^")}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(
        "plot.py",
        "Draw accuracy against latency: a line for each width multiplier and precision through its resolutions.",
        errors=[DataError],
    )
    parser.add_argument(
        "result", type=Path, metavar="RESULT.json", help="a file that edge-benchmark --result-json wrote"
    )
    parser.add_argument(
        "-o", "--output", type=output_file, required=True, metavar="FILE.png", help="the picture to write"
    )
    parser.add_common_options()
    options = parser.parse_args(arguments)

    def work() -> int:
        content = read_results(options.result)
        # Of several numbers of threads the first.
        threads = content["results"][0]["num_threads"]
        known = [r for r in content["results"] if r["num_threads"] == threads and r["accuracy"] is not None]
        if not known:
            raise DataError(f"{options.result}: none of its model files says how accurate it is")
        draw(known, machine(content["environment"])).savefig(options.output, dpi=120)
        print(f"wrote {options.output}")
        return 0

    return run(work, traceback=options.traceback)


def draw(results: Sequence[ModelResult], title: str) -> Figure:
    """results: of one number of threads, each with an accuracy."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    front = [point(result) for result in latency_front(results)]
    axes.step(*zip(*front, strict=True), where="post", color="grey", linewidth=5, alpha=0.35, label="Pareto front")
    colors = {alpha: f"C{number}" for number, alpha in enumerate(dict.fromkeys(r["alpha"] for r in results))}
    for alpha, precision in dict.fromkeys((result["alpha"], result["precision"]) for result in results):
        line = [result for result in results if (result["alpha"], result["precision"]) == (alpha, precision)]
        line.sort(key=lambda result: result["resolution"] or 0)
        draw_line(axes, line, colors[alpha])
    threads = results[0]["num_threads"]
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel(f"frame to label, p50, {threads} {'thread' if threads == 1 else 'threads'} (ms)", fontsize=8)
    axes.set_ylabel("held-out accuracy (%)", fontsize=8)
    axes.tick_params(which="both", labelsize=7)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=7, loc="left", color="grey")
    axes.legend(fontsize=7, frameon=False)
    return figure


def draw_line(axes: Axes, line: Sequence[ModelResult], color: str) -> None:
    """One width multiplier and precision; files that do not say theirs are points without a line."""
    alpha, precision = line[0]["alpha"], line[0]["precision"]
    style, marker = STYLES.get(precision or "", ("", "x"))
    axes.plot(
        *zip(*map(point, line), strict=True),
        color=color,
        linestyle=style if alpha is not None else "",
        marker=marker,
        markersize=4,
        linewidth=1.2,
        label="other files" if alpha is None else f"{alpha} {precision}",
    )
    for result in line:
        name = str(result["resolution"] or result["name"])
        axes.annotate(name, point(result), textcoords="offset points", xytext=(4, -8), fontsize=6)


def point(result: ModelResult) -> tuple[float, float]:
    return result["stages"]["total"]["p50"], 100 * (result["accuracy"] or 0.0)


if __name__ == "__main__":
    sys.exit(main())
