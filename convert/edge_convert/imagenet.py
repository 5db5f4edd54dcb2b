"""MobileNetV2 as it comes, with its 1000 ImageNet classes: a run folder without training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_classify.errors import DataError, UsageError
from edge_classify.images.preprocessing import Image, preprocess
from edge_classify.model.label_files import read_labels
from edge_classify.sources.opening import open_source
from edge_classify.system.nearest import or_nearest_path
from edge_train.backbone import (
    MOBILENET,
    ONLY_AT_224,
    SCALINGS,
    Backbone,
    count_cost,
    freeze,
    load_backbone,
    on_pixels,
    save_weights,
)
from edge_train.run_folder import (
    CALIBRATION,
    HELD_OUT,
    Cell,
    new_cell,
    prepared_file,
    prepared_path,
    write_cell,
    write_index,
)

from .settings import INT8
from .versions import converter_versions

if TYPE_CHECKING:
    import keras

KERAS_WEIGHTS = "imagenet"
CLASSES = 1000
# Half of them to take int8's ranges from, half to compare the files on.
_MAX_PHOTOS = 400
_BATCH = 16


@dataclass(frozen=True)
class ImagenetModels:
    """Which networks, and where their parts are. Raises UsageError if they do not fit together.

    weights: "imagenet" (Keras' own, downloaded once), or a weights file without the top.
    top: for a file of weights, an .npz with `kernel` [F, 1000] and `bias` [1000].
    labels: a file of 1000 lines, or 1001 with the background first; None takes Keras' own.
    photos: a folder of pictures of anything, to take int8's ranges from and to compare the files on.
    """

    alphas: Sequence[float] = (1.0,)
    resolutions: Sequence[int] = (224,)
    weights: str = KERAS_WEIGHTS
    top: Path | None = None
    labels: Path | None = None
    photos: Path | None = None

    def __post_init__(self) -> None:
        if self.weights == KERAS_WEIGHTS:
            if self.top is not None:
                raise UsageError("--top goes with --weights FILE: Keras' own weights include the top")
            only_at_224 = [alpha for alpha in self.alphas if alpha in ONLY_AT_224]
            if only_at_224 and set(self.resolutions) != {224}:
                raise UsageError(f"--alpha {only_at_224[0]}: Keras has its weights at --resolution 224 only")
        elif self.top is None:
            raise UsageError("--weights FILE has no top: give its kernel and bias with --top FILE.npz")
        elif len(self.alphas) > 1:
            raise UsageError("--weights FILE fits one width: give one --alpha")

    def check_precisions(self, precisions: Sequence[str]) -> None:
        """Raises UsageError for int8 without photos."""
        if self.photos is None and INT8 in precisions:
            raise UsageError("int8 takes its ranges from pictures: give some with --photos FOLDER")


def write_imagenet_run(models: ImagenetModels, folder: Path) -> None:
    """Write a run folder with a cell for each width and resolution. Raises DataError."""
    labels = _read_labels(models.labels)
    pictures = _read_pictures(models.photos) if models.photos else []
    import keras  # takes seconds, which a missing file should not cost

    entries = []
    for resolution in models.resolutions:
        _write_prepared(folder, resolution, CALIBRATION, pictures[::2])
        held_out = _write_prepared(folder, resolution, HELD_OUT, pictures[1::2])
        for alpha in models.alphas:
            network, kernel, bias = _load(models, alpha, resolution)
            cell = _make_cell(folder, network, {"kernel": kernel, "bias": bias}, alpha, held_out, models.weights)
            entries.append(write_cell(folder, cell))
            keras.backend.clear_session()
    digest = hashlib.sha256(b"".join(picture.tobytes() for picture in pictures))
    write_index(
        folder,
        {
            "labels": labels,
            "cells": entries,
            "held_out_labels": None,
            "calibration_labels": [0] * len(pictures[::2]),
            "photos": {"fingerprint": digest.hexdigest()},
            "seed": None,
            "arguments": ["imagenet"],
            "versions": converter_versions(),
        },
    )


def _read_labels(path: Path | None) -> list[str]:
    if path is None:
        import keras

        try:
            decoded = keras.applications.mobilenet_v2.decode_predictions(np.eye(CLASSES), top=1)
        except Exception as error:  # Keras raises a bare Exception if the download fails
            raise DataError(
                f"cannot download the names of ImageNet's classes ({error}): connect to the internet once, "
                "or use --labels FILE"
            ) from error
        return [name.replace("_", " ") for ((_, name, _),) in decoded]
    labels = read_labels(path)
    if len(labels) == CLASSES + 1:
        labels = labels[1:]
    if len(labels) != CLASSES:
        raise DataError(
            f"--labels {path}: expected {CLASSES} lines, or {CLASSES + 1} with the background first, "
            f"found {len(labels)}"
        )
    return list(labels)


def _read_pictures(folder: Path) -> list[Image]:
    if not folder.is_dir():
        raise DataError(f"--photos {folder}: no such folder{or_nearest_path(folder)}")
    with open_source(folder) as source:
        pictures = [frame.image for frame in islice(source, _MAX_PHOTOS)]
    if len(pictures) < 2:
        raise DataError(f"--photos {folder}: expected at least two pictures, found {len(pictures)}")
    return pictures


def _write_prepared(folder: Path, resolution: int, part: str, pictures: Sequence[Image]) -> Image:
    """Write the pictures as the device would see them; returns them, uint8 RGB [n, R, R, 3]."""
    prepared = np.empty((len(pictures), resolution, resolution, 3), np.uint8)
    with prepared_file(prepared_path(folder, resolution, part), len(pictures), resolution) as append:
        for picture, image in zip(pictures, prepared, strict=True):
            append(preprocess(picture, image))
    return prepared


def _load(models: ImagenetModels, alpha: float, resolution: int) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The network without its top, and the top's kernel [F, 1000] and bias [1000]."""
    if models.top is None:
        return _download(alpha, resolution)
    network = load_backbone(Path(models.weights), alpha, resolution)
    features = network.output.shape[-1]
    try:
        with np.load(models.top) as arrays:
            kernel, bias = arrays["kernel"].astype(np.float32), arrays["bias"].astype(np.float32)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"--top {models.top}: expected an .npz with kernel and bias ({error})") from error
    if kernel.shape != (features, CLASSES) or bias.shape != (CLASSES,):
        raise DataError(
            f"--top {models.top}: expected kernel {(features, CLASSES)} and bias {(CLASSES,)}, "
            f"found {kernel.shape} and {bias.shape}"
        )
    return network, kernel, bias


