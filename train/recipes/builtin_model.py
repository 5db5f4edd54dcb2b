"""Train the built-in digit reader from scratch: MNIST digits on drawn paper → run folder → edge-convert.

    python train/recipes/builtin_model.py -o runs/builtin                       # MNIST by keras.datasets
    python train/recipes/builtin_model.py -o runs/builtin --mnist mnist.npz     # a local copy
    edge-convert runs/builtin -o models/builtin --precision int8

A step whose files exist is skipped, so a stopped run continues where it stopped.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import hashlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from digit_scenes import draw_scene, vary_handwriting
from tqdm import tqdm

from edge_classify.images.preprocessing import Image, preprocess
from edge_classify.learn.head import Head
from edge_classify.learn.metrics import evaluate
from edge_classify.model.labels import UNKNOWN
from edge_classify.sources.demo import load_digits
from edge_train import run_folder
from edge_train.backbone import MOBILENET, SCALINGS, Backbone, load_backbone, save_weights
from edge_train.feature_model import make_feature_model, open_feature_model

if TYPE_CHECKING:
    import keras

ALPHA = 0.35
RESOLUTION = 96
LABELS = (*"0123456789", UNKNOWN)
CLUTTER = LABELS.index(UNKNOWN)
# The share of training scenes without a digit.
CLUTTER_SHARE = 0.25
HELD_OUT_CLUTTER = 2000
CALIBRATION_SCENES = 330
# A quarter of the training scenes is clutter; a camera that somebody holds digits up to sees less. Subtracted from the
# logit of `unknown`.
CLUTTER_PRIOR = 0.25
BATCH_SIZE = 128
# The highest learning rate: of the first round, and of those that continue from an earlier one.
FIRST_LEARNING_RATE = 3e-3
LATER_LEARNING_RATE = 1.5e-3
WARM_UP_STEPS = 300
# Pixels. Training scenes are drawn small, which is five times as fast; held-out ones as large as a camera's.
TRAINING_HEIGHT = 240
CAMERA_HEIGHT = 480
SCENES_PER_JOB = 250

Scenes = tuple[list[Image | None], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN")
    parser.add_argument(
        "--mnist", type=Path, metavar="FILE", help="mnist.npz as Keras has it (default: downloaded by Keras)"
    )
    parser.add_argument("--scenes", type=int, default=150_000, help="training scenes to draw per round")
    parser.add_argument("--passes", type=int, nargs="+", default=[6, 2], help="epochs on them, per round")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    run: Path = options.output
    if not (run / "prepared").is_dir():  # else it is a stopped run of this recipe
        run_folder.check_run_folder(run)

    (train_digits, train_labels), (test_digits, test_labels) = load_mnist(options.mnist)
    clutter = int(options.scenes * CLUTTER_SHARE)
    held_out = plan_scenes(test_digits, test_labels, len(test_digits), HELD_OUT_CLUTTER, options.seed + 1)
    draw_scenes(
        run / "prepared" / f"{RESOLUTION}_held_out.npy", held_out[0], options.seed + 3, CAMERA_HEIGHT, vary=False
    )
    trained: tuple[Path, Path] | None = None
    for number, passes in enumerate(options.passes):
        seed = options.seed + 10 * number
        training = plan_scenes(train_digits, train_labels, options.scenes - clutter, clutter, seed)
        drawn = run / "prepared" / f"{RESOLUTION}_training_{number}.npy"
        draw_scenes(drawn, training[0], seed + 2, TRAINING_HEIGHT, vary=True)
        before = trained
        trained = run / "weights" / f"round_{number}.weights.h5", run / "heads" / f"round_{number}.npz"
        if not trained[1].exists():
            train_network(np.load(drawn, mmap_mode="r"), training[1], passes, seed, before, *trained)
    write_run(run, drawn, training[1], held_out, *trained, options)


def load_mnist(path: Path | None) -> tuple[tuple[Image, np.ndarray], tuple[Image, np.ndarray]]:
    """MNIST's digits, without those of the demo in the training set."""
    if path is None:
        import keras

        (train, train_labels), test = keras.datasets.mnist.load_data()
    else:
        with np.load(path) as file:
            train, train_labels, test = file["x_train"], file["y_train"], (file["x_test"], file["y_test"])
    shown = {digit.tobytes() for digit in load_digits()[0]}
    kept = np.array([digit.tobytes() not in shown for digit in train])
    return (train[kept], train_labels[kept]), test


