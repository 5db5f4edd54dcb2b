"""What the trainer reaches: the whole grid's time, accuracy, calibration, strangers, memory, repeatability.

    python benchmarks/training.py                      # everything, an hour and a half
    python benchmarks/training.py grid memory          # parts of it

Photos: Alien vs Predator, flowers and TrashNet; weights from local files. Accuracy, calibration and strangers are
those of the finished int8 files, by the device's code.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import CELLS, DATA, ROOT, WORK, Row, command, machine, parse_with_parts, record, show

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.learn.metrics import auroc, calibration_error, class_confidences, fpr_at_tpr

SETS = {"Alien vs Predator": "alien_vs_predator", "flowers": "flowers", "TrashNet": "trashnet"}
# One more than the other programs have, between the smallest and the largest.
TRAINED = (*CELLS[:2], (0.75, 128), *CELLS[2:])
EPOCHS = 15
SEEDS = (0, 1, 2)
WEIGHTS = ("--weights", DATA / "weights")
RUNS = WORK / "training"


def main() -> None:
    parts = {
        "grid": grid,
        "frozen": frozen,
        "tuned": tuned,
        "left_out": left_out,
        "memory": memory,
        "repeat": repeat,
        "mnist": mnist,
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    chosen = parse_with_parts(parser, parts).parts
    print(machine())
    for name in chosen:
        parts[name]()


def grid() -> None:
    """4 widths × 5 resolutions on Alien vs Predator, frozen: photos to heads, and again with other head options."""
    photos = DATA / "data" / SETS["Alien vs Predator"]
    arguments = (photos, *WEIGHTS, "--alpha", "all", "--resolution", "all", "-o")
    for name in ("grid", "grid_again"):
        shutil.rmtree(RUNS / name, ignore_errors=True)
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        first = command("edge-train", *arguments, RUNS / "grid", env=environment)
        other = ("--epochs", 50, "--keep", 0.97)
        again = command("edge-train", *arguments, RUNS / "grid_again", *other, env=environment)
    rows: list[Row] = [
        {"what": "from photos to heads", "seconds": round(first)},
        {"what": "the same with other head options", "seconds": round(again)},
    ]
    record(__file__, [show(row) for row in rows], part="grid")


def frozen() -> None:
    """With the defaults, three seeds: accuracy, calibration and strangers, of the int8 files."""
    record_accuracy("frozen", dict.fromkeys(TRAINED, 0))


def tuned() -> None:
    """The same, fine-tuned."""
    record_accuracy("tuned", dict.fromkeys(TRAINED, EPOCHS))


def record_accuracy(part: str, cells: dict[tuple[float, int], int]) -> None:
    """A row for each cell and set, written when the cell is through: at 1.0@224 fine-tuning takes hours."""
    rows: list[Row] = []
    for cell, epochs in cells.items():
        jobs = [(title, seed) for title in SETS for seed in SEEDS]
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(measured, title, seed, cell, epochs) for title, seed in jobs]
            results = [each.result() for each in waiting]
        for title in SETS:
            figures = [result for job, result in zip(jobs, results, strict=True) if job[0] == title]
            about: Row = {"cell": f"{cell[0]}@{cell[1]}", "training": way_of(epochs), "photos": title}
            rows.append(show({**about, **mean_of(figures)}))
        record(__file__, rows, part=part, notes="Seeds 0, 1, 2; the mean, and each seed where the column says so.")


def way_of(epochs: int) -> str:
    return f"--fine-tune {epochs}" if epochs else "frozen"


def mean_of(figures: list[dict[str, Any]]) -> Row:
    """Over the seeds: what `measure` gives."""

    def percent(name: str) -> float:
        return round(100 * float(np.mean([result[name] for result in figures])), 1)

    row: Row = {
        "held out": figures[0]["photos"],
        "among classes, int8 (%)": percent("accuracy"),
        "its seeds": ", ".join(f"{100 * result['accuracy']:.1f}" for result in figures),
        "as shown, int8 (%)": percent("shown"),
        "float32 (%)": percent("float32"),
        "kept (%)": percent("kept"),
        "calibration error": round(float(np.mean([result["ece"] for result in figures])), 3),
    }
    for name in SETS:
        found = [result["strangers"][name] for result in figures if name in result["strangers"]]
        area, share = np.mean(found, axis=0) if found else (None, None)
        row[f"{name}: AUROC"] = None if area is None else round(float(area), 4)
        row[f"{name}: accepted at 95 % kept (%)"] = None if share is None else round(100 * float(share), 1)
    return row


def measured(title: str, seed: int, cell: tuple[float, int], epochs: int) -> dict[str, Any]:
    """Train, convert and measure one cell; what was measured before is not done again."""
    run = RUNS / f"{SETS[title]}_{cell[0]}_{cell[1]}_{seed}_{epochs}"
    kept = run / "measured.json"
    if not kept.exists():
        photos = DATA / "data" / SETS[title]
        command(
            *("edge-train", photos, "-o", run, *WEIGHTS, "--alpha", cell[0], "--resolution", cell[1]),
            *("--seed", seed, *(("--fine-tune", epochs) if epochs else ())),
        )
        command(
            "edge-convert", run, "-o", run / "models", "--precision", "int8", "--max-drop", 100, "--max-accepted", 100
        )
        kept.write_text(json.dumps(measure(title, run, photos)))
    result: dict[str, Any] = json.loads(kept.read_text())
    return result


def measure(title: str, run: Path, photos: Path) -> dict[str, Any]:
    (entry,) = json.loads((run / "run.json").read_text())["cells"]
    (model,) = (run / "models").glob("*.tflite")
    classifier = Classifier(model)
    held_out, truth, classes = held_out_photos(run, photos)
    scores = np.stack([classifier.probabilities(read_photo(photo)) for photo in held_out])
    strangers = {}
    for other, pictures in stranger_pictures(title).items():
        strange = np.stack([classifier.probabilities(read_photo(picture)) for picture in pictures])
        known, unknown = 1 - scores[:, -1], 1 - strange[:, -1]
        strangers[other] = (auroc(known, unknown), fpr_at_tpr(known, unknown, 0.95))
    return {
        "accuracy": float((scores[:, :-1].argmax(axis=1) == truth).mean()),
        "shown": float((scores.argmax(axis=1) == truth).mean()),
        "float32": entry["evaluation"]["accuracy"],
        "photos": len(truth),
        "ece": calibration_error(*class_confidences(scores, truth, len(classes))),
        "kept": float((scores.argmax(axis=1) < len(classes)).mean()),
        "strangers": strangers,
    }


def held_out_photos(run: Path, photos: Path) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """The held-out photos of a run, their class indices, and the classes."""
    index = json.loads((run / "run.json").read_text())
    *classes, _ = index["labels"]
    files = [file for file in index["photos"]["files"] if file["part"] == "held_out"]
    truth = np.array([classes.index(file["label"]) for file in files])
    return [photos / file["path"] for file in files], truth, tuple(classes)


def stranger_pictures(title: str) -> dict[str, list[Path]]:
    """The pictures of the other sets, of their validation part where they have one."""
    found = {}
    for other, name in SETS.items():
        if other != title:
            folder = DATA / "data" / name / "validation"
            found[other] = list_pictures(folder if folder.is_dir() else DATA / "data" / name)
    return found


def left_out() -> None:
    """Near strangers: each class of a set left out of training in turn, and shown; float32, of the run's report."""
    rows: list[Row] = []
    for cell in CELLS:
        for title in ("flowers", "TrashNet"):
            root = DATA / "data" / SETS[title]
            source = root / "train" if (root / "train").is_dir() else root
            names = sorted(folder.name for folder in source.iterdir() if folder.is_dir())
            figures = {name: left_out_auroc(title, name, names, cell) for name in names}
            each = ", ".join(f"{name} {figure:.3f}" for name, figure in figures.items())
            about: Row = {"photos": title, "cell": f"{cell[0]}@{cell[1]}"}
            mean = round(float(np.mean(list(figures.values()))), 3)
            rows.append(show({**about, "AUROC, mean": mean, "each class": each}))
    record(__file__, rows, part="left_out", notes="float32, frozen.")


