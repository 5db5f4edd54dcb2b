"""How far `unknown` can be trusted over the whole grid: 20 cells, three own sets, strangers never used for anything.

    python benchmarks/unknown.py                     # of the trainer's float models, frozen
    python benchmarks/unknown.py --int8 all          # and of the finished int8 files, by the device's code
    python benchmarks/unknown.py --fine-tune 15      # of networks that were fine-tuned: an hour for each set

For each cell the accuracy on held-out photos, and of 1 - P(unknown) AUROC and the share that gets a class's label: of
the two other sets, photos of a camera that does not move, drawn things (digits), and frames of videos; then of the
negatives that edge-train makes itself, and how well these predict the others over all cells.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from common import ALPHAS, DATA, RESOLUTIONS, WORK, Row, command, machine, record, show

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.learn.metrics import auroc

SETS = {"Alien vs Predator": "alien_vs_predator", "flowers": "flowers", "TrashNet": "trashnet"}
RUNS = WORK / "unknown"
# Of each video and of the digits.
PICTURES = 50
_NOTES = "float32 is the trainer's own measure. AUROC and accepted alone are means of the five stranger sets."
_Figures = dict[str, tuple[float, float]]


class Own(NamedTuple):
    """Of own photos, held out: right among the classes, right as shown, and not called unknown, in shares of 1."""

    among_classes: float
    as_shown: float
    kept: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET", help="own photos")
    parser.add_argument("--fine-tune", type=int, default=0, metavar="EPOCHS", help="fine-tune the networks")
    parser.add_argument("--alpha", nargs="+", default=ALPHAS, metavar="A", help="width multipliers")
    parser.add_argument("--resolution", nargs="+", default=RESOLUTIONS, metavar="R", help="resolutions")
    parser.add_argument(
        "--int8", nargs="+", default=[], metavar="CELL", help="cells to convert too, as 0.35@96, or all"
    )
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as work:
        strangers = stranger_folders(Path(work))
        pairs = []
        rows: list[Row] = []
        training = f"--fine-tune {options.fine_tune}" if options.fine_tune else "frozen"
        for title in options.sets:
            others = {other: folder for other, folder in strangers.items() if other != title}
            run = train(SETS[title], others.values(), options)
            cells = json.loads((run / "run.json").read_text())["cells"]
            for cell in cells:
                evaluation, name = cell["evaluation"], f"{cell['alpha']}@{cell['resolution']}"
                figures, made = trained_figures(evaluation, others)
                pairs.append((cell["alpha"], cell["resolution"], *made, *mean(figures)))
                about: Row = {"own photos": title, "cell": name, "training": training, "precision": "float32"}
                own = Own(evaluation["accuracy"], evaluation["accuracy_with_unknown"], evaluation["kept"])
                rows.append(show({**about, **row_of(own, figures, made, list(strangers))}))
                if name in options.int8 or "all" in options.int8:
                    found = row_of(*int8_figures(run, name, others), list(strangers))
                    rows.append(show({**about, "precision": "int8", **found}))
            record(__file__, rows, "tuned" if options.fine_tune else "", _NOTES)
    summarize(np.array(pairs))


def stranger_folders(work: Path) -> dict[str, Path]:
    """Folders of pictures by what they show; frames and digits are written below `work`."""
    folders = {}
    for title, name in SETS.items():
        validation = DATA / "data" / name / "validation"
        # Under a name of its own: the run has negatives by their folder's name.
        folders[title] = work / name
        folders[title].symlink_to(validation if validation.is_dir() else DATA / "data" / name)
    for number, pixels in enumerate(np.load(DATA / "data" / "mnist" / "mnist.npz")["x_test"][:PICTURES]):
        write(work / "digits" / f"{number}.png", cv2.resize(255 - pixels, (200, 200)))
    for video in sorted((DATA / "video").glob("*-detection.mp4")):
        capture = cv2.VideoCapture(str(video))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        for number in range(count):
            grabbed, frame = capture.read()
            if grabbed and number % max(1, count // PICTURES) == 0:
                write(work / "video" / f"{video.stem} {number}.png", frame)
    return {
        **folders,
        "still camera": DATA / "data" / "still_camera",
        "digits": work / "digits",
        "video": work / "video",
    }


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), picture)


def train(name: str, strangers: Iterable[Path], options: argparse.Namespace) -> Path:
    """Train the grid on a set, measured on the strangers; returns the run folder."""
    run = RUNS / f"{name}_{options.fine_tune}"
    words = [word for folder in strangers for word in ("--negatives", folder)]
    grid = ("--alpha", *options.alpha, "--resolution", *options.resolution)
    arguments = (DATA / "data" / name, "-o", run, "--weights", DATA / "weights")
    command("edge-train", *arguments, *grid, *words, *(("--fine-tune", options.fine_tune) if options.fine_tune else ()))
    return run


def trained_figures(evaluation: Mapping[str, Any], others: Mapping[str, Path]) -> tuple[_Figures, tuple[float, float]]:
    """AUROC and accepted share by stranger set, and of made negatives, as the run has them."""
    measured = evaluation["strangers"]
    figures = {title: figures_of(measured[folder.name]) for title, folder in others.items()}
    return figures, figures_of(evaluation["made_negatives"])


def figures_of(scores: Mapping[str, float]) -> tuple[float, float]:
    return scores["auroc"], scores["accepted"]


def int8_figures(run: Path, cell: str, others: Mapping[str, Path]) -> tuple[Own, _Figures, tuple[float, float]]:
    """The same of a cell's int8 file, and how it does on own photos; the files are made when first asked for."""
    alpha, _, resolution = cell.partition("@")
    model = run / "models" / f"mobilenet_v2_{alpha}_{resolution}_int8.tflite"
    if not model.exists():
        allowed = ("--max-drop", 100, "--max-accepted", 100)
        command("edge-convert", run, "-o", model.parent, "--precision", "int8", *allowed)
    classifier = Classifier(model)
    own = np.stack([classifier.probabilities(photo[..., ::-1]) for photo in held_out(run, int(resolution))])
    figures = {}
    for title, folder in others.items():
        outputs = np.stack([classifier.probabilities(read_photo(path)) for path in list_pictures(folder)])
        figures[title] = (auroc(1 - own[:, -1], 1 - outputs[:, -1]), accepted(outputs))
    evaluation = json.loads((model.parent / "manifest.json").read_text())["files"]
    (made,) = (entry["figures"]["made_accepted"] for entry in evaluation if entry["file"] == model.name)
    index = json.loads((run / "run.json").read_text())
    files = [file for file in index["photos"]["files"] if file["part"] == "held_out"]
    truth = np.array([index["labels"].index(file["label"]) for file in files])
    among, shown = ((outputs.argmax(axis=1) == truth).mean() for outputs in (own[:, :-1], own))
    return Own(float(among), float(shown), accepted(own)), figures, (float("nan"), made)


