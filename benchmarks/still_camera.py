"""A camera that does not move: what its model files say of later photos, in other light.

    python benchmarks/still_camera.py                          # everything
    python benchmarks/still_camera.py drawn --cells 0.35@96    # the three drawn scenes, with one cell
    python benchmarks/still_camera.py drawn --crop auto        # the same, trained on the part that edge-train finds
    python benchmarks/still_camera.py drawn --seeds 0 1 2      # other clutter, places of things and light too
    python benchmarks/still_camera.py real                     # the shared photos of a real camera

Photos of a day's earlier hours are trained on, with the defaults; those of its later hours are measured on, by the
device's code. Right as shown: `unknown` counts as wrong. Others are things of no class in front of the same scene, and
elsewhere is pictures of other places, made is the negatives that edge-convert tries: shares of them that get a class's
label.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from common import DATA, WORK, Row, command, machine, parse_with_parts, record, show
from still_scenes import OTHER_THINGS, SCENES, Draw, Scene, put_thing, write_photos

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.model.manifest import read_manifest

CELLS = ((0.35, 96), (0.35, 160), (0.5, 160), (1.0, 224))
PRECISIONS = ("float32", "int8")
# Shares of the picture's width.
SIZES = (0.05, 0.1, 0.2)
# Of each class.
PHOTOS, LATER_PHOTOS = 100, 60
EARLY_HOURS, LATER_HOURS = (8.0, 14.0), (14.5, 18.0)
# Of each thing of no class, and of each other place.
OTHERS = 30
FOLDER = WORK / "still_camera"


@dataclass(frozen=True)
class Task:
    """Photos to train on, and pictures by what a right answer to each is: a label, or "" for none of them."""

    name: str
    photos: Path
    later: Mapping[str, Sequence[Path]]
    others: Sequence[Path]
    elsewhere: Sequence[Path]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", nargs="+", type=_cell, default=CELLS, metavar="CELL", help="such as 0.35@96")
    parser.add_argument("--precision", nargs="+", default=PRECISIONS, metavar="P")
    parser.add_argument("--sizes", nargs="+", type=float, default=SIZES, metavar="S", help="shares of the width")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0,), metavar="N", help="of what is drawn")
    parser.add_argument("--crop", help="handed to edge-train")
    options = parse_with_parts(parser, ("drawn", "real"))
    parts = {"drawn": lambda: drawn_tasks(options.sizes, options.seeds), "real": real_tasks}
    print(machine())
    crop = ("--crop", options.crop) if options.crop else ()
    for part in options.parts:
        tasks = parts[part]()
        rows = [row for task in tasks for row in run_task(task, options.cells, options.precision, crop)]
        record(__file__, rows, part=part)


def _cell(text: str) -> tuple[float, int]:
    alpha, resolution = text.split("@")
    return float(alpha), int(resolution)


def drawn_tasks(sizes: Sequence[float], seeds: Sequence[int]) -> Iterable[Task]:
    for seed, size in product(seeds, sizes):
        roots = [draw_scene(scene, size, seed) for scene in SCENES]
        for scene, root in zip(SCENES, roots, strict=True):
            places = [other for other in roots if other != root]
            yield Task(
                f"{scene.name}, {size:.0%}" + (f", seed {seed}" if seed else ""),
                root / "early",
                {label: list_pictures(root / "later" / label) for label in scene.classes},
                list_pictures(root / "others"),
                [path for place in places for path in list_pictures(place / "later")[::6]],
            )


def draw_scene(scene: Scene, size: float, seed: int) -> Path:
    """The folder of a scene's photos, which are drawn when first asked for."""
    root = FOLDER / "photos" / (f"{scene.name}_{100 * size:.0f}" + (f"_{seed}" if seed else ""))
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        things: dict[str, Draw | None] = {"empty": None, **scene.things}
        write_photos(root / "early", scene, things, size, EARLY_HOURS, PHOTOS, seed)
        write_photos(root / "later", scene, things, size, LATER_HOURS, LATER_PHOTOS, seed)
        write_photos(root / "others", scene, dict(OTHER_THINGS), size, LATER_HOURS, OTHERS, seed)
        (root / "complete").touch()
    return root


