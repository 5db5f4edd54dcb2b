"""`report.html`: what was trained, how good it is and where it fails, on one page that needs nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_classify.learn.learning_curve import SHARES
from edge_classify.learn.metrics import class_confidences, confusion, wilson_interval
from edge_classify.learn.photos.made_negatives import MAX_MADE_ACCEPTED
from edge_classify.learn.photos.photo_set import HELD_OUT, Photo, PhotoSet, read_picture
from edge_classify.model.labels import UNKNOWN
from edge_classify.system.atomic_write import write_atomic

from . import plots
from .choosing import best_cell, validation
from .enough import learning_curve
from .measuring import NEGATIVES_PREFIX
from .page import confusion_table, contact_sheet, crop_picture, escape, isolate, legend, long, page, plot, table
from .photo_check import PhotoCheck, photos_to_look_at
from .run_folder import HELD_OUT_PROBABILITIES
from .training_run import TrainingRun

# Photos on each contact sheet.
_SHEET_PHOTOS = 18
# If there are more cells, only the best is described in full: a page has to load.
_MAX_DETAILS = 6
# Classes in a confusion matrix.
_MAX_CONFUSED = 24
# Classes whose learning curve is drawn: those that gained most.
_MAX_CURVES = 4
_ALL = "all classes"


def write_report(run: TrainingRun, entries: Sequence[Mapping[str, Any]], check: PhotoCheck) -> None:
    """Write `report.html` into the run folder. entries: of the cells, with their curves."""
    best = best_cell(entries)
    body = [
        f"<h1>{escape(run.root.name)}</h1>",
        f"<p>{run.photos.counts()}.</p>",
        *_crop(run),
        "<h2>Accuracy</h2>",
        _grid(entries, best, run.photos),
        *_enough(entries[best]),
        "<h2>Photos</h2>",
        f"<pre>{escape(check.summary())}</pre>",
        _check_sheet(run, check),
    ]
    for index, entry in enumerate(entries):
        if index == best or len(entries) <= _MAX_DETAILS:
            title = f"alpha {entry['alpha']} at {entry['resolution']} pixels"
            if index == best and len(entries) > 1:
                title += " (the cell to take)"
            is_open = " open" if index == best else ""
            body.append(f"<details{is_open}><summary>{title}</summary>{_cell(run, entry)}</details>")
    write_atomic(run.folder / "report.html", page(f"{run.root.name}: training report", body))


def _crop(run: TrainingRun) -> list[str]:
    if run.photos.crop is None:
        return []
    photo = run.photos.of(HELD_OUT)[0]
    return [
        f"<p class='note'>Only the part <code>--crop {run.photos.crop}</code> of each photo is used, the bright one "
        f"here ({escape(photo.path.name)}): all figures are of it. The model files record it, and edge-classify cuts "
        "it out of each frame.</p>",
        crop_picture(read_picture(photo.where(run.root)), run.photos.crop),
    ]


def _grid(entries: Sequence[Mapping[str, Any]], best: int, photos: PhotoSet) -> str:
    intervals = []
    for entry in entries:
        evaluation = entry["evaluation"]
        intervals.append(wilson_interval(evaluation["accuracy_with_unknown"], evaluation["photos"]))
    rows: list[dict[str, str]] = []
    for entry, (low, high) in zip(entries, intervals, strict=True):
        evaluation = entry["evaluation"]
        row = {
            "cell": f"{entry['alpha']} @ {entry['resolution']}",
            "correct": f"{evaluation['accuracy_with_unknown']:.1%}",
            "95% interval": f"{100 * low:.1f}–{high:.1%}",
            "among classes": f"{evaluation['accuracy']:.1%}",
            "in validation": f"{validation(entry).accuracy:.1%}",
        }
        if "frozen_accuracy" in evaluation:
            row["before fine-tuning"] = f"{evaluation['frozen_accuracy']:.1%}"
        row |= {
            "calibration error": f"{evaluation['calibration_error']:.3f}",
            "kept": f"{evaluation['kept']:.1%}",
            "accepted": _percent(evaluation.get("made_negatives", {}).get("accepted")),
            "parameters": f"{entry['parameters'] / 1e6:.2f} M",
            "multiply-adds": f"{entry['multiply_adds'] / 1e6:.1f} M",
            "seconds": f"{entry['seconds']:.1f}",
        }
        rows.append(row)
    note = (
        f"Measured on {entries[0]['evaluation']['photos']} held-out photos ({escape(photos.held_out_name)}), which "
        "played no part in training: not in when to stop, nor in the temperature, nor in the limit of <i>unknown</i>. "
        "A cell is a width multiplier @ a resolution. <i>Correct</i> is what a camera would show: a photo called "
        "<i>unknown</i> counts as wrong. <i>Among classes</i> leaves unknown aside, <i>kept</i> is the share of these "
        "photos that is not called unknown, <i>accepted</i> the share of the negatives made by this program that gets "
        f"a class's label (edge-convert refuses more than {MAX_MADE_ACCEPTED:.0%}). In 95 of 100 such measurements, "
        "the interval holds the share that would be correct of very many photos of the same kind. "
    )
    if len(entries) > 1:
        note += (
            "<i>In validation</i> is the accuracy among the classes on the photos by which everything is chosen: by "
            "cross-validation, or on your own validation photos. The cell in bold is the one to take: of those that "
            "are not measurably less accurate there than the best, photo by photo, the one with the fewest "
            "multiply-adds. So its held-out figures are not those it was chosen for."
        )
    picture = plot(*plots.grid_plot(entries, intervals)) if len(entries) > 1 else ""
    grid = table(
        list(rows[0]), [(list(row.values()), index == best and len(entries) > 1) for index, row in enumerate(rows)]
    )
    return grid + f"<p class='note'>{note}</p>" + picture


def _enough(entry: Mapping[str, Any]) -> list[str]:
    """Whether more photos would help, of the cell to take."""
    curve = learning_curve(entry)
    title = "Are there enough photos?"
    if curve is None:
        return [
            f"<h2>{title}</h2>",
            "<p>An older edge-train trained this cell, and drew no learning curve.</p>",
        ]
    sentence = curve.sentence()
    drawn = curve.fastest()[:_MAX_CURVES]
    rows = [
        (
            [
                label,
                str(growth.photos[-1]),
                *(f"{share:.0%}" for share in growth.recognised),
                f"{100 * growth.intervals[-1][0]:.0f}–{growth.intervals[-1][1]:.0%}",
            ],
            label == _ALL,
        )
        for label, growth in [(_ALL, curve.whole), *curve.classes.items()]
    ]
    frozen = " of the frozen backbone" if entry["evaluation"].get("fine_tuned") else ""
    return [
        f"<h2>{title}</h2>",
        f"<p>{escape(sentence[0].upper() + sentence[1:])}.</p>",
        "<div class='row'><div>",
        legend([_ALL, *drawn], [plots.INK, *plots.GROUP_COLORS]),
        plot(*plots.learning_curve(curve.whole, [curve.classes[label] for label in drawn])),
        "</div>",
        long(table(["class", "photos", *(f"{share:.0%}" for share in SHARES), "95% interval"], rows), title),
        "</div>",
        f"<p class='note'>Heads{frozen} were fitted on a quarter, half, three quarters and all of the photos but a "
        "fifth, or your validation photos, on which they were tried: photos are recognised if their class is the best "
        "(<i>unknown</i> is left aside). Photos that show almost the same, or were taken in one burst, are fitted on "
        "together or not at all. More photos of a class would help if all of them are better than half and a quarter "
        "of them by more than chance, and better than three quarters. Upright lines are 95% intervals.</p>",
    ]


def _check_sheet(run: TrainingRun, check: PhotoCheck) -> str:
    sheet = photos_to_look_at(run, check)
    return f"<details><summary>Photos to look at</summary>{sheet}</details>" if sheet else ""


@dataclass(frozen=True)
class _Predictions:
    """A cell's outputs for the held-out photos.

    probabilities: (n, K) or (n, K + 1) with `unknown`. negatives: P(unknown) of each picture, by name.
    truth, chosen: the true class and the label shown, indices (n,); label K is `unknown`.
    confidences: of the best class among the classes, (n,).
    right: whether the best class is the true one, bool (n,).
    """

    labels: Sequence[str]
    photos: Sequence[Photo]
    probabilities: np.ndarray
    negatives: Mapping[str, np.ndarray]
    truth: np.ndarray
    chosen: np.ndarray
    confidences: np.ndarray
    right: np.ndarray


def _read_predictions(run: TrainingRun, entry: Mapping[str, Any]) -> _Predictions:
    labels, photos = run.photos.labels, run.photos.of(HELD_OUT)
    with np.load(run.folder / entry["head"]) as arrays:
        probabilities = arrays[HELD_OUT_PROBABILITIES]
        negatives = {
            name.removeprefix(NEGATIVES_PREFIX): arrays[name]
            for name in arrays.files
            if name.startswith(NEGATIVES_PREFIX)
        }
    truth = np.array([photo.label for photo in photos])
    confidences, right = class_confidences(probabilities, truth, len(labels))
    chosen = probabilities.argmax(axis=1)
    return _Predictions(labels, photos, probabilities, negatives, truth, chosen, confidences, right)


def _cell(run: TrainingRun, entry: Mapping[str, Any]) -> str:
    predictions = _read_predictions(run, entry)
    return "".join(
        [
            *_classes(entry, predictions),
            *_calibration(entry, predictions),
            *_unknown(entry, predictions),
            "<h3>Course of the training</h3>",
            plot(*plots.training_curves(entry["curves"])),
            *_sheets(run, predictions),
        ]
    )


def _classes(entry: Mapping[str, Any], predictions: _Predictions) -> list[str]:
    rows = [
        ([label, str(scores["photos"]), _percent(scores["precision"]), _percent(scores["recall"])], False)
        for label, scores in entry["evaluation"]["per_class"].items()
    ]
    shown = [*predictions.labels, UNKNOWN][: predictions.probabilities.shape[1]]
    counts = confusion(predictions.chosen, predictions.truth, len(shown))
    return [
        "<h3>Classes</h3>",
        "<div class='row'>",
        long(table(["class", "held-out photos", "precision", "recall"], rows), "classes"),
        confusion_table(counts, shown, _MAX_CONFUSED),
        "</div>",
    ]


def _calibration(entry: Mapping[str, Any], predictions: _Predictions) -> list[str]:
    decision = entry["decision"]
    return [
        "<h3>Calibration</h3>",
        "<p class='note'>How often the model is right when it is this confident: on the dotted line, its "
        "probabilities mean what they say. Upright lines are 95% intervals; hollow points stand for fewer than "
        f"{plots.FEW_PHOTOS} photos. Calibration error {entry['evaluation']['calibration_error']:.3f}. The "
        f"temperature, {decision['temperature']:.2f}, was fitted on {decision['chosen_on']} photos that the head had "
        "not been trained on.</p>",
        plot(*plots.reliability_diagram(predictions.confidences, predictions.right)),
    ]


def _unknown(entry: Mapping[str, Any], predictions: _Predictions) -> list[str]:
    if predictions.probabilities.shape[1] == len(predictions.labels):
        return []
    evaluation = entry["evaluation"]
    parts = ["<h3>Unknown</h3>"]
    made = evaluation["made_negatives"]
    rows = [
        (
            [
                name,
                str(scores["pictures"]),
                f"{scores['auroc']:.3f}",
                f"{scores['accepted_at_95_kept']:.1%}",
                f"{scores['accepted']:.1%}",
            ],
            False,
        )
        for name, scores in [*evaluation["strangers"].items(), ("made by this program", made)]
    ]
    columns = ["negatives", "pictures", "AUROC", "accepted if 95% are kept", "accepted as shipped"]
    kinds = ", ".join(f"{kind} {_percent(share)}" for kind, share in made["kinds"].items())
    parts += [
        table(columns, rows),
        "<p class='note'>Negatives are pictures of none of the classes; <i>accepted</i> is the share of them that "
        "gets a class's label. AUROC: 1 is perfect, 0.5 is chance. This program made drawings, and scrambled or "
        f"shuffled held-out photos, that nothing was fitted on; accepted of each kind: {kinds}. Scrambled and shuffled "
        "photos keep the colours of your own, and are counted here only: cells that reject other things accept "
        "some.</p>",
    ]
    if not evaluation["strangers"]:
        parts.append(
            "<p class='note'>No negatives of your own to measure on: put some into a folder <code>unknown/</code> "
            "beside the classes, or name a folder with <code>--negatives</code>.</p>"
        )
    left_out = evaluation.get("left_out_classes")
    if left_out:
        parts += [
            "<p class='note'>Similar negatives: how well each class would be rejected if it had not been trained on "
            "(AUROC).</p>",
            table(["class left out", "AUROC"], [([label, f"{auroc:.3f}"], False) for label, auroc in left_out.items()]),
        ]
    groups = {"held-out photos": predictions.probabilities[:, -1], **predictions.negatives}
    return [*parts, legend(groups, itertools.cycle(plots.GROUP_COLORS)), plot(*plots.unknown_histogram(groups))]


def _sheets(run: TrainingRun, predictions: _Predictions) -> list[str]:
    """Random held-out photos, and the mistakes with the highest confidence."""
    rng = np.random.default_rng(0)
    some = np.sort(rng.permutation(len(predictions.photos))[:_SHEET_PHOTOS]).tolist()
    correct = predictions.chosen == predictions.truth
    mistakes = np.flatnonzero(~correct).tolist()
    worst = sorted(mistakes, key=lambda index: -predictions.confidences[index])[:_SHEET_PHOTOS]
    parts = []
    for title, indices in (("Random predictions", some), ("Most confident mistakes", worst)):
        if indices:
            tiles = (
                (
                    predictions.photos[index].read(run.root),
                    predictions.photos[index].path.name,
                    f"<span class={'right' if correct[index] else 'wrong'}>{_caption(predictions, index)}</span>",
                )
                for index in indices
            )
            parts += [f"<h3>{title}</h3>", contact_sheet(tiles)]
    return parts


def _caption(predictions: _Predictions, index: int) -> str:
    """What was predicted and what is true, as HTML."""
    labels = [isolate(label) for label in predictions.labels]
    best = int(predictions.probabilities[index, : len(labels)].argmax())
    text = f"{labels[best]} {predictions.confidences[index]:.0%}"
    if not predictions.right[index]:
        text += f", is {labels[predictions.truth[index]]}"
    return f"unknown ({text})" if predictions.chosen[index] == len(labels) else text


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
