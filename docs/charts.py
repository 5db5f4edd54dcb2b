"""The charts of the pages of measurements, drawn by Matplotlib: docs/make_measurements.py writes them.

They are SVG on a white card, which is readable on a light page and on a dark one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from edge_classify.learn.metrics import pareto_front

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"

Row = dict[str, Any]

# Okabe and Ito's colours, which the colour-blind tell apart; and marks that tell them without colour.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_MARKS = ("o", "s", "^", "D")
_PRECISIONS = ("float32", "float16", "dynamic", "int8")


@dataclass(frozen=True)
class Chart:
    """picture: the SVG file. result: the file of benchmarks/results whose rows it shows, without .json."""

    picture: Path
    result: str
    plot: Callable[[Sequence[Row]], Any]

    def digest(self) -> str:
        """Of the figures and of what draws them; the picture has it too, as other versions draw other bytes."""
        data = (ROOT / "benchmarks" / "results" / f"{self.result}.json").read_bytes()
        return hashlib.sha256(data + Path(__file__).read_bytes()).hexdigest()

    def is_up_to_date(self) -> bool:
        return self.picture.exists() and self.digest() in self.picture.read_text()

    def draw(self) -> None:
        """Write the picture."""
        import matplotlib as mpl

        mpl.use("svg")
        style = {
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "font.family": "sans-serif",
            "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"],
            "font.size": 11,
            "grid.color": "#e3e3e3",
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "edge-classify",
        }
        data = (ROOT / "benchmarks" / "results" / f"{self.result}.json").read_text()
        with mpl.rc_context(style):
            figure = self.plot(json.loads(data)["rows"])
            about = {"Date": None, "Creator": None, "Description": self.digest()}
            figure.savefig(self.picture, metadata=about, bbox_inches="tight", pad_inches=0.15)


def _accuracy(row: Row) -> float:
    """Mean of the two sets, in percent."""
    return float(row["Alien vs Predator (%)"] + row["flowers (%)"]) / 2


def _width_and_resolution(row: Row) -> tuple[str, int]:
    width, resolution = row["cell"].split("@")
    return width, int(resolution)


def _by_width(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each width multiplier, by resolution."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: _width_and_resolution(row)[1]):
        found.setdefault(_width_and_resolution(row)[0], []).append(row)
    return dict(sorted(found.items()))


def plot_tradeoff(rows: Sequence[Row]) -> Any:
    """Accuracy against latency of the int8 files, a line for each width multiplier."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2))
    int8 = [row for row in rows if row["precision"] == "int8"]
    for (width, files), color, mark in zip(_by_width(int8).items(), _COLORS, _MARKS, strict=True):
        times, accuracies = [row["a frame (ms)"] for row in files], [_accuracy(row) for row in files]
        axes.plot(times, accuracies, color=color, marker=mark, label=f"width {width}")
        for row, time, accuracy in zip(files, times, accuracies, strict=True):
            axes.annotate(
                _width_and_resolution(row)[1],
                (time, accuracy),
                {"0.35": (-10, 5), "0.75": (4, -14)}.get(width, (0, 6)),  # where no other line is
                textcoords="offset points",
                size=9,
                ha="center",
            )
    axes.set(xscale="log", xlabel="milliseconds per frame, one desktop core", ylabel="held-out accuracy, %")
    axes.margins(y=0.1)
    ticks = (0.2, 0.5, 1, 2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.legend(loc="lower right", title="numbers: resolution", frameon=False)
    return figure


def plot_multipliers(rows: Sequence[Row]) -> Any:
    """Accuracy against each cost; colours are widths, marks precisions, a line joins the Pareto front."""
    from matplotlib import pyplot, ticker

    costs = ("kB", "a frame (ms)", "Pi 4 (million instructions)", "Pi 5 (million instructions)")
    figure, panels = pyplot.subplots(2, 2, figsize=(10, 8), sharey=True)
    for cost, axes in zip(costs, panels.flat, strict=True):
        for files, color in zip(_by_width(rows).values(), _COLORS, strict=True):
            for precision, mark in zip(_PRECISIONS, _MARKS, strict=True):
                chosen = [row for row in files if row["precision"] == precision]
                points = [row[cost] for row in chosen], [_accuracy(row) for row in chosen]
                axes.scatter(*points, s=28, color=color, marker=mark, alpha=0.8, linewidths=0)
        front = sorted(pareto_front(list(rows), lambda row, cost=cost: row[cost], _accuracy), key=lambda row: row[cost])
        axes.step([row[cost] for row in front], [_accuracy(row) for row in front], where="post", color="#666", lw=1)
        axes.set(xscale="log", xlabel=cost)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("held-out accuracy, %")
    widths = [pyplot.Line2D([], [], color=color, lw=6) for color in _COLORS]
    precisions = [pyplot.Line2D([], [], color="#444", marker=mark, lw=0) for mark in _MARKS]
    names = [f"width {width}" for width in _by_width(rows)] + list(_PRECISIONS)
    figure.legend(widths + precisions, names, loc="lower center", ncols=8, frameon=False, columnspacing=1.2)
    figure.subplots_adjust(bottom=0.12, hspace=0.25, wspace=0.06)
    return figure


def plot_instructions(rows: Sequence[Row]) -> Any:
    """Million instructions of every cell, a panel for each board, a line for each precision."""
    from matplotlib import pyplot

    boards = list(dict.fromkeys(row["board"] for row in rows))
    figure, panels = pyplot.subplots(len(boards), 1, figsize=(9, 10), sharex=True, sharey=True)
    for board, axes in zip(boards, panels, strict=True):
        for precision, color, mark in zip(_PRECISIONS, _COLORS, _MARKS, strict=True):
            chosen = [row for row in rows if (row["board"], row["precision"]) == (board, precision)]
            style = {"lw": 4, "alpha": 0.35} if precision == "float32" else {"lw": 1.2, "marker": mark, "ms": 4}
            # A line for each width: from the largest picture of one to the smallest of the next nothing grows.
            for number, (_, of_width) in enumerate(groupby(chosen, lambda row: row["cell"].split("@")[0])):
                cells, counts = zip(*((row["cell"], row["instructions (million)"]) for row in of_width), strict=True)
                axes.plot(cells, counts, color=color, label="" if number else precision, **style)
        axes.set(yscale="log", title=board, ylabel="million instructions")
        axes.set_yticks((5, 10, 20, 50, 100, 200), ("5", "10", "20", "50", "100", "200"))
        axes.minorticks_off()
    panels[0].legend(ncols=4, frameon=False, loc="upper left")
    panels[-1].tick_params("x", rotation=60)
    return figure


CHARTS = (
    Chart(PICTURES / "tradeoff.svg", "multipliers", plot_tradeoff),
    Chart(PICTURES / "multipliers.svg", "multipliers", plot_multipliers),
    Chart(PICTURES / "instructions.svg", "instructions", plot_instructions),
)
