"""The built-in digit reader: MNIST's test digits as the device sees them, clutter, photos, and the demo.

    python benchmarks/builtin.py [--mnist mnist.npz]

Digits and clutter are drawn afresh, 640×480 and wider, from a seed that training did not use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from common import DATA, FLOWERS, ROOT, machine

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.model.interpreter import BUILTIN_MODEL
from edge_classify.model.labels import UNKNOWN
from edge_classify.sources import demo

sys.path.append(str(ROOT / "train" / "recipes"))
from builtin_model import CAMERA_HEIGHT, load_mnist
from digit_scenes import draw_scene

SEED = 20261122


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mnist", type=Path, default=DATA / "data" / "mnist" / "mnist.npz")
    print(machine())
    print(f"{BUILTIN_MODEL.name}: {BUILTIN_MODEL.stat().st_size / 1e3:.0f} kB")
    classifier = Classifier()

    def labels(images: Iterable[np.ndarray]) -> np.ndarray:
        return np.array([classifier.classify(image).label for image in images])

    _, (digits, truth) = load_mnist(parser.parse_args().mnist)
    seen = labels(draw_scene(np.random.default_rng([SEED, n]), digit, CAMERA_HEIGHT) for n, digit in enumerate(digits))
    right, refused = np.mean(seen == truth.astype(str)), np.mean(seen == UNKNOWN)
    print(f"{len(digits)} test digits on paper: {right:.2%} right, {refused:.2%} called unknown")
    clutter = labels(draw_scene(np.random.default_rng([SEED + 1, n]), None, CAMERA_HEIGHT) for n in range(5000))
    print(f"{len(clutter)} pictures of clutter: {np.mean(clutter != UNKNOWN):.2%} taken for a digit")
    for folder in (FLOWERS, DATA / "data" / "trashnet", DATA / "data" / "alien_vs_predator" / "validation"):
        photos = labels(read_photo(path) for path in list_pictures(folder))
        name = folder.relative_to(DATA / "data")
        print(f"{len(photos)} photos of {name}: {np.mean(photos != UNKNOWN):.2%} taken for a digit")
    frames = [demo.draw(number) for number in range(0, 105 * 200, 7)]
    frames = [frame for frame in frames if frame.truth is not None]
    seen = labels(frame.image for frame in frames)
    print(f"{len(frames)} frames of the demo: {np.mean(seen == [frame.truth for frame in frames]):.2%} right")


if __name__ == "__main__":
    main()