def held_out(run: Path, resolution: int) -> np.ndarray:
    """The run's held-out photos, prepared: uint8 RGB [n, R, R, 3]."""
    return np.asarray(np.load(run / "prepared" / f"{resolution}_held_out.npy"))


def accepted(outputs: np.ndarray) -> float:
    """The share of outputs, (n, K + 1), whose best is a class."""
    return float((outputs.argmax(axis=1) < outputs.shape[1] - 1).mean())


def mean(figures: _Figures) -> tuple[float, float]:
    aurocs, shares = zip(*figures.values(), strict=True)
    return float(np.mean(aurocs)), float(np.mean(shares))


def row_of(own: Own, figures: _Figures, made: tuple[float, float], titles: Iterable[str]) -> Row:
    """titles: of all stranger sets; the own one has no figures. AUROC and accepted alone are means of the others."""
    area_of_all, share_of_all = mean(figures)
    row: Row = {
        "among classes (%)": round(100 * own.among_classes, 1),
        "as shown (%)": round(100 * own.as_shown, 1),
        "kept (%)": round(100 * own.kept, 1),
        "AUROC": round(area_of_all, 3),
        "accepted (%)": round(100 * share_of_all, 1),
    }
    for title in titles:
        area, share = figures.get(title, (None, None))
        row[f"{title}: AUROC"] = None if area is None else round(area, 3)
        row[f"{title}: accepted (%)"] = None if share is None else round(100 * share, 1)
    return {**row, "made: accepted (%)": round(100 * made[1], 1)}


def summarize(pairs: np.ndarray) -> None:
    """pairs: alpha, resolution, made negatives' AUROC and accepted share, strangers' mean AUROC and accepted share."""
    _, _, made_auroc, made_accepted, real_auroc, real_accepted = pairs.T
    print(
        f"all {len(pairs)} cells: AUROC {real_auroc.mean():.4f}, accepted {100 * real_accepted.mean():.1f} % on average"
    )
    print(
        f"worst cell: AUROC {real_auroc.min():.4f}, accepted {100 * real_accepted.max():.1f} %; correlation of made "
        f"negatives with strangers: AUROC {correlation(made_auroc, real_auroc):.2f}, "
        f"accepted {correlation(made_accepted, real_accepted):.2f}"
    )


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


if __name__ == "__main__":
    main()
