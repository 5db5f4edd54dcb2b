"""What adding a class costs when the old photos are gone: each class of a set is left out, and added with few photos.

    python benchmarks/teaching.py [--sets flowers trashnet] [--cells 0.35@96 0.5@160 1.0@224] [--shots 20] [--draws 3]
    python benchmarks/teaching.py --files int8         # the same with finished files, by the device's code: hours

For each class of a set, what the other classes need is fitted as edge-train does, on the float model's features, and
remembered as in a file; then the class is added as `edge-teach --add` does, from some of its training photos, drawn by
chance. With --files, edge-train, edge-convert and edge-teach make files. All figures are of held-out photos:

own         accuracy of the other classes' photos among classes, before and after
as shown    the same with `unknown` counted as wrong
new         of the new class's photos: recognised among classes; recognised as shown; not called `unknown`
AUROC       of `unknown` against Alien vs Predator's validation photos and a third of a still camera's, before and after
memory      kilobytes for each class

Means over classes and draws. With --files, runs and files are kept in build/benchmarks/teaching, and made once.
"""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import DATA, PHOTOS, WORK, Row, command, machine, record, show

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.learn.adding import Known, add_photos
from edge_classify.learn.head import Head
from edge_classify.learn.memory import decode, encode
from edge_classify.learn.metrics import auroc
from edge_classify.learn.open_set import OpenSet
from edge_classify.learn.photos.photo_set import HELD_OUT, TRAINING, VALIDATION, Photo
from edge_classify.learn.votes import give_probabilities
from edge_classify.model.model_file import MEMORY_PART, read_part
from edge_train.cache import open_cache
from edge_train.cell import remember_photos
from edge_train.features import compute_run_features, gather_features
from edge_train.fitting import calibrate_fit, fit_frozen, fit_spaces, fit_unknown, read_blanks
from edge_train.photo_columns import as_columns
from edge_train.settings import Settings
from edge_train.training import find_backbones, read_negatives, sort_photos
from edge_train.training_run import CellJob, TrainingRun

FOLDER = WORK / "teaching"
STILL_CAMERA = DATA / "data" / "still_camera"


class Figures(NamedTuple):
    """Of one head or file, in shares of 1; nan for what a class that it does not have would give."""

    own: float
    as_shown: float
    new: float
    new_as_shown: float
    new_kept: float
    auroc: float


# Before, after, kilobytes of the memory.
Draw = tuple[Figures, Figures, float]


class Photos(NamedTuple):
    """The photos of a set: paths by class."""

    training: dict[str, list[Path]]
    held_out: dict[str, list[Path]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["flowers", "trashnet"])
    parser.add_argument("--cells", nargs="+", default=["0.35@96", "0.5@160", "1.0@224"])
    parser.add_argument("--files", nargs="+", default=[], metavar="P", help="precisions of files to make")
    parser.add_argument("--classes", nargs="+", help="only these are left out")
    parser.add_argument("--shots", type=int, default=20, help="photos of the new class")
    parser.add_argument("--draws", type=int, default=3, help="how often they are drawn")
    options = parser.parse_args()
    print(machine())
    rows: list[Row] = []
    for name in options.sets:
        photos = split(name)
        classes = [label for label in photos.training if label in (options.classes or photos.training)]
        for cell in options.cells:
            if not options.files:
                with open_cache() as database:
                    features = compute(database, name, cell)
                    draws = [
                        draw
                        for label in classes
                        for draw in leave_out(database, features, label, options.shots, options.draws)
                    ]
                rows.append(show({"photos": name, "cell": cell, "file": "features", **mean_of(draws)}))
            for precision in options.files:
                draws = []
                for label in classes:
                    base = make_base(name, photos, label, cell, precision)
                    draws += add_to_file(base, photos, label, options.shots, options.draws)
                rows.append(show({"photos": name, "cell": cell, "file": precision, **mean_of(draws)}))
    record(__file__, rows)