def _download(alpha: float, resolution: int) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    import keras

    try:
        whole = keras.applications.MobileNetV2(input_shape=(resolution, resolution, 3), alpha=alpha)
    except Exception as error:  # Keras raises a bare Exception if the download fails
        raise DataError(
            f"cannot download the weights of alpha {alpha} at {resolution} ({error}): connect to the internet once, "
            "or use --weights FILE and --top FILE"
        ) from error
    *convolutions, kernel, bias = whole.get_weights()
    network = load_backbone(None, alpha, resolution)
    network.set_weights(convolutions)
    return network, kernel, bias


def _make_cell(
    folder: Path, network: keras.Model, top: dict[str, np.ndarray], alpha: float, held_out: Image, weights: str
) -> Cell:
    """The cell of a network and its top, run on the held-out photos; its weights are written into `folder`."""
    resolution = network.input_shape[1]
    path = folder / "weights" / f"{alpha}_{resolution}.weights.h5"
    save_weights(network, path)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in network.get_weights()))
    backbone = Backbone(MOBILENET, alpha, resolution, path, digest.hexdigest(), resolution, Path(weights).name)
    cost = count_cost(freeze(on_pixels(network), resolution))
    return new_cell(backbone, cost, path, top, _classify(network, top, held_out), decision={}, evaluation={})


def _classify(network: keras.Model, top: dict[str, np.ndarray], photos: Image) -> np.ndarray:
    """Probabilities, float32 [n, 1000], of prepared photos."""
    import keras

    probabilities = np.zeros((len(photos), CLASSES), np.float32)
    for start in range(0, len(photos), _BATCH):
        scaled = SCALINGS[MOBILENET].apply(photos[start : start + _BATCH])
        features = np.asarray(network(scaled, training=False))
        probabilities[start : start + _BATCH] = keras.ops.softmax(features @ top["kernel"] + top["bias"])
    return probabilities
