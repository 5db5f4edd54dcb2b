"""MobileNetV2 without its top: its weights, and the features that it computes."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_classify.errors import DataError, UsageError
from edge_classify.preprocessing import Image

if TYPE_CHECKING:
    import keras

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
RESOLUTIONS = (96, 128, 160, 192, 224)


def find_weights(choice: str, alpha: float, resolution: int, *, seed: int, cache: Path) -> Path:
    """The `.weights.h5` file of a backbone of that width.

    choice: "imagenet" (Keras' own, downloaded once), "none" (random, from `seed`; for tests), a weights file, or a
        folder of files named `mobilenet_v2_{alpha}_{resolution}_no_top.weights.h5`, from which the nearest
        resolution is taken: the weights' shapes do not depend on it.
    Raises UsageError or DataError.
    """
    if choice in ("imagenet", "none"):
        stem = f"imagenet_{alpha}_{resolution}" if choice == "imagenet" else f"none_{alpha}_seed{seed}"
        path = cache / "weights" / f"{stem}.weights.h5"
        if not path.exists():
            _save_weights(choice, alpha, resolution, seed, path)
        return path
    given = Path(choice)
    if given.is_file():
        return given
    if not given.is_dir():
        raise UsageError(
            f"--weights {choice}: no such file or folder; it takes imagenet, "
            "none, a .weights.h5 file or a folder of them"
        )
    fitting = [
        (abs(int(match[1]) - resolution), path)
        for path in sorted(given.glob("*.weights.h5"))
        if (match := re.fullmatch(rf"mobilenet_v2_{re.escape(str(alpha))}_(\d+)_no_top\.weights\.h5", path.name))
    ]
    if not fitting:
        raise UsageError(f"--weights {choice}: no mobilenet_v2_{alpha}_*_no_top.weights.h5 in it")
    return min(fitting)[1]


def _save_weights(choice: str, alpha: float, resolution: int, seed: int, path: Path) -> None:
    import keras

    keras.utils.set_random_seed(seed)
    try:
        model = keras.applications.MobileNetV2(
            input_shape=(resolution, resolution, 3),
            alpha=alpha,
            include_top=False,
            weights="imagenet" if choice == "imagenet" else None,
            pooling="avg",
        )
    except Exception as error:  # Keras raises a bare Exception where the download fails
        raise DataError(
            f"--weights imagenet: the weights for alpha {alpha} at {resolution} could not be had ({error}): "
            "connect to the internet once, or give --weights FILE"
        ) from error
    if choice == "none":
        _settle_batch_norm(model, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / path.name
        model.save_weights(whole)
        whole.replace(path)


def _settle_batch_norm(model: keras.Model, seed: int) -> None:
    """Give random weights the batch norm statistics that they cause: else their features fade to nothing."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    clouds = np.random.default_rng(seed).uniform(-1, 1, (64, 12, 12, 3)).astype(np.float32)
    model(keras.ops.image.resize(clouds, model.input_shape[1:3]), training=True)


def load_backbone(weights: Path, alpha: float, resolution: int) -> keras.Model:
    """MobileNetV2 as Keras Applications has it: float32 [n, R, R, 3] in [-1, 1] → features [n, 1280].

    (1280 features up to alpha 1.0, 1664 at 1.3, 1792 at 1.4.) Raises DataError where the weights do not fit.
    """
    import keras

    model = keras.applications.MobileNetV2(
        input_shape=(resolution, resolution, 3), alpha=alpha, include_top=False, weights=None, pooling="avg"
    )
    try:
        model.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"{weights}: not the weights of a MobileNetV2 of alpha {alpha} without its top") from error
    return model


def feature_function(weights: Path, alpha: float, resolution: int) -> Callable[[Image], np.ndarray]:
    """A function from prepared photos (uint8 RGB, [n, R, R, 3]) to their features (float32, [n, 1280])."""
    import tensorflow as tf

    model = load_backbone(weights, alpha, resolution)

    features = tf.function(
        lambda prepared: model(tf.cast(prepared, tf.float32) / 127.5 - 1.0, training=False),
        input_signature=[tf.TensorSpec((None, resolution, resolution, 3), tf.uint8)],
    )

    return lambda prepared: np.asarray(features(prepared), np.float32)


def copy_weights(weights: Path, folder: Path, sha256: str) -> Path:
    """Put the weights into `folder` once, named by content; returns the copy's path."""
    copy = folder / f"{sha256[:16]}.weights.h5"
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = copy.with_suffix(".partial")
        shutil.copyfile(weights, partial)
        partial.replace(copy)
    return copy