def compute(database: sqlite3.Connection, name: str, cell: str) -> TrainingRun:
    """A run of all classes, whose features are in the cache; the strangers are its negatives."""
    alpha, _, resolution = cell.partition("@")
    settings = Settings(weights=str(DATA / "weights"))
    root = DATA / "data" / name
    photos, _ = sort_photos(database, root, settings)
    strangers = read_negatives(database, {"strangers": strangers_of()}, None)
    backbones = find_backbones([(float(alpha), int(resolution))], settings)
    run = TrainingRun(root, FOLDER, settings, backbones, photos, strangers)
    compute_run_features(database, run, run.backbones)
    return run


def leave_out(database: sqlite3.Connection, run: TrainingRun, label: str, shots: int, draws: int) -> Iterator[Draw]:
    """Figures of each draw, on the level of features."""
    index = run.photos.labels.index(label)
    photos = as_columns(run.photos)
    kept = photos.photos.take(photos.photos.labels != index)
    columns = kept.columns
    columns = replace(columns, labels=columns.labels - (columns.labels > index))  # one less of those after it
    others = replace(kept, columns=columns)
    labels = tuple(other for other in photos.labels if other != label)
    job = CellJob(replace(run, photos=replace(photos, photos=others, labels=labels)), run.backbones[0])
    fit = fit_frozen(job, database)
    spaces = fit_spaces(job, database, fit)
    calibration = calibrate_fit(fit, spaces)
    weight = calibration.vote_weight
    open_set = fit_unknown(job, fit, spaces, calibration)
    memory = remember_photos(job, database, fit, fit.features)
    data = encode(memory)
    memory = decode(data, memory.counts, memory.features, memory.middle)
    known = Known(calibration.head, memory, weight, job.run.keep, balanced=True, blanks=read_blanks(database, fit))

    def rows_of(photos: Sequence[Photo]) -> np.ndarray:
        return gather_features(database, job.backbone, photos).read(range(len(photos)))

    held_out = job.run.photos.of(HELD_OUT)
    truth = np.array([photo.label for photo in held_out])
    own, strange = rows_of(held_out), rows_of(run.negatives["strangers"])
    new = rows_of([photo for photo in run.photos.of(HELD_OUT) if photo.label == index])
    pool = rows_of([photo for photo in run.photos.of(TRAINING, VALIDATION) if photo.label == index])

    def measured(head: Head, unknown: OpenSet) -> Figures:
        ours, added, others = (give_probabilities(head, weight, unknown, rows) for rows in (own, new, strange))
        return figures(ours, added, others, truth, len(labels) if len(head.bias) > len(labels) else None)

    before = measured(calibration.head, open_set)
    for draw in range(draws):
        chosen = pool[np.random.default_rng(draw).permutation(len(pool))[:shots]]
        added = add_photos(known, chosen, np.full(len(chosen), len(labels)))
        yield before, measured(added.head, added.open_set), len(data) / 1e3 / len(labels)


