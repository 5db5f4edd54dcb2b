"""Pretrained weights: finding those of a width and resolution, downloading them if need be."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_classify.errors import DataError, UsageError
from edge_classify.system.checksum import file_sha256

from .backbone import ALPHAS, HUB, MOBILENET, ONLY_AT_224, WEIGHTS_SUFFIXES, Backbone, load_backbone, save_weights
from .cache import cache_folder

if TYPE_CHECKING:
    import keras

# In the names of Keras' own downloads.
_KERAS_NAME = "weights_tf_dim_ordering_tf_kernels_"


def find_backbone(choice: str, weights: str, alpha: float, resolution: int, *, seed: int) -> Backbone:
    """The backbone of that width and resolution; downloads it if need be.

    choice: "mobilenet_v2", or "hub:" and the address or folder of a TF2 SavedModel that takes [0, 1] images.
    weights: for mobilenet_v2: "imagenet" (Keras' own, downloaded once), "none" (random, from `seed`; for tests),
        a file, or a folder of files named `mobilenet_v2_{alpha}_{resolution}_no_top` or as Keras' own downloads, with
        one of WEIGHTS_SUFFIXES, from which the nearest resolution is taken, the higher of two: the weights' shapes do
        not depend on it, but with those of 96 pixels `unknown` accepts much at 160, with those of 224 little.
    Raises UsageError or DataError.
    """
    if choice.startswith(HUB):
        folder = _hub_folder(choice.removeprefix(HUB))
        name = choice if "://" in choice else HUB + folder.resolve().name
        return Backbone("hub", alpha, resolution, folder, _folder_sha256(folder), resolution, name)
    path, trained_at = _find_weights(weights, alpha, resolution, seed)
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    return Backbone(MOBILENET, alpha, resolution, path, sha256, trained_at, path.name)


def available_alphas(weights: str) -> list[float]:
    """The widths that `weights` has. Raises UsageError for a single file, which does not name its width."""
    if Path(weights).is_file():
        raise UsageError(f"--alpha all: --weights {weights} is a single file, which fits one width: give its --alpha")
    if Path(weights).is_dir():
        return [alpha for alpha in ALPHAS if _files_of(Path(weights), alpha)]
    return list(ALPHAS)


def _find_weights(choice: str, alpha: float, resolution: int, seed: int) -> tuple[Path, int]:
    if choice in ("imagenet", "none"):
        trained_at = 224 if alpha in ONLY_AT_224 else resolution
        stem = f"imagenet_{alpha}_{trained_at}" if choice == "imagenet" else f"none_{alpha}_seed{seed}"
        path = cache_folder() / "weights" / f"{stem}.weights.h5"
        if not path.exists():
            _save_weights(choice, alpha, trained_at, seed, path)
        return path, trained_at if choice == "imagenet" else 0
    given = Path(choice)
    if given.is_file():
        return given, 0
    if not given.is_dir():
        raise UsageError(
            f"--weights {choice}: no such file or folder: use imagenet, none, a weights file or a folder of them"
        )
    files = _files_of(given, alpha)
    if not files:
        raise UsageError(f"--weights {choice}: no mobilenet_v2_{alpha}_*_no_top.weights.h5 or .h5 in this folder")
    nearest = min(files, key=lambda trained_at: (abs(trained_at - resolution), -trained_at))
    return files[nearest], nearest


def _files_of(folder: Path, alpha: float) -> dict[int, Path]:
    """Weights files of one width, by the resolution they were trained at."""
    suffixes = "|".join(map(re.escape, WEIGHTS_SUFFIXES))
    pattern = re.compile(rf"mobilenet_v2_(?:{_KERAS_NAME})?{re.escape(str(alpha))}_(\d+)_no_top(?:{suffixes})")
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"--weights {folder}: {error.strerror}") from error
    return {int(match[1]): path for path in paths if (match := pattern.fullmatch(path.name))}


def _save_weights(choice: str, alpha: float, resolution: int, seed: int, path: Path) -> None:
    import keras

    keras.utils.set_random_seed(seed)
    if choice == "none":
        model = load_backbone(None, alpha, resolution)
        _settle_batch_norm(model, seed)
    else:
        model = _download(alpha, resolution)
    save_weights(model, path)


def _download(alpha: float, resolution: int) -> keras.Model:
    import keras

    try:
        return keras.applications.MobileNetV2(
            input_shape=(resolution, resolution, 3), alpha=alpha, include_top=False, weights="imagenet", pooling="avg"
        )
    except Exception as error:  # Keras raises a bare Exception if the download fails
        raise DataError(
            f"--weights imagenet: cannot download the weights of alpha {alpha} at {resolution} ({error}): "
            "connect to the internet once, or use --weights FILE"
        ) from error


def _settle_batch_norm(model: keras.Model, seed: int) -> None:
    """Give random weights the batch norm statistics that they cause: without them features fade to nothing."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    clouds = np.random.default_rng(seed).uniform(-1, 1, (64, 12, 12, 3)).astype(np.float32)
    model(keras.ops.image.resize(clouds, model.input_shape[1:3]), training=True)


def _hub_folder(address: str) -> Path:
    if Path(address).is_dir():
        return Path(address)
    if "://" not in address:
        raise UsageError(f"--backbone {HUB}{address}: no such folder: give a folder or an https:// address")
    import tensorflow_hub

    try:
        return Path(tensorflow_hub.resolve(address))
    except Exception as error:  # whatever the network raises
        raise DataError(f"--backbone {HUB}{address}: cannot download it ({error}): give a local folder") from error


def _folder_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()
