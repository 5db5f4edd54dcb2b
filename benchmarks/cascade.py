"""Small first, large when in doubt: is a second, larger file for the frames that the small one is unsure of worth it?

    python benchmarks/cascade.py [SET ...] [--precision float32 int8]

The question was whether a cascade gives the large file's accuracy, within 0.3 points, in half its mean time. So the
limit below which the small file's certainty counts as doubt is set as high as half the time allows: from what the
small file says of one half of the held-out photos, for the other half, and the other way round. Both files really run,
picture by picture, in turns with the large one alone. How much of the difference is luck of the halves is told by 100
more splits, computed from the same answers. For strangers the limit is that of all held-out photos.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from common import DATA, WORK, command, machine
from training import RUNS, SETS, WEIGHTS, held_out_photos, stranger_pictures

from edge_classify import Classifier, read_photo
from edge_classify.images.preprocessing import Image
from edge_classify.metrics import evaluate

LARGE = (1.0, 224)
SMALL = ((0.35, 96), (0.5, 160))
FINE_TUNING = {(0.35, 96): 30, (0.5, 160): 15, LARGE: 15}
PRECISIONS = ("float32", "int8")
PART_OF_TIME = 0.5
SPLITS = 100
STRANGERS = 150

Answer = Callable[[Image], np.ndarray]
Certainty = Callable[[np.ndarray], np.ndarray]


def best_label(scores: np.ndarray) -> np.ndarray:
    """The largest probability, `unknown` among them, of rows of shape (..., K + 1)."""
    certainty: np.ndarray = scores.max(axis=-1)
    return certainty


def best_class(scores: np.ndarray) -> np.ndarray:
    """The largest class probability, given that it is one of the classes, of rows of shape (..., K + 1)."""
    classes = scores[..., :-1]
    certainty: np.ndarray = classes.max(axis=-1) / np.maximum(classes.sum(axis=-1), 1e-6)
    return certainty


def cascade(small: Answer, large: Answer, certainty: Certainty, limit: float, image: Image) -> np.ndarray:
    scores = small(image)
    return large(image) if certainty(scores) < limit else scores


def in_turns(ways: Sequence[Answer], images: Sequence[Image]) -> tuple[list[np.ndarray], np.ndarray]:
    """What each way answers, (n, K + 1) each, and its seconds for all images; each image is shown to all in turn."""
    answers: list[list[np.ndarray]] = [[] for _ in ways]
    seconds = np.zeros(len(ways))
    for image in images:
        for index, way in enumerate(ways):
            began = perf_counter()
            answers[index].append(way(image))
            seconds[index] += perf_counter() - began
    return [np.stack(rows) for rows in answers], seconds


def model_files(title: str, cell: tuple[float, int], epochs: int) -> tuple[Path, Path]:
    """The run folder of a cell (seed 0), which `training.py` makes too, and the folder of its model files."""
    run = RUNS / f"{SETS[title]}_{cell[0]}_{cell[1]}_0_{epochs}"
    folder = WORK / "cascade" / run.name
    if not (folder / "manifest.json").exists():
        cells = ("--alpha", cell[0], "--resolution", cell[1], *(("--fine-tune", epochs) if epochs else ()))
        command("edge-train", DATA / "data" / SETS[title], "-o", run, *WEIGHTS, *cells, "--seed", 0)
        command("edge-convert", run, "-o", folder, "--precision", *PRECISIONS, "--max-drop", 100)
    return run, folder


def held_out(run: Path, photos: Path) -> tuple[list[Image], np.ndarray, tuple[str, ...]]:
    """The held-out photos of a run, their class indices, and the classes."""
    paths, truth, classes = held_out_photos(run, photos)
    return [read_photo(path) for path in paths], truth, classes


def strangers(title: str) -> dict[str, list[Image]]:
    """Pictures of the other sets, evenly spaced."""
    found = {}
    for other, pictures in stranger_pictures(title).items():
        chosen = np.linspace(0, len(pictures) - 1, min(STRANGERS, len(pictures))).astype(int)
        found[other] = [read_photo(pictures[index]) for index in chosen]
    return found


def measure(title: str, precision: str, fine_tuned: bool) -> None:
    answers = {}
    for cell in (LARGE, *SMALL):
        run, folder = model_files(title, cell, FINE_TUNING[cell] if fine_tuned else 0)
        answers[cell] = Classifier(folder / f"mobilenet_v2_{cell[0]}_{cell[1]}_{precision}.tflite").probabilities
    photos, truth, classes = held_out(run, DATA / "data" / SETS[title])
    figures = partial(evaluate, truth=truth, labels=classes)
    strange = strangers(title)
    large = answers[LARGE]
    base = figures(np.stack([large(photo) for photo in photos]))
    print(f"{title}, {'fine-tuned' if fine_tuned else 'frozen'}, {precision}, {len(photos)} photos")
    print(f"  {LARGE[0]}@{LARGE[1]} alone: {tell(base)}")
    for name, images in strange.items():
        print(f"    accepts {share_accepted(np.stack([large(image) for image in images])):.1%} of {name}")
    for cell in SMALL:
        (own, larger), seconds = in_turns((answers[cell], large), photos)
        part = seconds[0] / seconds[1]
        print(f"  {cell[0]}@{cell[1]} alone: {tell(figures(own))}; {part:.2f} of the time")
        for certainty in (best_label, best_class):
            first, *others = (np.random.default_rng(seed).permutation(len(photos)) for seed in range(SPLITS + 1))
            share = PART_OF_TIME - part
            scores, seconds = np.empty_like(own), np.zeros(2)
            for chosen, reported in halves(first):
                way = partial(cascade, answers[cell], large, certainty, np.quantile(certainty(own[chosen]), share))
                (_, scores[reported]), taken = in_turns((large, way), [photos[index] for index in reported])
                seconds += taken
            print(f"    limit on the {certainty.__name__.replace('_', ' ')}: {tell(figures(scores), base)}; ", end="")
            print(f"{seconds[1] / seconds[0]:.2f} of the time")
            splits = [figures(computed(own, larger, certainty, share, order))["accuracy"] for order in others]
            mean, low, high = 100 * (np.array([np.mean(splits), *np.quantile(splits, (0.05, 0.95))]) - base["accuracy"])
            print(f"      accuracy over {SPLITS} more splits {mean:+.1f} (90 % of them {low:+.1f} to {high:+.1f})")
            way = partial(cascade, answers[cell], large, certainty, np.quantile(certainty(own), share))
            for name, images in strange.items():
                (_, scores), seconds = in_turns((large, way), images)
                print(
                    f"      accepts {share_accepted(scores):.1%} of {name}; {seconds[1] / seconds[0]:.2f} of the time"
                )


def halves(order: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    first, second = np.array_split(order, 2)
    return (first, second), (second, first)


def computed(small: np.ndarray, large: np.ndarray, certainty: Certainty, share: float, order: np.ndarray) -> np.ndarray:
    """What the cascade answers, with limits from the halves of `order`."""
    scores = small.copy()
    for chosen, reported in halves(order):
        doubtful = reported[certainty(small[reported]) < np.quantile(certainty(small[chosen]), share)]
        scores[doubtful] = large[doubtful]
    return scores


def share_accepted(scores: np.ndarray) -> float:
    """The share of strangers that is given a class."""
    return float((scores.argmax(axis=1) < scores.shape[1] - 1).mean())


def tell(figures: dict[str, Any], base: dict[str, Any] | None = None) -> str:
    names = {"accuracy": "accuracy", "accuracy_with_unknown": "right label", "kept": "kept"}
    return ", ".join(
        f"{name} {figures[key]:.1%}" + (f" ({100 * (figures[key] - base[key]):+.1f})" if base else "")
        for key, name in names.items()
    )


def main() -> None:
    titles = {name: title for title, name in SETS.items() if title != "TrashNet"}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(titles)} (default: both)")
    parser.add_argument("--precision", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    options = parser.parse_args()
    if unknown := set(options.sets) - set(titles):
        parser.error(f"no set {', '.join(sorted(unknown))}")
    print(machine())
    for name in options.sets or titles:
        for precision in options.precision:
            for fine_tuned in (False, True):
                measure(titles[name], precision, fine_tuned)


if __name__ == "__main__":
    main()