def split(name: str) -> Photos:
    """A set's own split, or a fifth of the photos by content."""
    root = DATA / "data" / name
    if (root / "validation").is_dir():
        parts = (root / "train", root / "validation")
        return Photos(*({folder.name: list_pictures(folder) for folder in sorted(part.iterdir())} for part in parts))
    training, held_out = {}, {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        pictures = sorted(list_pictures(folder), key=lambda path: hashlib.sha256(path.read_bytes()).digest())
        training[folder.name], held_out[folder.name] = pictures[len(pictures) // 5 :], pictures[: len(pictures) // 5]
    return Photos(training, held_out)


def add_to_file(base: Path, photos: Photos, label: str, shots: int, draws: int) -> Iterator[Draw]:
    """Figures of each draw, of finished files."""
    before = measure(base, photos, label)
    memory = len(read_part(base, MEMORY_PART) or b"") / 1e3 / (len(photos.training) - 1)
    for draw in range(draws):
        chosen = np.random.default_rng(draw).permutation(len(photos.training[label]))[:shots]
        with tempfile.TemporaryDirectory() as work:
            link(Path(work) / "new", [photos.training[label][index] for index in chosen])
            changed = Path(work) / "changed.tflite"
            command("edge-teach", base, "--add", f"{label}={Path(work) / 'new'}", "-o", changed)
            yield before, measure(changed, photos, label), memory


def make_base(name: str, photos: Photos, label: str, cell: str, precision: str) -> Path:
    """The model file of all classes but `label`."""
    alpha, _, resolution = cell.partition("@")
    run = FOLDER / f"{name} without {label} {cell}"
    model = run / "models" / f"mobilenet_v2_{alpha}_{resolution}_{precision}.tflite"
    if model.exists():
        return model
    with tempfile.TemporaryDirectory() as work:
        for part, pictures in (("train", photos.training), ("validation", photos.held_out)):
            for other in pictures.keys() - {label}:
                link(Path(work) / "photos" / part / other, pictures[other])
        weights = ("--weights", DATA / "weights", "--alpha", alpha, "--resolution", resolution)
        if not (run / "run.json").exists():
            command("edge-train", Path(work) / "photos", "-o", run, *weights)
    allowed = ("--max-drop", 100, "--max-accepted", 100)
    command("edge-convert", run, "-o", model.parent, "--precision", precision, *allowed)
    return model


def link(folder: Path, pictures: Sequence[Path]) -> None:
    folder.mkdir(parents=True)
    for path in pictures:
        (folder / path.name).symlink_to(path)


def strangers_of() -> list[Path]:
    return [*list_pictures(PHOTOS / "validation"), *list_pictures(STILL_CAMERA)[::3]]


def measure(model: Path, photos: Photos, label: str) -> Figures:
    """Of a file with or without class `label`."""
    classifier = Classifier(model)
    outputs = {name: answers(classifier, paths) for name, paths in photos.held_out.items()}
    own = [name for name in outputs if name != label]
    truth = np.repeat([classifier.labels.index(name) for name in own], [len(outputs[name]) for name in own])
    index = classifier.labels.index(label) if label in classifier.labels else None
    return figures(
        np.concatenate([outputs[name] for name in own]),
        outputs[label],
        answers(classifier, strangers_of()),
        truth,
        index,
    )


def figures(own: np.ndarray, new: np.ndarray, strange: np.ndarray, truth: np.ndarray, index: int | None) -> Figures:
    """Of probabilities, `unknown` last. truth: classes of `own`. index: of the new class; None: it is not there."""
    known = own if index is None else np.concatenate([own, new])
    return Figures(
        own=float((own[:, :-1].argmax(axis=1) == truth).mean()),
        as_shown=float((own.argmax(axis=1) == truth).mean()),
        new=float("nan") if index is None else float((new[:, :-1].argmax(axis=1) == index).mean()),
        new_as_shown=float("nan") if index is None else float((new.argmax(axis=1) == index).mean()),
        new_kept=float((new.argmax(axis=1) < new.shape[1] - 1).mean()),
        auroc=auroc(1 - known[:, -1], 1 - strange[:, -1]),
    )


def answers(classifier: Classifier, paths: Sequence[Path]) -> np.ndarray:
    """Probabilities, (n, labels), `unknown` last."""
    return np.stack([classifier.probabilities(read_photo(path)) for path in paths])


def mean_of(draws: Sequence[Draw]) -> Row:
    before, after = (Figures(*np.mean([draw[place] for draw in draws], axis=0).tolist()) for place in (0, 1))
    return {
        "others, before (%)": round(100 * before.own, 1),
        "others, after (%)": round(100 * after.own, 1),
        "others, as shown, before (%)": round(100 * before.as_shown, 1),
        "others, as shown, after (%)": round(100 * after.as_shown, 1),
        "new class (%)": round(100 * after.new, 1),
        "least (%)": round(100 * min(draw[1].new for draw in draws), 1),
        "new, as shown (%)": round(100 * after.new_as_shown, 1),
        "new, kept before (%)": round(100 * before.new_kept, 1),
        "new, kept after (%)": round(100 * after.new_kept, 1),
        "AUROC, before": round(before.auroc, 4),
        "AUROC, after": round(after.auroc, 4),
        "memory (kB a class)": round(float(np.mean([draw[2] for draw in draws])), 1),
    }


if __name__ == "__main__":
    main()
