"""MobileNetV2 as it comes, with its thousand ImageNet classes: a run folder without training."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_classify.errors import DataError, UsageError
from edge_classify.images.photo import list_pictures, read_photo
from edge_classify.images.preprocessing import Image, preprocess
from edge_classify.labels import read_labels

from .graph import SCALINGS, load_mobilenet
from .run_folder import FORMAT
from .versions import converter_versions

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

CLASSES = 1000
_RESOLUTIONS = (96, 128, 160, 192, 224)
_PHOTOS = 400
_BATCH = 16


@dataclass(frozen=True)
class Choice:
    """Which networks, and where their parts are.

    weights: "imagenet" (Keras' own, downloaded once), or a `.weights.h5` file without the top, which `top` then gives:
        an .npz with `kernel` [F, 1000] and `bias` [1000].
    labels: a file of 1000 lines, or 1001 with the background first; None takes Keras' own.
    photos: pictures of anything, to take int8's ranges from and to compare the files on.
    """

    alphas: Sequence[float]
    resolutions: Sequence[int]
    weights: str = "imagenet"
    top: Path | None = None
    labels: Path | None = None
    photos: Path | None = None


def write_imagenet_run(choice: Choice, folder: Path) -> None:
    """Write a run folder of each width and resolution. Raises UsageError or DataError."""
    import keras

    if other := set(choice.resolutions) - set(_RESOLUTIONS):
        raise UsageError(f"--resolution {min(other)}: one of {', '.join(map(str, _RESOLUTIONS))} is needed")
    labels = _read_labels(choice.labels)
    paths = list_pictures(choice.photos)[:_PHOTOS] if choice.photos else []
    if choice.photos and len(paths) < 2:
        raise DataError(f"--photos {choice.photos}: two pictures at least are needed in it")
    pictures = _read_pictures(paths)
    cells = []
    for resolution in choice.resolutions:
        prepared = _prepare(pictures, resolution)
        (folder / "prepared").mkdir(parents=True, exist_ok=True)
        for part, photos in (("calibration", prepared[::2]), ("held_out", prepared[1::2])):
            np.save(folder / "prepared" / f"{resolution}_{part}.npy", photos)
        for alpha in choice.alphas:
            backbone, kernel, bias = _load(choice, alpha, resolution)
            cells.append(_write_cell(folder, backbone, kernel, bias, alpha, prepared[1::2], choice.weights))
            keras.backend.clear_session()
    digest = hashlib.sha256(b"".join(picture.tobytes() for picture in pictures))
    index = {
        "format": FORMAT,
        "labels": labels,
        "cells": cells,
        "held_out_labels": None,
        "calibration_labels": [0] * len(pictures[::2]),
        "photos": {"fingerprint": digest.hexdigest()},
        "seed": None,
        "arguments": ["imagenet"],
        "versions": converter_versions(),
    }
    (folder / "run.json").write_text(json.dumps(index), "utf-8")


def _read_labels(path: Path | None) -> list[str]:
    if path is None:
        import keras

        try:
            decoded = keras.applications.mobilenet_v2.decode_predictions(np.eye(CLASSES), top=1)
        except Exception as error:  # Keras raises a bare Exception where the download fails
            raise DataError(
                f"the names of ImageNet's classes could not be had ({error}): connect to the internet once, "
                "or give --labels FILE"
            ) from error
        return [name.replace("_", " ") for ((_, name, _),) in decoded]
    labels = read_labels(path)
    if len(labels) == CLASSES + 1:
        labels = labels[1:]
    if len(labels) != CLASSES:
        raise DataError(f"--labels {path}: {len(labels)} lines, {CLASSES} are needed, or one more for the background")
    return list(labels)


def _read_pictures(paths: Sequence[Path]) -> list[Image]:
    pictures = []
    for path in paths:
        try:
            pictures.append(read_photo(path))
        except DataError as error:
            log.warning("skipped %s", error)
    return pictures


def _prepare(pictures: Sequence[Image], resolution: int) -> Image:
    prepared = np.empty((len(pictures), resolution, resolution, 3), np.uint8)
    for picture, row in zip(pictures, prepared, strict=True):
        preprocess(picture, row)
    return prepared


def _load(choice: Choice, alpha: float, resolution: int) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The network without its top, and the top's kernel [F, 1000] and bias [1000]."""
    import keras

    if choice.weights == "imagenet":
        try:
            whole = keras.applications.MobileNetV2(input_shape=(resolution, resolution, 3), alpha=alpha)
        except Exception as error:  # Keras raises a bare Exception where the download fails
            raise DataError(
                f"the weights for alpha {alpha} at {resolution} could not be had ({error}): connect to the internet "
                "once, or give --weights FILE and --top FILE"
            ) from error
        *convolutions, kernel, bias = whole.get_weights()
        backbone = load_mobilenet(None, alpha, resolution)
        backbone.set_weights(convolutions)
        return backbone, kernel, bias
    if choice.top is None:
        raise UsageError("--weights FILE has no top: give its kernel and bias with --top FILE.npz")
    backbone = load_mobilenet(Path(choice.weights), alpha, resolution)
    try:
        with np.load(choice.top) as arrays:
            kernel, bias = arrays["kernel"].astype(np.float32), arrays["bias"].astype(np.float32)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"--top {choice.top}: an .npz with kernel and bias is needed ({error})") from error
    if kernel.shape != (backbone.output.shape[-1], CLASSES) or bias.shape != (CLASSES,):
        raise DataError(
            f"--top {choice.top}: its kernel is {kernel.shape}, ({backbone.output.shape[-1]}, {CLASSES}) is needed"
        )
    return backbone, kernel, bias


def _write_cell(
    folder: Path, backbone: keras.Model, kernel: np.ndarray, bias: np.ndarray, alpha: float, photos: Image, weights: str
) -> Mapping[str, Any]:
    """Write weights and head; returns the cell's entry of run.json."""
    import keras

    resolution = backbone.input_shape[1]
    name = f"{alpha}_{resolution}"
    saved = folder / "weights" / f"{name}.weights.h5"
    saved.parent.mkdir(exist_ok=True)
    backbone.save_weights(saved)
    scaling = SCALINGS["mobilenet_v2"]
    probabilities = np.zeros((len(photos), CLASSES), np.float32)
    for start in range(0, len(photos), _BATCH):
        features = np.asarray(backbone(scaling.apply(photos[start : start + _BATCH]), training=False))
        probabilities[start : start + _BATCH] = keras.ops.softmax(features @ kernel + bias)
    (folder / "heads").mkdir(exist_ok=True)
    np.savez(folder / "heads" / f"{name}.npz", kernel=kernel, bias=bias, held_out_probabilities=probabilities)
    parameters, multiply_adds = kernel.size + bias.size, kernel.size
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            convolution = layer.get_weights()[0]
            positions = int(np.prod(layer.output.shape[1:3]))
            parameters += convolution.size + layer.output.shape[-1]
            multiply_adds += positions * convolution.size
    digest = hashlib.sha256(b"".join(array.tobytes() for array in backbone.get_weights()))
    return {
        "alpha": alpha,
        "resolution": resolution,
        "backbone": "mobilenet_v2",
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "head": f"heads/{name}.npz",
        "weights": f"weights/{name}.weights.h5",
        "weights_name": Path(weights).name,
        "weights_sha256": digest.hexdigest(),
        "decision": {},
        "evaluation": {},
    }
