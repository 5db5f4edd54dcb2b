"""`report.html`: what was trained, how good it is and where it fails, on one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_classify.images.photo import read_photo
from edge_classify.metrics import class_confidences, confusion, wilson_interval
from edge_classify.system.atomic_write import write_atomic

from . import plots as figures
from .page import GREEN, RED, escape, image, page, table
from .photo_check import PhotoCheck
from .photos import HELD_OUT, Photo, PhotoSet

_SHEET = 18
# More cells than this are described in full only for the best: a page has to load.
_MOST_DETAILS = 6


def write_report(
    folder: Path, root: Path, photos: PhotoSet, entries: Sequence[Mapping[str, Any]], check: PhotoCheck
) -> None:
    """Write `report.html` into the run folder. entries: of the cells, with their curves."""
    # Not by the figures reported: the best of many would be better by luck.
    best = min(range(len(entries)), key=lambda index: entries[index]["decision"]["choosing_loss"])
    held_out = photos.of(HELD_OUT)
    body = [
        f"<h1>{escape(root.name)}</h1>",
        f"<p>{photos.counts()}.</p>",
        "<h2>The grid</h2>",
        _grid(entries, best, photos),
        "<h2>The photos</h2>",
        f"<pre>{escape(check.summary())}</pre>",
        _sheet_of_check(folder),
    ]
    for index, entry in enumerate(entries):
        if index == best or len(entries) <= _MOST_DETAILS:
            title = f"alpha {entry['alpha']} at {entry['resolution']}" + (
                " (the best, by the photos for choosing)" if index == best and len(entries) > 1 else ""
            )
            content = _cell(folder, root, photos, held_out, entry)
            is_open = " open" if index == best else ""
            body.append(f"<details{is_open}><summary>{title}</summary>{content}</details>")
    write_atomic(folder / "report.html", page(f"{root.name}: training report", body))


def _grid(entries: Sequence[Mapping[str, Any]], best: int, photos: PhotoSet) -> str:
    intervals = [wilson_interval(entry["evaluation"]["accuracy"], entry["evaluation"]["photos"]) for entry in entries]
    rows: list[dict[str, str]] = []
    for entry, (low, high) in zip(entries, intervals, strict=True):
        evaluation = entry["evaluation"]
        tuned = "frozen_accuracy" in evaluation
        rows.append(
            {
                "cell": f"{entry['alpha']} @ {entry['resolution']}",
                "accuracy": f"{evaluation['accuracy']:.1%}",
                **({"frozen": f"{evaluation['frozen_accuracy']:.1%}"} if tuned else {}),
                "95 % interval": f"{low:.1%} – {high:.1%}",
                "calibration error": f"{evaluation['calibration_error']:.3f}",
                "kept": f"{evaluation['kept']:.1%}",
                "parameters": f"{entry['parameters'] / 1e6:.2f} M",
                "multiply-adds": f"{entry['multiply_adds'] / 1e6:.1f} M",
                "seconds": f"{entry['seconds']:.1f}",
            }
        )
    note = (
        f"Measured on {entries[0]['evaluation']['photos']} photos ({escape(photos.held_out_name)}) on which nothing "
        "was chosen or fitted: neither where training stops, nor the temperature, nor the limit of <i>unknown</i>. "
        "<i>Kept</i> is the share of them that is not called unknown. In bold the cell that is best by its loss on the "
        "photos for choosing. Of two cells whose intervals overlap, it is "
        "not known which is better."
    )
    plot = image(figures.grid_plot(entries, intervals)) if len(entries) > 1 else ""
    grid = table(list(rows[0]), [(list(row.values()), index == best) for index, row in enumerate(rows)])
    return grid + f"<p class='note'>{note}</p>" + plot


def _sheet_of_check(folder: Path) -> str:
    sheet = folder / "photo_check.png"
    if not sheet.exists():
        return ""
    return f"<details><summary>Photos to look at</summary>{image(sheet.read_bytes())}</details>"


def _cell(folder: Path, root: Path, photos: PhotoSet, held_out: Sequence[Photo], entry: Mapping[str, Any]) -> str:
    classes = len(photos.labels)
    with np.load(folder / entry["head"]) as arrays:
        probabilities = arrays["held_out_probabilities"]
        strange = {
            name.removeprefix("strangers:"): arrays[name] for name in arrays.files if name.startswith("strangers:")
        }
    truth = np.array([photo.label for photo in held_out])
    confidences, right = class_confidences(probabilities, truth, classes)
    chosen = probabilities[:, :classes].argmax(axis=1)
    per_class = [
        ([label, str(figures_["photos"]), _share(figures_["precision"]), _share(figures_["recall"])], False)
        for label, figures_ in entry["evaluation"]["per_class"].items()
    ]
    parts = [
        "<h3>Classes</h3>",
        "<div class='row'>",
        "<div>" + table(["class", "held-out photos", "precision", "recall"], per_class[:60]) + "</div>",
        image(figures.confusion_matrix(confusion(chosen, truth, classes), photos.labels)),
        "</div>",
        "<h3>Does it mean what it says?</h3>",
        f"<p class='note'>Calibration error {entry['evaluation']['calibration_error']:.3f}; the temperature "
        f"{entry['decision']['temperature']:.2f} was fitted on {entry['decision']['chosen_on']} training photos that "
        "the head had not seen.</p>",
        image(figures.reliability_diagram(confidences, right)),
    ]
    if probabilities.shape[1] > classes:
        parts += ["<h3>Strangers</h3>", _strangers(entry, probabilities, strange)]
    parts += ["<h3>Learning</h3>", image(figures.learning_curves(entry["curves"]))]
    rng = np.random.default_rng(0)
    some = np.sort(rng.permutation(len(held_out))[:_SHEET]).tolist()
    worst = sorted(np.flatnonzero(~right).tolist(), key=lambda index: -confidences[index])[:_SHEET]
    for title, indices in (("Some predictions", some), ("The worst mistakes", worst)):
        if len(indices):
            tiles, colors = [], []
            for index in indices:
                photo = held_out[index]
                text = f"{photos.labels[chosen[index]]} {confidences[index]:.0%}"
                if not right[index]:
                    text += f", is {photos.labels[photo.label]}"
                if probabilities[index].argmax() == classes:
                    text = f"unknown ({text})"
                tiles.append((read_photo(root / photo.path), photo.path.name, text))
                colors.append(GREEN if right[index] else RED)
            parts += [f"<h3>{title}</h3>", image(figures.contact_sheet(tiles, colors))]
    return "".join(parts)


def _strangers(entry: Mapping[str, Any], probabilities: np.ndarray, strange: Mapping[str, np.ndarray]) -> str:
    rows = [
        (
            [
                name,
                str(figures_["pictures"]),
                f"{figures_['auroc']:.3f}",
                f"{figures_['accepted_at_95_kept']:.1%}",
                f"{figures_['accepted']:.1%}",
            ],
            False,
        )
        for name, figures_ in entry["evaluation"]["strangers"].items()
    ]
    parts = []
    if rows:
        columns = ["pictures of", "how many", "AUROC", "accepted where 95 % are kept", "accepted as it stands"]
        parts.append(table(columns, rows))
    else:
        parts.append(
            "<p class='note'>No pictures of strangers were given: put some into a folder <code>unknown/</code> beside "
            "the classes, or name folders with <code>--strangers</code>.</p>"
        )
    left_out = entry["evaluation"].get("left_out_classes")
    if left_out:
        parts.append(
            "<p class='note'>Near strangers: how well each class would be told from the others, had none of its photos "
            "been trained on (AUROC; 0.5 is chance).</p>"
        )
        parts.append(table(["class left out", "AUROC"], [([name, f"{v:.3f}"], False) for name, v in left_out.items()]))
    parts.append(image(figures.known_histogram(probabilities[:, -1], strange)))
    return "".join(parts)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
