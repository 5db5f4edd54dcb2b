"""Plots of reports, drawn by matplotlib, and the style that all of them share. edge-convert uses it too.

Each is a PNG and a text with its figures, for those who do not see it. None has a class's label in it: matplotlib's
font lacks most scripts of the world, and a browser's do not.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from edge_classify.learn.learning_curve import SHARES, Growth
from edge_classify.learn.metrics import reliability, wilson_interval

INK = "#1d2733"
BLUE = "#2563a8"
ORANGE = "#d97706"
GREY = "#9aa5b1"
GREEN = "#2e7d4f"
RED = "#b3261e"
GROUP_COLORS = (BLUE, ORANGE, RED, GREEN, GREY)

# In a reliability diagram, a point of fewer photos is drawn hollow: it says little.
FEW_PHOTOS = 10
_HISTOGRAM_BINS = 25
_WIDTH_COLORS = (ORANGE, BLUE, GREEN, RED, GREY, INK)
# Where a point's label may stand: distances in points, nearest first, and directions.
_LABEL_DISTANCES = (7, 10, 15, 20, 27, 35, 45)
_LABEL_ANGLES = tuple(math.radians(degrees) for degrees in (45, 90, 135, 0, 180, -45, -90, -135))
# Half a dot's side, in pixels, with some room.
_DOT = 3.5


def style_axes(axes: Any, x: str, y: str) -> None:
    """Label matplotlib axes, and draw them as in all our plots."""
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(which="both", labelsize=7)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def error_bars(
    shares: Sequence[float], intervals: Sequence[tuple[float, float]], unit: float = 100
) -> list[list[float]]:
    """For matplotlib's errorbar, in percent: how far the intervals reach below the shares, and above."""
    below = [max(0.0, unit * (share - low)) for share, (low, _) in zip(shares, intervals, strict=True)]
    above = [max(0.0, unit * (high - share)) for share, (_, high) in zip(shares, intervals, strict=True)]
    return [below, above]


def set_cost_axis(axes: Any, x: str, y: str) -> None:
    """Costs to the right, logarithmic, with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    style_axes(axes, x, y)


def figure_png(figure: Any) -> bytes:
    """A matplotlib figure as PNG."""
    file = io.BytesIO()
    # No software version in the file: equal figures are equal bytes.
    figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def label_points(axes: Any, labels: Sequence[tuple[str, float, float]], avoid: Sequence[tuple[float, float]]) -> None:
    """Write each label (text, x, y) near its point, where it covers no other label and none of the points to `avoid`.

    Call it when all else is drawn: limits and layout must not change any more.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    dots = [Bbox.from_bounds(x - _DOT, y - _DOT, 2 * _DOT, 2 * _DOT) for x, y in axes.transData.transform(avoid)]
    taken = dots
    for text, x, y in labels:
        note = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", fontsize=6.5, ha="center", va="center")
        best = None
        for distance, angle in itertools.product(_LABEL_DISTANCES, _LABEL_ANGLES):
            note.set_position((1.6 * distance * math.cos(angle), distance * math.sin(angle)))
            box = note.get_window_extent()
            covered = sum(box.overlaps(other) for other in taken) + 10 * (not _inside(box, axes.bbox))
            if best is None or covered < best[0]:
                best = covered, distance, note.get_position(), box
            if not covered:
                break
        assert best is not None
        note.set_position(best[2])
        taken.append(best[3])
        if best[1] > _LABEL_DISTANCES[1]:  # too far to see whose it is
            axes.annotate(
                "",
                (x, y),
                best[2],
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "lw": 0.3, "color": GREY},
            )


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)


def learning_curve(whole: Growth, classes: Sequence[Growth]) -> tuple[bytes, str]:
    """What is recognised with more and more photos, with 95% intervals: all classes in ink, some in `GROUP_COLORS`."""
    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = figure.subplots()
    growths = [(whole, INK), *zip(classes, GROUP_COLORS, strict=False)]
    for place, (growth, color) in enumerate(growths):
        intervals = [(low, high) for low, high in growth.intervals]
        spread = error_bars(growth.recognised, intervals)
        # Side by side, so that no interval hides another.
        x = [100 * share + 0.7 * (place - len(growths) / 2) for share in SHARES]
        y = [100 * share for share in growth.recognised]
        width = 1.8 if place == 0 else 1
        axes.errorbar(x, y, spread, color=color, marker="o", markersize=4, linewidth=width, elinewidth=0.6)
    axes.set_xticks([100 * share for share in SHARES])
    axes.set_xlim(0, 105)
    axes.set_ylim(top=101)
    style_axes(axes, "% of the photos trained on", "recognised (%)")
    figures = "; ".join(
        f"{share:.0%} with {count} photos" for share, count in zip(whole.recognised, whole.photos, strict=True)
    )
    return figure_png(figure), f"Recognised of all classes together: {figures}."


def training_curves(curves: Mapping[str, Sequence[float]]) -> tuple[bytes, str]:
    """Loss and accuracy per batch, and per epoch in training and validation. curves: as `learn.head.Curves`."""
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    batches, epochs = len(curves["batch_loss"]), len(curves["epoch_loss"])
    batches_per_epoch = batches / max(1, epochs)
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        x = np.arange(1, batches + 1) / batches_per_epoch
        axes.plot(x, curves[f"batch_{kind}"], color=GREY, linewidth=0.5, label="training, per batch")
        ends = np.arange(1, epochs + 1)
        axes.plot(ends, curves[f"epoch_{kind}"], color=BLUE, marker=".", label="training, per epoch")
        if curves[f"validation_{kind}"]:
            axes.plot(ends, curves[f"validation_{kind}"], color=ORANGE, marker=".", label="validation, per epoch")
            best = int(np.argmin(curves["validation_loss"]))
            axes.axvline(best + 1, color=GREEN, linestyle=":", label="best epoch")
        style_axes(axes, "epoch", "loss (nats)" if kind == "loss" else kind)
        if kind == "loss":
            axes.set_ylim(0, max(*curves["epoch_loss"], *(curves["validation_loss"] or [0])) * 1.3)
        axes.legend(fontsize=7, frameon=False)
    return figure_png(figure), _describe_curves(curves)