def plan_scenes(digits: Image, labels: np.ndarray, count: int, clutter: int, seed: int) -> Scenes:
    """`count` digits, all equally often, and `clutter` scenes without one, in random order."""
    rng = np.random.default_rng(seed)
    chosen = np.concatenate([rng.permutation(len(digits)) for _ in range(-(-count // len(digits)))])[:count]
    plan = [*((digits[index], int(labels[index])) for index in chosen), *([(None, CLUTTER)] * clutter)]
    order = rng.permutation(len(plan))
    return [plan[index][0] for index in order], np.array([plan[index][1] for index in order])


def draw_scenes(path: Path, digits: list[Image | None], seed: int, height: int, *, vary: bool) -> None:
    """Draw the scenes and preprocess them as the device does, on all cores, into one .npy; nothing if it exists."""
    if path.exists():
        return
    starts = range(0, len(digits), SCENES_PER_JOB)
    jobs = [(digits[first : first + SCENES_PER_JOB], seed, first, height, vary) for first in starts]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        prepared = (image for images in pool.map(_draw_chunk, jobs) for image in images)
        with run_folder.prepared_file(path, len(digits), RESOLUTION) as append:
            for image in tqdm(prepared, desc=f"drawing {path.stem}", unit="scene", total=len(digits)):
                append(image)


def _draw_chunk(job: tuple[list[Image | None], int, int, int, bool]) -> Image:
    digits, seed, first, height, vary = job
    cv2.setNumThreads(1)
    prepared = np.empty((len(digits), RESOLUTION, RESOLUTION, 3), np.uint8)
    for row, digit in enumerate(digits):
        rng = np.random.default_rng([seed, first + row])
        written = vary_handwriting(rng, digit) if vary and digit is not None else digit
        preprocess(draw_scene(rng, written, height), prepared[row])
    return prepared


def make_network() -> tuple[keras.Model, keras.layers.Dense, keras.Model]:
    """The backbone, the layer that gives logits on top of it, and the whole network."""
    import keras

    backbone = load_backbone(None, ALPHA, RESOLUTION)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.99  # 0.999 is for the millions of steps of ImageNet
    logits = keras.layers.Dense(len(LABELS), name="head")
    return backbone, logits, keras.Model(backbone.input, logits(backbone.output))


def train_network(
    scenes: Image,
    labels: np.ndarray,
    passes: int,
    seed: int,
    before: tuple[Path, Path] | None,
    weights: Path,
    head: Path,
) -> None:
    """Train backbone and head together by AdamW, with warm-up and a cosine; continues from `before` if there is one."""
    import keras

    keras.utils.set_random_seed(seed)
    backbone, logits, network = make_network()
    if before is not None:
        backbone.load_weights(before[0])
        with np.load(before[1]) as arrays:
            logits.set_weights([arrays["kernel"], arrays["bias"]])

    class Batches(keras.utils.PyDataset):
        epoch = 0

        def __init__(self) -> None:
            super().__init__()
            self.on_epoch_end()

        def __len__(self) -> int:
            return len(scenes) // BATCH_SIZE

        def on_epoch_end(self) -> None:
            self.order = np.random.default_rng([seed, self.epoch]).permutation(len(scenes))
            self.epoch += 1

        def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
            rows = np.sort(self.order[step * BATCH_SIZE : (step + 1) * BATCH_SIZE])
            return SCALINGS[MOBILENET].divide(scenes[rows].astype(np.float32)), labels[rows]

    batches = Batches()
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, len(batches) * passes - WARM_UP_STEPS),
        warmup_target=FIRST_LEARNING_RATE if before is None else LATER_LEARNING_RATE,
        warmup_steps=WARM_UP_STEPS,
    )
    network.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    network.fit(batches, epochs=passes, shuffle=False)
    save_weights(backbone, weights)
    kernel, bias = logits.get_weights()
    run_folder.write_arrays(head, {"kernel": kernel, "bias": bias})


def choose_calibration(labels: np.ndarray) -> np.ndarray:
    """Indices of the first scenes of each label, equally many of each."""
    each = CALIBRATION_SCENES // len(LABELS)
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:each] for label in range(len(LABELS))]))


def write_run(
    run: Path,
    drawn: Path,
    labels: np.ndarray,
    held_out: Scenes,
    weights: Path,
    head: Path,
    options: argparse.Namespace,
) -> None:
    """Write what edge-convert needs, as edge-train does; here `unknown` is a class like the others."""
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    backbone = Backbone(MOBILENET, ALPHA, RESOLUTION, weights, sha256, RESOLUTION, "from scratch")
    model, cost = make_feature_model(backbone)
    features = open_feature_model(model)
    prepared = np.load(run_folder.prepared_path(run, RESOLUTION, run_folder.HELD_OUT), mmap_mode="r")
    with np.load(head) as file:
        kernel, bias = file["kernel"], file["bias"].copy()
    bias[CLUTTER] -= CLUTTER_PRIOR
    probabilities = Head(kernel, bias).probabilities(np.stack([features(image) for image in prepared]))
    figures = evaluate(probabilities, held_out[1], LABELS)
    arrays = {"kernel": kernel, "bias": bias}
    cell = run_folder.new_cell(backbone, cost, weights, arrays, probabilities, {"temperature": 1.0}, figures)

    calibration = choose_calibration(labels)
    scenes = np.load(drawn, mmap_mode="r")
    path = run_folder.prepared_path(run, RESOLUTION, run_folder.CALIBRATION)
    with run_folder.prepared_file(path, len(calibration), RESOLUTION) as append:
        for scene in scenes[calibration]:
            append(scene)

    run_folder.write_index(
        run,
        {
            "labels": LABELS,
            "cells": [run_folder.write_cell(run, cell)],
            "held_out_labels": held_out[1].tolist(),
            "calibration_labels": labels[calibration].tolist(),
            "photos": {
                "fingerprint": hashlib.sha256(prepared.tobytes()).hexdigest(),
                "training": options.scenes * len(options.passes),
                "held_out": len(held_out[1]),
                "skipped": [],
            },
            "seed": options.seed,
            "arguments": {"recipe": "builtin_model", "scenes": options.scenes, "passes": options.passes},
            "versions": run_folder.versions(),
        },
    )
    print(f"held-out accuracy {figures['accuracy']:.2%}; wrote {run}")


if __name__ == "__main__":
    main()