def left_out_auroc(title: str, name: str, names: list[str], cell: tuple[float, int]) -> float:
    """Train without the class `name` and show its held-out photos; what was trained before is not trained again."""
    root = DATA / "data" / SETS[title]
    run = RUNS / f"without_{name}_{cell[0]}_{cell[1]}"
    split = (root / "validation").is_dir()
    if not (run / "run.json").exists():
        with tempfile.TemporaryDirectory() as temporary:
            photos = Path(temporary) / "photos"
            for part in ("train", "validation") if split else ("",):
                (photos / part).mkdir(parents=True)
                for other in names:
                    if other != name:
                        (photos / part / other).symlink_to(root / part / other)
            command(
                *("edge-train", photos, "-o", run, *WEIGHTS, "--alpha", cell[0], "--resolution", cell[1]),
                *("--strangers", root / "validation" / name if split else root / name),
            )
    (entry,) = json.loads((run / "run.json").read_text())["cells"]
    return float(entry["evaluation"]["strangers"][name]["auroc"])


def memory() -> None:
    """Peak memory of any process of a run, for 5,000 and for 50,000 generated pictures."""
    rows: list[Row] = []
    for count in (5_000, 50_000):
        with tempfile.TemporaryDirectory(dir=RUNS if RUNS.is_dir() else None) as temporary:
            photos = Path(temporary) / "photos"
            draw_pictures(photos, count)
            program = (
                "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
            )
            words = ["edge-train", photos, "-o", Path(temporary) / "run", *WEIGHTS, "--alpha", 0.35, "--resolution", 96]
            words[0] = Path(sys.executable).with_name("edge-train")
            environment = {**os.environ, "XDG_CACHE_HOME": temporary}
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", program, *map(str, words)],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            seconds = time.perf_counter() - began
            largest = round(int(done.stdout) / 1024)
            rows.append(show({"pictures": count, "largest process (MB)": largest, "seconds": round(seconds)}))
    record(__file__, rows, part="memory")