def _describe_curves(curves: Mapping[str, Sequence[float]]) -> str:
    text = (
        f"Loss and accuracy over {len(curves['epoch_loss'])} epochs. In training the loss went from "
        f"{curves['epoch_loss'][0]:.3f} to {curves['epoch_loss'][-1]:.3f}, accuracy to "
        f"{curves['epoch_accuracy'][-1]:.1%}."
    )
    if curves["validation_loss"]:
        best = int(np.argmin(curves["validation_loss"]))
        text += (
            f" In validation the loss was lowest after epoch {best + 1}: {curves['validation_loss'][best]:.3f}, "
            f"with an accuracy of {curves['validation_accuracy'][best]:.1%}."
        )
    return text


def reliability_diagram(confidences: np.ndarray, right: np.ndarray) -> tuple[bytes, str]:
    """Accuracy against confidence, with 95% intervals; bars show how many photos each point stands for.

    confidences: 0 to 1, (n,). right: bool, (n,).
    """
    figure = Figure(figsize=(3.6, 3.4), layout="constrained")
    axes = figure.subplots()
    points = reliability(confidences, right)
    axes.bar(
        [confidence for confidence, _, _ in points],
        [count / len(right) for _, _, count in points],
        width=0.05,
        color=GREY,
        alpha=0.45,
        label="share of photos",
    )
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    for name, hollow in (("accuracy", False), (f"accuracy of fewer than {FEW_PHOTOS} photos", True)):
        shown = [point for point in points if (point[2] < FEW_PHOTOS) == hollow]
        if shown:
            accuracies = [accuracy for _, accuracy, _ in shown]
            spread = error_bars(accuracies, [wilson_interval(accuracy, count) for _, accuracy, count in shown], unit=1)
            axes.errorbar(
                [confidence for confidence, _, _ in shown],
                accuracies,
                spread,
                color=GREY if hollow else BLUE,
                fmt="o" if hollow else "o-",
                markerfacecolor="white" if hollow else BLUE,
                elinewidth=0.6,
                label=name,
            )
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.4)  # room for the legend
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    style_axes(axes, "confidence (largest class probability)", "")
    axes.legend(fontsize=7, frameon=False, loc="upper left")
    figures = "; ".join(f"{accuracy:.0%} of {count} at {confidence:.2f}" for confidence, accuracy, count in points)
    return figure_png(figure), f"Accuracy against confidence. Right are {figures}."


def unknown_histogram(groups: Mapping[str, np.ndarray]) -> tuple[bytes, str]:
    """How P(unknown), 0 to 1, is distributed over each group of pictures, in the order of `GROUP_COLORS`."""
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    axes = figure.subplots()
    bins = [index / _HISTOGRAM_BINS for index in range(_HISTOGRAM_BINS + 1)]
    for values, color in zip(groups.values(), itertools.cycle(GROUP_COLORS), strict=False):
        axes.hist(values, bins, weights=np.full(len(values), 1 / len(values)), histtype="step", color=color)
    style_axes(axes, "probability of unknown", "share of pictures")
    figures = "; ".join(
        f"{name}: median {np.median(values):.2f}, above 0.5 in {np.mean(values > 0.5):.0%} of {len(values)}"
        for name, values in groups.items()
    )
    return figure_png(figure), f"Distribution of the probability of unknown. {figures}."


def grid_plot(entries: Sequence[Mapping[str, Any]], intervals: Sequence[tuple[float, float]]) -> tuple[bytes, str]:
    """Held-out photos that are correct, with the 95% interval, against multiply-adds: each cell; one line per width.

    entries: of run.json. intervals: (low, high) of each, as shares.
    """
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    labels = []
    for alpha, color in zip(sorted({entry["alpha"] for entry in entries}), _WIDTH_COLORS, strict=False):
        cells = [
            (entry, interval) for entry, interval in zip(entries, intervals, strict=True) if entry["alpha"] == alpha
        ]
        x = [entry["multiply_adds"] / 1e6 for entry, _ in cells]
        shares = [entry["evaluation"]["accuracy_with_unknown"] for entry, _ in cells]
        y = [100 * share for share in shares]
        spread = error_bars(shares, [interval for _, interval in cells])
        axes.errorbar(
            x, y, spread, color=color, marker="o", capsize=2, linewidth=1, elinewidth=0.6, label=f"alpha {alpha}"
        )
        labels += [(str(entry["resolution"]), *point) for (entry, _), *point in zip(cells, x, y, strict=True)]
    set_cost_axis(axes, "million multiply-adds (labels: resolution)", "held-out photos correct (%)")
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    label_points(axes, labels, [(x, y) for _, x, y in labels])
    figures = "; ".join(
        f"{entry['alpha']} @ {entry['resolution']}: {entry['evaluation']['accuracy_with_unknown']:.1%} at "
        f"{entry['multiply_adds'] / 1e6:.1f}"
        for entry in entries
    )
    return figure_png(figure), f"Held-out photos that are correct against million multiply-adds. {figures}."
