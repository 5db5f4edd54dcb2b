"""`report.html` beside the model files: what each costs, how often it is right, and which to choose."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
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
        "share that would be correct of very many photos of the same kind. They do not compare files: all are "
        "measured on the same photos, and two files with overlapping bars can differ. The line is the "
        "Pareto front: no other file is both more often correct and cheaper.</p>",
        *_precisions(entries),
        "<h2>All files</h2>",
        _files(entries, {choice.candidate.path.name for choice in choices}),
        "<p class='note'><i>Correct</i> is what a camera would show: unknown counts as wrong. <i>Among classes</i> "
        "leaves it aside, and <i>float model</i> is that share before conversion. <i>Kept</i> is the percentage of "
        "held-out photos that are not called unknown, <i>agreement</i> the percentage that get the same label as from "
        "the float model, <i>accepted</i> the percentage of the negatives made to test unknown that are given a "
        "class's label, and <i>confidence</i> the change in the mean probability of the best label, in points. Files "
        "to take are in bold.</p>",
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
    """The Pareto front of photos correct and `cost`, cheapest first."""
    return pareto_front(entries, lambda entry: entry[cost], _correct)


def _choices(choices: Sequence[BoardChoice]) -> str:
    rows = [
        (
            [
                ", ".join(choice.boards),
                choice.candidate.path.name,
                f"{choice.candidate.accuracy or 0:.1%} of {choice.candidate.photos}",
                f"{choice.candidate.bytes / 1e3:.0f}",
                f"{(choice.candidate.multiply_adds or 0) / 1e6:.0f}",
            ],
            False,
        )
        for choice in choices
    ]
    headings = ["for", "file", "held-out photos correct", "size (kB)", "multiply-adds (millions)"]
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
        values = [100 * _correct(files[precision]) for precision in ("float32", "int8")]
        axes.plot(values, [row, row], color=RED if values[1] < values[0] else GREEN, linewidth=1.5, zorder=1)
        for value, precision in zip(values, ("float32", "int8"), strict=True):
            # Where both are equal, the larger float32 shows around int8.
            size = 70 if precision == "float32" else 25
            axes.scatter(value, row, size, _COLORS[precision], zorder=2, label=precision if row == 0 else None)
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    # Room for the dot at 100 %; nothing lies beyond.
    axes.set_xlim(max(0.0, min(axes.get_xlim()[0], 98.0)), min(axes.get_xlim()[1], 100.4))
    axes.set_yticks(range(len(pairs)), [f"{alpha} @ {resolution}" for alpha, resolution in pairs])
    style_axes(axes, "held-out photos correct (%)", "")
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    text = "; ".join(
        f"{alpha} @ {resolution}: {_correct(files['float32']):.1%} and {_correct(files['int8']):.1%}"
        for (alpha, resolution), files in pairs.items()
    )
    return [
        "<h2>Accuracy of float32 and int8</h2>",
        plot(figure_png(figure), f"Held-out photos correct with float32 and with int8. {text}."),
    ]


def _cost_plot(entries: Sequence[_Entry]) -> tuple[bytes, str]:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    costs = (("bytes", 1e3, "size (kB)"), ("multiply_adds", 1e6, "multiply-adds (millions)"))
    labels = {}
    for axes, (cost, unit, title) in zip(figure.subplots(1, 2, sharey=True), costs, strict=True):
        front = [(entry, entry[cost] / unit, 100 * _correct(entry)) for entry in cost_front(entries, cost)]
        line = [point for _, *point in front]
        axes.step(*zip(*line, strict=True), where="post", color=INK, linewidth=0.8, label="Pareto front")
        for precision, color in _COLORS.items():
            files = [entry for entry in entries if entry["precision"] == precision]
            if files:
                shares = [_correct(entry) for entry in files]
                y = [100 * share for share in shares]
                spread = error_bars(shares, [_interval(entry) for entry in files])
                x = [entry[cost] / unit for entry in files]
                axes.errorbar(x, y, spread, color=color, fmt="o", markersize=4, elinewidth=0.4, label=precision)
        labels[axes] = [(f"{entry['alpha']}@{entry['resolution']}", x, y) for entry, x, y in front]
        set_cost_axis(axes, title, "held-out photos correct (%)" if cost == "bytes" else "")
    figure.axes[1].legend(fontsize=7, frameon=False, loc="lower right")
    for axes, (cost, unit, _) in zip(figure.axes, costs, strict=True):
        label_points(axes, labels[axes], [(entry[cost] / unit, 100 * _correct(entry)) for entry in entries])
    text = "; ".join(
        f"{entry['alpha']}@{entry['resolution']} {entry['precision']}: {_correct(entry):.1%} at "
        f"{entry['bytes'] / 1e3:.0f} kB"
        for entry in cost_front(entries, "bytes")
    )
    return figure_png(figure), f"Photos correct against size and multiply-adds. On the Pareto front of size: {text}."


def _files(entries: Sequence[_Entry], taken: Container[str]) -> str:
    """All files; those whose names are in `taken` are in bold."""
    rows = []
    for entry in entries:
        figures = entry["figures"]
        low, high = _interval(entry)
        cells = {
            "cell": f"{entry['alpha']} @ {entry['resolution']}",
            "precision": entry["precision"],
            "size (kB)": f"{entry['bytes'] / 1e3:.0f}",
            "correct": f"{_correct(entry):.1%}",
            "95% interval": f"{100 * low:.1f}–{high:.1%}",
            "among classes": f"{figures['accuracy']:.1%}",
            "float model": f"{figures['float32_accuracy']:.1%}",
            "kept": f"{figures['kept']:.1%}",
            "agreement": f"{figures['agreement']:.1%}",
            "accepted": f"{figures['made_accepted']:.1%}" if "made_accepted" in figures else "–",
            "confidence": f"{100 * figures['confidence_change']:+z.1f}",
            "calibration error": f"{figures['calibration_error']:.3f}",
        }
        rows.append((cells, entry["file"] in taken))
    return table(list(rows[0][0]), [(list(cells.values()), bold) for cells, bold in rows])


def _correct(entry: _Entry) -> float:
    """The share of held-out photos correct as shown, 0 to 1: `unknown` counts as wrong."""
    figures = entry["figures"]
    return float(figures.get("accuracy_with_unknown", figures["accuracy"]))


def _interval(entry: _Entry) -> tuple[float, float]:
    return wilson_interval(_correct(entry), entry["figures"]["photos"])
