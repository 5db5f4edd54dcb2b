"""`report.html` beside the model files: what each costs, how accurate it is, and which to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from edge_classify.benchmark.rule import BoardChoice
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


def write_report(
    folder: Path, name: str, crop: Crop | None, entries: Sequence[_Entry], choices: Sequence[BoardChoice]
) -> Path:
    """Write `report.html`; returns its path. name, crop: of the run. entries: of the manifest."""
    entries = sorted(entries, key=lambda entry: (entry["alpha"], entry["resolution"], entry["bytes"]))
    front = cost_front(entries, "bytes")
    body = [
        f"<h1>{escape(name)}: model files</h1>",
        f"<p>Each file was run on {entries[0]['figures']['photos']} held-out photos, with the code that runs on the "
        "device.</p>",
        *_crop(crop),
        "<h2>Which file to take</h2>",
        _choices(choices),
        "<h2>Accuracy against cost</h2>",
        plot(*_cost_plot(entries)),
        "<p class='note'>Bars are 95% confidence intervals: in 95 of 100 such measurements, the interval holds the "
        "accuracy that would be found on very many photos of the same kind. They do not compare files: all are "
        "measured on the same photos, and two files with overlapping bars can differ. The line is the "
        "Pareto front: no other file is both more accurate and cheaper.</p>",
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


def _choices(choices: Sequence[BoardChoice]) -> str:
    rows = [
        (
            [
                " and ".join(choice.boards),
                choice.candidate.path.name,
                f"{choice.candidate.accuracy or 0:.1%} of {choice.candidate.photos}",
                f"{choice.candidate.bytes / 1e3:.0f}",
                f"{(choice.candidate.multiply_adds or 0) / 1e6:.0f}",
            ],
            False,
        )
        for choice in choices
    ]
    headings = ["for a", "file", "held-out photos correct", "size (kB)", "multiply-adds (millions)"]
    reasons = "".join(f"<p class='note'>{escape(choice.reason)}.</p>" for choice in choices)
    return table(headings, rows) + (
        f"{reasons}<p class='note'>Cells are compared photo by photo, on the photos on which all choices are made "
        "(validation), and a precision is left out only if it loses measurably against its float model. So the "
        "held-out figures are of files that were not chosen for them. Speed is estimated from instructions counted "
        "under emulation: <code>edge-benchmark</code> measures it on the device, and takes by the same rule.</p>"
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
