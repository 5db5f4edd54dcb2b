"""The photos that edge-convert needs, written to the run folder as the device would see them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from edge_classify.images.preprocessing import preprocess
from edge_classify.learn.photos.photo_set import TRAINING, Photo, PhotoSet

from . import run_folder
from .settings import CALIBRATION_PHOTOS
from .training_run import TrainingRun


def choose_calibration(photos: PhotoSet, seed: int) -> list[Photo]:
    """Random training photos for quantization: as many of each class as the smallest has, at most some 200 in all."""
    rng = np.random.default_rng(seed)
    training, classes = photos.of(TRAINING), len(photos.labels)
    labels = np.fromiter((photo.label for photo in training), np.int32, len(training))
    members = [np.flatnonzero(labels == label) for label in range(classes)]
    each = max(1, min(CALIBRATION_PHOTOS // classes, *(len(group) for group in members)))
    chosen = [group[index] for group in members for index in sorted(rng.permutation(len(group))[:each])]
    return [training[index] for index in chosen]


def write_prepared(run: TrainingRun, part: str, photos: Sequence[Photo]) -> None:
    """Write `prepared/{resolution}_{part}.npy` for each resolution of the run; each photo is decoded once."""
    with ExitStack() as files:
        outputs = []
        for side in sorted({backbone.resolution for backbone in run.backbones}):
            path = run_folder.prepared_path(run.folder, side, part)
            append = files.enter_context(run_folder.prepared_file(path, len(photos), side))
            outputs.append((np.empty((side, side, 3), np.uint8), append))
        for photo in photos:
            picture = photo.read(run.root)
            for out, append in outputs:
                append(preprocess(picture, out))
