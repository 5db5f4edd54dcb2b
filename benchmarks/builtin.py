"""The built-in digit reader: MNIST's test digits as the device sees them, clutter, photos, and the demo.

    python benchmarks/builtin.py [--mnist mnist.npz]

Digits and clutter are drawn afresh, 640×480 and wider, from a seed that training did not use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, FLOWERS, ROOT, Row, machine, record, show

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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mnist", type=Path, default=DATA / "data" / "mnist" / "mnist.npz")
    options = parser.parse_args()
    print(machine())
    print(f"{BUILTIN_MODEL.name}: {BUILTIN_MODEL.stat().st_size / 1e3:.0f} kB")
    classifier = Classifier()

    def labels(images: Iterable[np.ndarray]) -> np.ndarray:
        return np.array([classifier.classify(image).label for image in images])

    _, (digits, truth) = load_mnist(options.mnist)
    seen = labels(draw_scene(np.random.default_rng([SEED, n]), digit, CAMERA_HEIGHT) for n, digit in enumerate(digits))
    right, refused = np.mean(seen == truth.astype(str)), np.mean(seen == UNKNOWN)
    rows = [row_of("test digits on paper", seen, right=right, unknown=refused)]
    clutter = labels(draw_scene(np.random.default_rng([SEED + 1, n]), None, CAMERA_HEIGHT) for n in range(5000))
    rows.append(row_of("pictures of clutter", clutter, taken=np.mean(clutter != UNKNOWN)))
    for folder in (FLOWERS, DATA / "data" / "trashnet", DATA / "data" / "alien_vs_predator" / "validation"):
        photos = labels(read_photo(path) for path in list_pictures(folder))
        name = folder.relative_to(DATA / "data")
        rows.append(row_of(f"photos of {name}", photos, taken=np.mean(photos != UNKNOWN)))
    frames = [demo.draw(number) for number in range(0, 105 * 200, 7)]
    frames = [frame for frame in frames if frame.truth is not None]
    seen = labels(frame.image for frame in frames)
    rows.append(row_of("frames of the demo", seen, right=np.mean(seen == [frame.truth for frame in frames])))
    record(__file__, rows)


def row_of(pictures: str, seen: np.ndarray, **shares: Any) -> Row:
    """seen: labels. shares: right, unknown (called so), taken (for a digit), from 0 to 1."""
    percent = {name: round(100 * float(share), 2) for name, share in shares.items()}
    row: Row = {
        "pictures": pictures,
        "how many": len(seen),
        "right (%)": percent.get("right"),
        "called unknown (%)": percent.get("unknown"),
        "taken for a digit (%)": percent.get("taken"),
    }
    return show(row)


if __name__ == "__main__":
    main()
