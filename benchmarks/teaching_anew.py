"""A file of edge-teach against one of edge-train and edge-convert, from the same photos.

    python benchmarks/teaching_anew.py [--sets flowers alien_vs_predator trashnet] [--cells 0.5@160] [--precision int8]
                                       [--shots 20 all] [--draws 3] [--results FILE]

The base is a file of Alien vs Predator. Both files are measured on the set's held-out photos (of TrashNet, every
fourth) by the device's code:

classes     accuracy among the classes
as shown    the same with `unknown` counted as wrong
ECE         expected calibration error of the probabilities among the classes
AUROC       of `unknown` against 150 photos of another set

inference   time of edge-teach's file relative to the other's, measured in turn

A draw is a random choice of the shots; of all photos, another seed of edge-train. What is in FILE is not measured
again, so a long comparison may be stopped. Seconds are those of the commands, one after the other on this machine;
edge-train's cache is as it is found.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, Row, command, in_turns, machine, model_file, ratio, record

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.learn.metrics import auroc, evaluate

ALL = "all"
# What each set's files should call unknown.
STRANGERS = {"flowers": "trashnet", "alien_vs_predator": "trashnet", "trashnet": "flowers/validation"}
STRANGERS_COUNT = 150
HELD_OUT_EVERY = 4
# Of each file in turn, before the other's; and how often.
INFERENCES, ROUNDS = 10, 20
WAYS = ("edge-train", "edge-teach")

Pictures = dict[str, list[Path]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(STRANGERS))
    parser.add_argument("--cells", nargs="+", default=["0.5@160"])
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--shots", nargs="+", default=["20", ALL], metavar="N", help=f"photos a class, or {ALL}")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--results", type=Path, metavar="FILE", help="a line of JSON for each draw, also read")
    options = parser.parse_args()
    print(machine())
    recorded: list[Row] = []
    known = {} if options.results is None or not options.results.exists() else read(options.results)
    for cell in options.cells:
        for shots in options.shots:
            for name in options.sets:
                rows = []
                for draw in range(options.draws):
                    key = f"{name} {cell} {options.precision} {shots} {draw}"
                    if key not in known:
                        known[key] = compare(name, cell, options.precision, shots, draw)
                        if options.results is not None:
                            with options.results.open("a") as file:
                                file.write(json.dumps({"key": key, **known[key]}) + "\n")
                    rows.append(known[key])
                print_rows(f"{name} {cell} {options.precision}, {shots} a class, {len(rows)} draws", rows)
                about: Row = {"photos": name, "cell": cell, "precision": options.precision, "of a class": shots}
                about["draws"] = len(rows)
                recorded += [{**about, **row} for row in mean_of(rows)]
    record(__file__, recorded)


def read(path: Path) -> dict[str, Any]:
    return {row.pop("key"): row for row in map(json.loads, path.read_text().splitlines())}


def compare(name: str, cell: str, precision: str, shots: str, draw: int) -> dict[str, Any]:
    """Figures of edge-train's file, and of edge-teach's, and the ratio of their times."""
    alpha, _, resolution = cell.partition("@")
    base = model_file(float(alpha), int(resolution), precision)
    learnt, held_out = split(DATA / "data" / name)
    with tempfile.TemporaryDirectory() as work:
        photos, run, models = (Path(work) / part for part in ("photos", "run", "models"))
        rng = np.random.default_rng(draw)
        for label, pictures in learnt.items():
            chosen = np.arange(len(pictures)) if shots == ALL else rng.permutation(len(pictures))[: int(shots)]
            link(photos / "train" / label, [pictures[index] for index in chosen])
            link(photos / "test" / label, held_out[label])
        cells = ("--weights", DATA / "weights", "--alpha", alpha, "--resolution", resolution)
        seed = ("--seed", draw) if shots == ALL else ()
        allowed = ("--precision", precision, "--max-drop", 100, "--max-accepted", 100)
        trained = command("edge-train", photos, "-o", run, *cells, *seed)
        trained += command("edge-convert", run, "-o", models, *allowed)
        taught = command("edge-teach", base, photos / "train", "-o", Path(work) / "taught.tflite")
        (converted,) = models.glob("*.tflite")
        classifiers = [Classifier(path) for path in (converted, Path(work) / "taught.tflite")]
        strangers = list_pictures(DATA / "data" / STRANGERS[name])
        figures = [measure(classifier, held_out, strangers) for classifier in classifiers]
        return {
            WAYS[0]: [*figures[0], trained],
            WAYS[1]: [*figures[1], taught],
            "inference": compare_times(classifiers),
        }


def compare_times(classifiers: Sequence[Classifier]) -> float:
    """The second's time of an inference, relative to the first's."""
    pictures = [np.zeros((*classifier.input_size, 3), np.uint8) for classifier in classifiers]

    def infer(index: int) -> None:
        for _ in range(INFERENCES):
            classifiers[index].infer(pictures[index])

    seconds = in_turns({way: partial(infer, index) for index, way in enumerate(WAYS)}, ROUNDS)
    return ratio(seconds, WAYS[1], WAYS[0])[0]


def split(root: Path) -> tuple[Pictures, Pictures]:
    """The pictures to learn and those held out, by class."""
    if (root / "train").is_dir():
        folders = {part: sorted((root / part).iterdir()) for part in ("train", "validation")}
        learnt, held_out = ({folder.name: list_pictures(folder) for folder in part} for part in folders.values())
        return learnt, held_out
    pictures = {folder.name: list_pictures(folder) for folder in sorted(root.iterdir())}
    held_out = {label: paths[::HELD_OUT_EVERY] for label, paths in pictures.items()}
    return {label: sorted({*paths} - {*held_out[label]}) for label, paths in pictures.items()}, held_out


def link(folder: Path, pictures: Sequence[Path]) -> None:
    folder.mkdir(parents=True)
    for path in pictures:
        (folder / path.name).symlink_to(path)


def measure(classifier: Classifier, held_out: Pictures, strangers: Sequence[Path]) -> list[float]:
    """Accuracy among classes and as shown, calibration error, AUROC."""
    classes = classifier.labels[:-1]
    truth = np.repeat(np.arange(len(classes)), [len(held_out[label]) for label in classes])
    own = answers(classifier, [path for label in classes for path in held_out[label]])
    spread = np.linspace(0, len(strangers) - 1, STRANGERS_COUNT).astype(int)
    strange = answers(classifier, [strangers[index] for index in spread])
    figures = evaluate(own, truth, classes)
    names = ("accuracy", "accuracy_with_unknown", "calibration_error")
    return [*(figures[name] for name in names), auroc(1 - own[:, -1], 1 - strange[:, -1])]


def answers(classifier: Classifier, paths: Sequence[Path]) -> np.ndarray:
    """Probabilities, (n, labels), `unknown` last."""
    return np.stack([classifier.probabilities(read_photo(path)) for path in paths])


def print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    print(f"{title}; inference {np.median([row['inference'] for row in rows]):.3f}")
    for way in WAYS:
        accuracy, shown, error, area, seconds = np.mean([row[way] for row in rows], axis=0)
        shares = f"classes {accuracy:.1%}, as shown {shown:.1%}"
        print(f"  {way}  {shares}; ECE {error:.3f}; AUROC {area:.4f}; {seconds:.1f} s", flush=True)


def mean_of(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for edge-train and one for edge-teach."""
    means: list[Row] = []
    for way in WAYS:
        accuracy, shown, error, area, seconds = np.mean([row[way] for row in rows], axis=0).tolist()
        about: Row = {
            "head of": way,
            "among classes (%)": round(100 * accuracy, 1),
            "as shown (%)": round(100 * shown, 1),
        }
        means.append({**about, "ECE": round(error, 3), "AUROC": round(area, 3), "seconds": round(seconds, 1)})
        means[-1]["inference to edge-convert's"] = None
    means[-1]["inference to edge-convert's"] = round(float(np.median([row["inference"] for row in rows])), 2)
    return means


if __name__ == "__main__":
    main()
