"""What adding a class costs when the old photos are gone: each class of a set is left out, and added with few photos.

    python benchmarks/teaching.py [--sets flowers trashnet] [--cells 0.35@96 0.5@160 1.0@224] [--shots 20] [--draws 3]

For each class of a set, edge-train and edge-convert make files of the other classes, and `edge-teach --add` adds it
from some of its training photos, drawn by chance. All figures are of files, on held-out photos, by the device's code:

own         accuracy of the other classes' photos among classes, before and after
as shown    the same with `unknown` counted as wrong
new         of the new class's photos: recognised among classes; not called `unknown`
AUROC       of `unknown` against Alien vs Predator's validation photos and a third of a still camera's, before and after
memory      kilobytes that a file carries for it, and its share of the file

Means over classes and draws. Runs and files are kept in build/benchmarks/teaching, and made once.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import DATA, PHOTOS, WORK, command, machine

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.learn.metrics import auroc
from edge_classify.model.model_file import MEMORY_PART, read_part

FOLDER = WORK / "teaching"
STILL_CAMERA = DATA / "data" / "still_camera"


class Figures(NamedTuple):
    """Of one file, in shares of 1."""

    own: float
    as_shown: float
    new: float
    new_kept: float
    auroc: float


class Photos(NamedTuple):
    """The photos of a set: paths by class."""

    training: dict[str, list[Path]]
    held_out: dict[str, list[Path]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["flowers", "trashnet"])
    parser.add_argument("--cells", nargs="+", default=["0.35@96", "0.5@160", "1.0@224"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"])
    parser.add_argument("--classes", nargs="+", help="only these are left out")
    parser.add_argument("--shots", type=int, default=20, help="photos of the new class")
    parser.add_argument("--draws", type=int, default=3, help="how often they are drawn")
    options = parser.parse_args()
    print(machine())
    for name in options.sets:
        photos = split(name)
        for cell in options.cells:
            for precision in options.precisions:
                classes = [label for label in photos.training if label in (options.classes or photos.training)]
                rows = [
                    row
                    for label in classes
                    for row in leave_out(name, photos, label, cell, precision, options.shots, options.draws)
                ]
                print_row(f"{name} {cell} {precision}", rows)


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


def leave_out(
    name: str, photos: Photos, label: str, cell: str, precision: str, shots: int, draws: int
) -> Iterator[tuple[Figures, Figures, int, int]]:
    """Figures before and after, bytes of the memory and of the file, of each draw."""
    base = make_base(name, photos, label, cell, precision)
    before = measure(base, photos, label)
    memory = len(read_part(base, MEMORY_PART) or b"")
    for draw in range(draws):
        chosen = np.random.default_rng(draw).permutation(len(photos.training[label]))[:shots]
        with tempfile.TemporaryDirectory() as work:
            link(Path(work) / "new", [photos.training[label][index] for index in chosen])
            changed = Path(work) / "changed.tflite"
            command("edge-teach", base, "--add", f"{label}={Path(work) / 'new'}", "-o", changed)
            yield before, measure(changed, photos, label), memory, base.stat().st_size


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


def measure(model: Path, photos: Photos, label: str) -> Figures:
    """Of a file with or without class `label`."""
    classifier = Classifier(model)
    strangers = [*list_pictures(PHOTOS / "validation"), *list_pictures(STILL_CAMERA)[::3]]
    outputs = {name: answers(classifier, paths) for name, paths in photos.held_out.items()}
    strange = answers(classifier, strangers)
    own = [name for name in outputs if name != label]
    truth = np.repeat([classifier.labels.index(name) for name in own], [len(outputs[name]) for name in own])
    scores, new = np.concatenate([outputs[name] for name in own]), outputs[label]
    has_it = label in classifier.labels
    known = np.concatenate([scores, new]) if has_it else scores
    return Figures(
        own=float((scores[:, :-1].argmax(axis=1) == truth).mean()),
        as_shown=float((scores.argmax(axis=1) == truth).mean()),
        new=float((new[:, :-1].argmax(axis=1) == classifier.labels.index(label)).mean()) if has_it else float("nan"),
        new_kept=float((new.argmax(axis=1) < new.shape[1] - 1).mean()),
        auroc=auroc(1 - known[:, -1], 1 - strange[:, -1]),
    )


def answers(classifier: Classifier, paths: Sequence[Path]) -> np.ndarray:
    """Probabilities, (n, labels), `unknown` last."""
    return np.stack([classifier.probabilities(read_photo(path)) for path in paths])


def print_row(title: str, rows: Sequence[tuple[Figures, Figures, int, int]]) -> None:
    before, after = (np.mean([row[place] for row in rows], axis=0) for place in (0, 1))
    memory, size = np.mean([row[2:] for row in rows], axis=0)
    own, shown, new, kept, area = zip(before, after, strict=True)
    worst = min(after.new for _, after, _, _ in rows)
    print(
        f"{title:24} own {100 * own[0]:.1f} → {100 * own[1]:.1f}, "
        f"as shown {100 * shown[0]:.1f} → {100 * shown[1]:.1f}; "
        f"new {100 * new[1]:.1f} (least {100 * worst:.1f}), kept {100 * kept[0]:.1f} → {100 * kept[1]:.1f}; "
        f"AUROC {area[0]:.4f} → {area[1]:.4f}; memory {memory / 1e3:.0f} kB, {memory / size:.0%} of the file",
        flush=True,
    )


if __name__ == "__main__":
    main()
