"""Photos to train on without a camera: handwritten digits on drawn paper, and clutter as `unknown/`.

    python train/recipes/digit_photos.py -o build/digits
    edge-train build/digits

What is drawn depends only on the seed and on the digits in the package, so it is the same everywhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from digit_scenes import draw_scene, vary_handwriting

from edge_classify.model.labels import UNKNOWN
from edge_classify.sources.demo import load_digits


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PHOTOS")
    parser.add_argument("--each", type=int, default=100, help="photos per digit, and of clutter")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    digits, labels = load_digits()
    for kind, label in enumerate((*"0123456789", UNKNOWN)):
        folder: Path = options.output / label
        folder.mkdir(parents=True, exist_ok=True)
        hands = digits[labels == kind]
        for number in range(options.each):
            rng = np.random.default_rng((options.seed, kind, number))
            digit = vary_handwriting(rng, hands[rng.integers(len(hands))]) if len(hands) else None
            cv2.imwrite(str(folder / f"{number:04}.png"), draw_scene(rng, digit))


if __name__ == "__main__":
    main()