def real_tasks() -> Iterable[Task]:
    """Each folder's earlier half by the numbers in its names against its later half, in three ways.

    The empty scene is no class and not shown, pictures of none of the classes (`unknown/`), or a class.
    """
    source = DATA / "data" / "still_camera"
    halves = {}
    for folder in ("alien", "human", "unknown"):
        paths = sorted(
            (source / folder).iterdir(), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)]
        )
        halves[folder] = paths[: len(paths) // 2], paths[len(paths) // 2 :]
    ways = {
        "two classes": {"alien": "alien", "human": "human"},
        "two classes, empty scene in unknown/": {"alien": "alien", "human": "human", "unknown": "unknown"},
        "three classes": {"alien": "alien", "human": "human", "unknown": "background"},
    }
    elsewhere = [*list_pictures(DATA / "data" / "flowers" / "validation"), *list_pictures(DATA / "data" / "trashnet")]
    others = put_into(halves["unknown"][1], FOLDER / "photos" / "real_others")
    for way, labels in ways.items():
        root = FOLDER / "photos" / f"real_{'_'.join(labels.values())}"
        for folder, label in labels.items():
            (root / label).mkdir(parents=True, exist_ok=True)
            for path in halves[folder][0]:
                shutil.copy2(path, root / label / path.name)
        later = {"" if label == "unknown" else label: halves[folder][1] for folder, label in labels.items()}
        yield Task(f"real, {way}", root, later, others, elsewhere)


def put_into(scenes: Sequence[Path], folder: Path) -> list[Path]:
    """Pictures of each of the scenes with each of the things of no class in it, as large as the classes' own."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for path in scenes:
        empty = read_photo(path)
        height, width = empty.shape[:2]
        for name, draw in OTHER_THINGS.items():
            picture = put_thing(empty.astype(np.float32), draw, 0.22, (0, 0, width, height), rng)
            cv2.imwrite(str(folder / f"{path.stem}_{name}.png"), np.clip(picture, 0, 255).astype(np.uint8))
    return list_pictures(folder)


def run_task(
    task: Task, cells: Sequence[tuple[float, int]], precisions: Sequence[str], crop: Sequence[str] = ()
) -> list[Row]:
    """Train, convert and measure the cells; print what the photo check says. A row for each model file."""
    rows: list[Row] = []
    pictures = {label: [read_photo(path) for path in paths] for label, paths in task.later.items()}
    others, elsewhere = ([read_photo(path) for path in paths] for paths in (task.others, task.elsewhere))
    run = FOLDER / "runs" / re.sub(r"\W+", "_", " ".join([task.name, *crop]))
    # What was trained by an older version would be kept.
    shutil.rmtree(run, ignore_errors=True)
    for alpha in dict.fromkeys(alpha for alpha, _ in cells):
        resolutions = [resolution for other, resolution in cells if other == alpha]
        folder = run / str(alpha)
        command(
            *("edge-train", task.photos, "-o", folder, "--weights", DATA / "weights"),
            *("--alpha", alpha, "--resolution", *resolutions, *crop),
        )
        if alpha == cells[0][0]:
            describe_check(task.name, folder)
        limits = ("--max-drop", 100, "--max-accepted", 100)
        command("edge-convert", folder, "-o", folder / "models", *limits, "--precision", *precisions)
        entries = read_manifest(folder / "models")["files"]
        made = {entry["file"]: entry["figures"].get("made_accepted", 0.0) for entry in entries}
        for resolution in resolutions:
            for precision in precisions:
                file = f"mobilenet_v2_{alpha}_{resolution}_{precision}.tflite"
                figures = measure(Classifier(folder / "models" / file), pictures, others, elsewhere)
                about: Row = {"task": task.name, "cell": f"{alpha}@{resolution}", "precision": precision}
                negatives = round(100 * made[file])
                rows.append(show({**about, **figures, "made negatives taken for a class (%)": negatives}))
    return rows


def describe_check(name: str, folder: Path) -> None:
    check = json.loads((folder / "photo_check.json").read_text())
    claims = len(check["two_labels"]) + len(check["suspects"])
    print(f"{name}: {'a still camera' if check['still_camera'] else 'NOT recognized'}, {claims} labels called wrong")


def measure(
    classifier: Classifier,
    later: Mapping[str, Sequence[np.ndarray]],
    others: Sequence[np.ndarray],
    elsewhere: Sequence[np.ndarray],
) -> Row:
    *classes, _ = classifier.labels
    shown, among = [], []
    for label, pictures in later.items():
        scores = np.stack([classifier.probabilities(picture) for picture in pictures])
        shown += list(scores.argmax(axis=1) == (classes.index(label) if label else len(classes)))
        among += list(scores[:, :-1].argmax(axis=1) == classes.index(label)) if label else []
    taken = [
        np.mean([classifier.probabilities(picture).argmax() < len(classes) for picture in pictures])
        for pictures in (others, elsewhere)
    ]
    return {
        "right as shown (%)": round(100 * float(np.mean(shown)), 1),
        "right among classes (%)": round(100 * float(np.mean(among)), 1),
        "other things taken for a class (%)": round(100 * float(taken[0])),
        "elsewhere taken for a class (%)": round(100 * float(taken[1]), 1),
    }


if __name__ == "__main__":
    main()
