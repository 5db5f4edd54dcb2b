"""`report.html` beside the model files: what each costs, how accurate it is, and which to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from edge_classify.images.crop import Crop
from edge_classify.learn.metrics import pareto_front, wilson_interval
from edge_classify.system.atomic_write import write_atomic
from edge_train.page import escape, page, plot, table
from edge_train.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    error_bars,
    figure_png,
    label_points,
    set_cost_axis,
    style_axes,
)

_COLORS = {"float32": GREY, "float16": GREEN, "dynamic": ORANGE, "int8": BLUE}
_Entry = Mapping[str, Any]


def write_report(folder: Path, name: str, crop: Crop | None, entries: Sequence[_Entry]) -> Path:
    """Write `report.html`; returns its path. name, crop: of the run. entries: of the manifest."""
    entries = sorted(entries, key=lambda entry: (entry["alpha"], entry["resolution"], entry["bytes"]))
    front = cost_front(entries, "bytes")
    body = [
        f"<h1>{escape(name)}: model files</h1>",
        f"<p>Each file was run on {entries[0]['figures']['photos']} held-out photos, with the code that runs on the "
        "device.</p>",
        *_crop(crop),
        "<h2>Which file to choose</h2>",
        _choices(entries),
        "<h2>Accuracy against cost</h2>",
        plot(*_cost_plot(entries)),
        "<p class='note'>Bars are 95% confidence intervals: if two overlap, the photos do not show which file is "
        "better. The line is the Pareto front: no other file is both more accurate and cheaper. Latency depends on the "
        "device's processor: measure it there with edge-benchmark.</p>",
        *_precisions(entries),
        "<h2>All files</h2>",
        _files(entries, front),
        "<p class='note'><i>Correct</i> is what a camera would show: unknown counts as wrong. <i>Among classes</i> "
        "leaves it aside, and <i>float model</i> is that before conversion. <i>Kept</i> is the percentage of held-out "
        "photos that are not called unknown, <i>agreement</i> the percentage that get the same label as from the float "
        "model, and <i>confidence</i> the change in the mean probability of the best label, in points. Files in bold "
        "are on the Pareto front of accuracy and size.</p>",
    ]
    path = folder / "report.html"
    write_atomic(path, page(f"{name}: model files", body))
    return path


def _crop(crop: Crop | None) -> list[str]:
    if crop is None:
        return []
    return [
        f"<p>The files were trained and measured on the part <code>--crop {crop}</code> of each photo, and "
        "edge-classify cuts it out of each frame. Other programs must do so themselves: "
        f"{crop.width:.0%} of the picture's width from {crop.x:.0%} on, {crop.height:.0%} of its height from "
        f"{crop.y:.0%} on.</p>"
    ]


def cost_front(entries: Sequence[_Entry], cost: str) -> list[_Entry]:
    """The Pareto front of accuracy and `cost`, cheapest first."""
    return pareto_front(entries, lambda entry: entry[cost], lambda entry: entry["figures"]["accuracy"])


def _choices(entries: Sequence[_Entry]) -> str:
    best = max(
        entries, key=lambda entry: (entry["figures"]["accuracy"], entry["figures"]["agreement"], -entry["bytes"])
    )
    low, _ = _interval(best)
    # Their accuracy lies within the confidence interval of the best.
    as_good = [entry for entry in entries if entry["figures"]["accuracy"] >= low]
    rows = [
        ("Most accurate", best),
        ("Smallest, not measurably worse", min(as_good, key=lambda entry: entry["bytes"])),
        (
            "Fewest multiply-adds, not measurably worse",
            min(as_good, key=lambda entry: (entry["multiply_adds"], entry["bytes"])),
        ),
        ("Smallest of all", min(entries, key=lambda entry: entry["bytes"])),
    ]
    return table(
        ["", "file", "accuracy", "size (kB)", "multiply-adds (millions)"],
        [
            (
                [
                    reason,
                    entry["file"],
                    f"{entry['figures']['accuracy']:.1%}",
                    f"{entry['bytes'] / 1e3:.0f}",
                    f"{entry['multiply_adds'] / 1e6:.0f}",
                ],
                False,
            )
            for reason, entry in rows
        ],
    )


def _precisions(entries: Sequence[_Entry]) -> list[str]:
    """Float32 against int8 for each cell that has both; nothing for fewer than two such cells."""
    cells: dict[tuple[float, int], dict[str, _Entry]] = {}
    for entry in entries:
        cells.setdefault((entry["alpha"], entry["resolution"]), {})[entry["precision"]] = entry
    pairs = {cell: files for cell, files in cells.items() if {"float32", "int8"} <= files.keys()}
    if len(pairs) < 2:
        return []
    figure = Figure(figsize=(7.5, 0.6 + 0.28 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    for row, files in enumerate(pairs.values()):
        values = [100 * files[precision]["figures"]["accuracy"] for precision in ("float32", "int8")]
        axes.plot(values, [row, row], color=RED if values[1] < values[0] else GREEN, linewidth=1.5, zorder=1)
        for value, precision in zip(values, ("float32", "int8"), strict=True):
            axes.scatter(value, row, color=_COLORS[precision], zorder=2, label=precision if row == 0 else None)
    axes.set_yticks(range(len(pairs)), [f"{alpha} @ {resolution}" for alpha, resolution in pairs])
    style_axes(axes, "held-out accuracy (%)", "")
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    text = "; ".join(
        f"{alpha} @ {resolution}: {files['float32']['figures']['accuracy']:.1%} and "
        f"{files['int8']['figures']['accuracy']:.1%}"
        for (alpha, resolution), files in pairs.items()
    )
    return [
        "<h2>Accuracy of float32 and int8</h2>",
        plot(figure_png(figure), f"Held-out accuracy of float32 and of int8. {text}."),
    ]


def _cost_plot(entries: Sequence[_Entry]) -> tuple[bytes, str]:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    costs = (("bytes", 1e3, "size (kB)"), ("multiply_adds", 1e6, "multiply-adds (millions)"))
    labels = {}
    for axes, (cost, unit, title) in zip(figure.subplots(1, 2, sharey=True), costs, strict=True):
        front = [(entry, entry[cost] / unit, 100 * entry["figures"]["accuracy"]) for entry in cost_front(entries, cost)]
        line = [point for _, *point in front]
        axes.step(*zip(*line, strict=True), where="post", color=INK, linewidth=0.8, label="Pareto front")
        for precision, color in _COLORS.items():
            files = [entry for entry in entries if entry["precision"] == precision]
            if files:
                shares = [entry["figures"]["accuracy"] for entry in files]
                y = [100 * share for share in shares]
                spread = error_bars(shares, [_interval(entry) for entry in files])
                x = [entry[cost] / unit for entry in files]
                axes.errorbar(x, y, spread, color=color, fmt="o", markersize=4, elinewidth=0.4, label=precision)
        labels[axes] = [(f"{entry['alpha']}@{entry['resolution']}", x, y) for entry, x, y in front]
        set_cost_axis(axes, title, "held-out accuracy (%)" if cost == "bytes" else "")
    figure.axes[1].legend(fontsize=7, frameon=False, loc="lower right")
    for axes, (cost, unit, _) in zip(figure.axes, costs, strict=True):
        label_points(
            axes, labels[axes], [(entry[cost] / unit, 100 * entry["figures"]["accuracy"]) for entry in entries]
        )
    text = "; ".join(
        f"{entry['alpha']}@{entry['resolution']} {entry['precision']}: {entry['figures']['accuracy']:.1%} at "
        f"{entry['bytes'] / 1e3:.0f} kB"
        for entry in cost_front(entries, "bytes")
    )
    return figure_png(figure), f"Held-out accuracy against size and multiply-adds. On the Pareto front of size: {text}."


def _files(entries: Sequence[_Entry], front: Sequence[_Entry]) -> str:
    rows = []
    for entry in entries:
        figures = entry["figures"]
        low, high = _interval(entry)
        cells = {
            "cell": f"{entry['alpha']} @ {entry['resolution']}",
            "precision": entry["precision"],
            "size (kB)": f"{entry['bytes'] / 1e3:.0f}",
            "correct": f"{figures['accuracy_with_unknown']:.1%}" if "accuracy_with_unknown" in figures else "–",
            "among classes": f"{figures['accuracy']:.1%}",
            "95% interval": f"{low:.1%} – {high:.1%}",
            "float model": f"{figures['float32_accuracy']:.1%}",
            "kept": f"{figures['kept']:.1%}",
            "agreement": f"{figures['agreement']:.1%}",
            "confidence": f"{100 * figures['confidence_change']:+.1f}",
            "calibration error": f"{figures['calibration_error']:.3f}",
        }
        rows.append((cells, entry in front))
    return table(list(rows[0][0]), [(list(cells.values()), bold) for cells, bold in rows])


def _interval(entry: _Entry) -> tuple[float, float]:
    return wilson_interval(entry["figures"]["accuracy"], entry["figures"]["photos"])
