"""A head of edge-teach against a run of edge-train and edge-convert on the same photos.

    python benchmarks/teaching_anew.py [--sets flowers alien_vs_predator] [--cells 0.5@160] [--precision int8]
                                       [--shots 20 50] [--draws 3]

The base is a file of Alien vs Predator. Both files are measured on the set's held-out photos by the device's code:

classes     accuracy among the classes
as shown    the same with `unknown` counted as wrong
ECE         expected calibration error
AUROC       of `unknown` against 150 photos of TrashNet

Seconds are those of the commands, one after the other on this machine; edge-train's cache is as it is found.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import DATA, Row, command, machine, model_file, record, show

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.learn.metrics import auroc, evaluate

STRANGERS = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["flowers", "alien_vs_predator"])
    parser.add_argument("--cells", nargs="+", default=["0.5@160"])
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--shots", nargs="+", type=int, default=[20, 50])
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    rows: list[Row] = []
    for name in options.sets:
        for cell in options.cells:
            for shots in options.shots:
                draws = [compare(name, cell, options.precision, shots, draw) for draw in range(options.draws)]
                about: Row = {"photos": name, "cell": cell, "precision": options.precision, "of a class": shots}
                rows += [show({**about, **row}) for row in mean_of(draws)]
    record(__file__, rows)


def compare(name: str, cell: str, precision: str, shots: int, draw: int) -> list[list[float]]:
    """Figures of edge-train's file, and of edge-teach's."""
    root = DATA / "data" / name
    alpha, _, resolution = cell.partition("@")
    base = model_file(float(alpha), int(resolution), precision)
    with tempfile.TemporaryDirectory() as work:
        photos, run, models = (Path(work) / part for part in ("photos", "run", "models"))
        for folder in sorted((root / "train").iterdir()):
            pictures = list_pictures(folder)
            chosen = np.random.default_rng(draw).permutation(len(pictures))[:shots]
            link(photos / "train" / folder.name, [pictures[index] for index in chosen])
        (photos / "validation").symlink_to(root / "validation")
        cells = ("--weights", DATA / "weights", "--alpha", alpha, "--resolution", resolution)
        allowed = ("--precision", precision, "--max-drop", 100, "--max-accepted", 100)
        trained = command("edge-train", photos, "-o", run, *cells) + command(
            "edge-convert", run, "-o", models, *allowed
        )
        taught = command("edge-teach", base, photos / "train", "-o", Path(work) / "taught.tflite")
        (converted,) = models.glob("*.tflite")
        held_out = root / "validation"
        return [
            [*measure(converted, held_out), trained],
            [*measure(Path(work) / "taught.tflite", held_out), taught],
        ]


def link(folder: Path, pictures: Sequence[Path]) -> None:
    folder.mkdir(parents=True)
    for path in pictures:
        (folder / path.name).symlink_to(path)


def measure(model: Path, held_out: Path) -> list[float]:
    """Accuracy among classes and as shown, calibration error, AUROC."""
    classifier = Classifier(model)
    classes = classifier.labels[:-1]
    paths = [list_pictures(held_out / label) for label in classes]
    truth = np.repeat(np.arange(len(classes)), [len(part) for part in paths])
    own = answers(classifier, [path for part in paths for path in part])
    others = list_pictures(DATA / "data" / "trashnet")
    strange = answers(classifier, [others[index] for index in np.linspace(0, len(others) - 1, STRANGERS).astype(int)])
    figures = evaluate(own, truth, classes)
    names = ("accuracy", "accuracy_with_unknown", "calibration_error")
    return [*(figures[name] for name in names), auroc(1 - own[:, -1], 1 - strange[:, -1])]


def answers(classifier: Classifier, paths: Sequence[Path]) -> np.ndarray:
    """Probabilities, (n, labels), `unknown` last."""
    return np.stack([classifier.probabilities(read_photo(path)) for path in paths])


def mean_of(draws: Sequence[list[list[float]]]) -> list[Row]:
    """A row for edge-train and one for edge-teach."""
    rows: list[Row] = []
    for who, figures in zip(("edge-train", "edge-teach"), np.mean(draws, axis=0).tolist(), strict=True):
        accuracy, shown, error, area, seconds = figures
        row: Row = {
            "head of": who,
            "among classes (%)": round(100 * accuracy, 1),
            "as shown (%)": round(100 * shown, 1),
        }
        rows.append({**row, "ECE": round(error, 3), "AUROC": round(area, 4), "seconds": round(seconds, 1)})
    return rows


if __name__ == "__main__":
    main()
