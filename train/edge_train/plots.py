"""Plots of reports, drawn by matplotlib as PNG, and the style that all of them share. edge-convert uses it too."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from edge_classify.images.crop import Crop, cut
from edge_classify.images.preprocessing import Image
from edge_classify.learn.metrics import reliability

INK = "#1d2733"
BLUE = "#2563a8"
ORANGE = "#d97706"
GREY = "#9aa5b1"
GREEN = "#2e7d4f"
RED = "#b3261e"

# Width of the picture that shows a crop, and how bright the rest of it is.
_CROP_PICTURE_PIXELS = 480
_CROP_REST = 0.35
# A contact sheet's pictures per row.
_COLUMNS = 6
_TILE_INCHES = 1.75
# Pictures are shrunk to this before they are drawn: a page has to load.
_TILE_PIXELS = 200
# Classes in a confusion matrix.
_MAX_CLASSES_SHOWN = 24
_HISTOGRAM_BINS = 25


def style_axes(axes: Any, x: str, y: str) -> None:
    """Label matplotlib axes, and draw them as in all our plots."""
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(which="both", labelsize=7)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def error_bars(shares: Sequence[float], intervals: Sequence[tuple[float, float]]) -> list[list[float]]:
    """For matplotlib's errorbar, in percent: how far the intervals reach below the shares, and above."""
    below = [max(0.0, 100 * (share - low)) for share, (low, _) in zip(shares, intervals, strict=True)]
    above = [max(0.0, 100 * (high - share)) for share, (_, high) in zip(shares, intervals, strict=True)]
    return [below, above]


def figure_png(figure: Any) -> bytes:
    """A matplotlib figure as PNG."""
    file = io.BytesIO()
    # No software version in the file: equal figures are equal bytes.
    figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def contact_sheet(tiles: Sequence[tuple[Image, str, str]], colors: Sequence[str] | None = None) -> bytes:
    """Pictures (uint8 BGR), each with its name and a line of text (in its color), six per row."""
    rows = -(-len(tiles) // _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * _TILE_INCHES, rows * (_TILE_INCHES + 0.42)), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for index, (axes, (picture, name, text)) in enumerate(zip(grid.flat, tiles, strict=False)):
        axes.imshow(_shrink(picture)[..., ::-1])
        axes.set_title(f"{_shorten(text)}\n{_shorten(name)}", fontsize=6.5, color=colors[index] if colors else INK)
    return figure_png(figure)


def crop_picture(picture: Image, crop: Crop) -> bytes:
    """A picture, uint8 BGR, in which all but this part is dark, with a frame around the part."""
    scale = _CROP_PICTURE_PIXELS / picture.shape[1]
    small = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    shown = (small * _CROP_REST).astype(np.uint8)
    part = cut(shown, crop)
    part[:] = cut(small, crop)
    height, width = part.shape[:2]
    cv2.rectangle(part, (0, 0), (width - 1, height - 1), (255, 255, 255), 2)
    cv2.rectangle(part, (2, 2), (width - 3, height - 3), (0, 0, 0), 1)
    _, png = cv2.imencode(".png", shown)
    return png.tobytes()


def learning_curves(curves: Mapping[str, Sequence[float]]) -> bytes:
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
    return figure_png(figure)


def confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> bytes:
    """counts: (K, K), one row per true class; a label without photos has no row. Of many, those most often confused."""
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    shown = np.sort(np.argsort(-wrong, kind="stable")[:_MAX_CLASSES_SHOWN])
    counts, names = counts[np.ix_(shown, shown)], [_shorten(labels[index], 18) for index in shown]
    side = 2.2 + 0.34 * len(names)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    rows = np.flatnonzero(counts.sum(axis=1))
    counts = counts[rows]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        color = "white" if shares[row, column] > 0.55 else INK
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), [names[row] for row in rows], fontsize=8)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    return figure_png(figure)


def reliability_diagram(confidences: np.ndarray, right: np.ndarray) -> bytes:
    """Accuracy against confidence; bars show how many photos each point stands for.

    confidences: 0 to 1, (n,). right: bool, (n,).
    """
    figure = Figure(figsize=(3.6, 3.4), layout="constrained")
    axes = figure.subplots()
    confidence, accuracy, counts = (np.array(column) for column in zip(*reliability(confidences, right), strict=True))
    axes.bar(confidence, counts / counts.sum(), width=0.05, color=GREY, alpha=0.45, label="share of photos")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    axes.plot(confidence, accuracy, color=BLUE, marker="o", label="accuracy")
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.3)  # room for the legend
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    style_axes(axes, "confidence (largest class probability)", "")
    axes.legend(fontsize=7, frameon=False, loc="upper left")
    return figure_png(figure)


def unknown_histogram(own: np.ndarray, negatives: Mapping[str, np.ndarray]) -> bytes:
    """How P(unknown), 0 to 1, is distributed over held-out photos of the classes, and over negatives."""
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    axes = figure.subplots()
    bins = [index / _HISTOGRAM_BINS for index in range(_HISTOGRAM_BINS + 1)]
    colors = itertools.cycle((BLUE, ORANGE, RED, GREEN, GREY))
    for (name, values), color in zip({"held-out photos": own, **negatives}.items(), colors, strict=False):
        axes.hist(values, bins, weights=np.full(len(values), 1 / len(values)), histtype="step", color=color, label=name)
    style_axes(axes, "probability of unknown", "share of pictures")
    axes.legend(fontsize=7, frameon=False)
    return figure_png(figure)


def grid_plot(entries: Sequence[Mapping[str, Any]], intervals: Sequence[tuple[float, float]]) -> bytes:
    """Held-out photos that are correct, with the 95% interval, against multiply-adds: each cell; one line per width.

    entries: of run.json. intervals: (low, high) of each, as shares.
    """
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    alphas = sorted({entry["alpha"] for entry in entries})
    for alpha, color in zip(alphas, (ORANGE, BLUE, GREEN, RED, GREY, INK), strict=False):
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
        for (entry, _), left, height in zip(cells, x, y, strict=True):
            axes.annotate(
                str(entry["resolution"]), (left, height), textcoords="offset points", xytext=(5, 4), fontsize=6.5
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    style_axes(axes, "million multiply-adds (labels: resolution)", "held-out photos correct (%)")
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    return figure_png(figure)


def _shrink(picture: Image) -> Image:
    scale = _TILE_PIXELS / max(picture.shape[:2])
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _shorten(text: str, length: int = 26) -> str:
    text = text.encode(errors="backslashreplace").decode()  # a file name may not be UTF-8
    # A dollar sign would start a formula.
    return (text if len(text) <= length else f"…{text[1 - length :]}").replace("$", r"\$")
