"""The picture of a benchmark: accuracy against latency. It needs matplotlib, which a device need not have."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from edge_train.plots import BLUE, GREEN, GREY, INK, ORANGE, RED, figure_png, style_axes

from ..errors import UsageError
from .statistics import Entry, latency_front

_COLORS = (BLUE, ORANGE, GREEN, RED, INK, GREY)
_STYLES = {"int8": ("-", "o"), "float32": ("--", "s"), "float16": ("-.", "D"), "dynamic": (":", "^")}


def check_matplotlib() -> None:
    """Raises UsageError where it is missing."""
    if find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'edge-classify[plot]', or draw it elsewhere from --csv")


def latency_plot(entries: Sequence[Entry], machine: str) -> bytes:
    """A PNG: a line a width multiplier and precision through its resolutions, and the Pareto front.

    Of several numbers of threads the first is drawn. Raises UsageError if no file tells its accuracy.
    """
    from matplotlib.figure import Figure

    threads = entries[0]["num_threads"]
    known = [one for one in entries if one["num_threads"] == threads and one["accuracy"] is not None]
    if not known:
        raise UsageError("--plot: none of these files tells its accuracy")
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    front = [_point(one) for one in latency_front(known)]
    axes.step(*zip(*front, strict=True), where="post", color=GREY, linewidth=5, alpha=0.35, label="Pareto front")
    alphas = list(dict.fromkeys(one["alpha"] for one in known))
    for one in dict.fromkeys((one["alpha"], one["precision"]) for one in known):
        alpha, precision = one
        line = sorted(
            (each for each in known if (each["alpha"], each["precision"]) == one),
            key=lambda each: each["resolution"] or 0,
        )
        style, marker = _STYLES.get(precision, ("", "x"))
        axes.plot(
            *zip(*map(_point, line), strict=True),
            color=_COLORS[alphas.index(alpha) % len(_COLORS)],
            linestyle=style if alpha is not None else "",
            marker=marker,
            markersize=4,
            linewidth=1.2,
            label="other files" if alpha is None else f"{alpha} {precision}",
        )
        for each in line:
            name = each["resolution"] or each["name"]
            axes.annotate(name, _point(each), textcoords="offset points", xytext=(4, -8), fontsize=6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    style_axes(axes, f"frame to label, p50, {threads} thread{'s'[: threads > 1]} (ms)", "held-out accuracy (%)")
    axes.set_title(machine, fontsize=7, loc="left", color=GREY)
    axes.legend(fontsize=7, frameon=False)
    return figure_png(figure)


def _point(one: Any) -> tuple[float, float]:
    return one["stages"]["total"]["p50"], 100 * one["accuracy"]
