"""Make backbone files, from which edge-train and edge-convert work without TensorFlow, and their manifest.

    python train/recipes/backbones.py -o build/backbones                             # Keras downloads the weights
    python train/recipes/backbones.py -o build/backbones --weights FOLDER --photos pictures

int8 takes its ranges from the pictures, or from drawn ones. A cell whose file exists is not made again.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import logging
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import numpy as np

from edge_classify.errors import DataError
from edge_classify.images.preprocessing import Image, preprocess
from edge_classify.learn.photos.made_negatives import DRAWN_KINDS, draw
from edge_classify.sources.opening import open_source
from edge_classify.system.atomic_write import write_atomic
from edge_convert.backbone_making import make_backbone_file
from edge_convert.cell_files import prepare_process
from edge_train.backbone import ALPHAS, MOBILENET, RESOLUTIONS, TENSORFLOW_MEMORY_BYTES, Backbone
from edge_train.backbone_file import backbone_file_name
from edge_train.published import write_manifest
from edge_train.weights import find_backbone
from edge_train.workers import in_processes

# Of pictures to take ranges from.
_MAX_PHOTOS = 200
_DRAWN_EACH = 50


@dataclass(frozen=True)
class Job:
    """One file to make. photos: None for drawn pictures."""

    path: Path
    backbone: Backbone
    photos: Path | None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", default="imagenet", metavar="W", help="as edge-train takes them")
    parser.add_argument("--alpha", nargs="+", default=["all"], metavar="A")
    parser.add_argument("--resolution", nargs="+", default=["all"], metavar="R")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="pictures of anything, for int8's ranges")
    options = parser.parse_args()
    alphas = ALPHAS if options.alpha == ["all"] else map(float, options.alpha)
    resolutions = list(RESOLUTIONS if options.resolution == ["all"] else map(int, options.resolution))
    jobs = []
    for alpha, resolution in product(alphas, resolutions):
        path = options.output / backbone_file_name(alpha, resolution)
        if not path.exists():
            # Here, not in the workers: cells share downloads.
            backbone = find_backbone(MOBILENET, options.weights, alpha, resolution, seed=0)
            jobs.append(Job(path, backbone, options.photos))
    for line in in_processes(make_file, jobs, prepare_process, TENSORFLOW_MEMORY_BYTES, lambda job: job.path.name):
        print(line, flush=True)
    write_manifest(options.output)


def make_file(job: Job) -> str:
    """Write a cell's file; returns a line about it."""
    calibration = [preprocess(picture, _square(job.backbone.resolution)) for picture in _pictures(job.photos)]
    data = make_backbone_file(job.backbone, np.stack(calibration))
    write_atomic(job.path, data)
    return f"{job.path.name}  {len(data) / 1e6:.1f} MB, of {job.backbone.name}"


def _square(side: int) -> Image:
    return np.empty((side, side, 3), np.uint8)


def _pictures(folder: Path | None) -> list[Image]:
    """uint8 BGR of any size."""
    if folder is None:
        return [draw(f"ranges {kind} {number}") for kind in DRAWN_KINDS for number in range(_DRAWN_EACH)]
    logging.disable(logging.WARNING)
    with open_source(folder) as source:
        pictures = [frame.image for frame in islice(source, _MAX_PHOTOS)]
    if not pictures:
        raise DataError(f"--photos {folder}: no pictures in this folder")
    return pictures


if __name__ == "__main__":
    main()