def draw_pictures(root: Path, count: int) -> None:
    """Ten kinds of coloured noise, as JPEG."""
    rng = np.random.default_rng(0)
    for kind in range(10):
        (root / f"kind {kind}").mkdir(parents=True)
        color = rng.integers(0, 200, 3)
        for number in range(count // 10):
            small = np.clip(color + rng.normal(0, 40 + 3 * kind, (4 + kind, 6, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / f"kind {kind}" / f"{number}.jpg"), cv2.resize(small, (160, 120)))


def repeat() -> None:
    """The same command twice, each with an empty cache: are the weights the same, bit for bit?"""
    digests = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as temporary:
            run = Path(temporary) / "run"
            photos = DATA / "data" / SETS["Alien vs Predator"]
            command(
                *("edge-train", photos, "-o", run, *WEIGHTS, "--alpha", 0.35, "--resolution", 96, "--fine-tune", 2),
                env={**os.environ, "XDG_CACHE_HOME": temporary},
            )
            with np.load(run / "heads" / "0.35_96.npz") as arrays:
                content = b"".join(arrays[name].tobytes() for name in sorted(arrays))
            (weights,) = (run / "weights").iterdir()
            digests.append((weights.name, hashlib.sha256(content).hexdigest()))
    print(f"the same seed twice: {'identical' if digests[0] == digests[1] else 'DIFFERENT'} weights, bit for bit")


def mnist() -> None:
    """Digits 5 to 9, fine-tuned, three seeds; and once the four ways of the recipe."""
    recipe = [sys.executable, ROOT / "train" / "recipes" / "mnist_transfer.py"]
    weights = DATA / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
    arguments = ["--mnist", DATA / "data" / "mnist" / "mnist.npz", "--weights", weights]
    rows: list[Row] = []
    for seed in SEEDS:
        output = RUNS / f"mnist_{seed}"
        ways = [] if seed == 0 else ["--ways", "tuned"]
        words = [*recipe, "-o", output, *arguments, "--seed", seed, *ways]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True)
        print(done.stdout, end="")
        for way, epochs in json.loads((output / "mnist_transfer.json").read_text()).items():
            accuracy_ = round(100 * epochs[-1][0], 2)
            rows.append(show({"way": way, "seed": seed, "digits 5 to 9 right (%)": accuracy_, "epochs": len(epochs)}))
    record(__file__, rows, part="mnist")


if __name__ == "__main__":
    main()
