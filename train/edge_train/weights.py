"""Pretrained weights: finding those of a width and resolution, downloading them if need be."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_classify.errors import DataError, UsageError
from edge_classify.system.checksum import file_sha256

from .backbone import (
    ALPHAS,
    HUB,
    MOBILENET,
    ONLY_AT_224,
    RESOLUTIONS,
    WEIGHTS_SUFFIXES,
    Backbone,
    has_tensorflow,
    is_backbone_file,
    load_backbone,
    require_tensorflow,
    save_weights,
)
from .backbone_file import backbone_file_name, read_backbone_file
from .cache import cache_folder, open_cache
from .features import has_feature_model
from .published import fetch_backbone_file

if TYPE_CHECKING:
    import keras

# In the names of Keras' own downloads.
_KERAS_NAME = "weights_tf_dim_ordering_tf_kernels_"
# What to use where TensorFlow is not installed.
_INSTEAD = "use a backbone file (--backbone FILE.tflite) or a folder of them (--weights FOLDER)"


def find_backbone(choice: str, weights: str, alpha: float, resolution: int, *, seed: int) -> Backbone:
    """The backbone of that width and resolution; downloads it if need be.

    choice: "mobilenet_v2", or "hub:" and the address or folder of a TF2 SavedModel that takes [0, 1] images.
    weights: for mobilenet_v2: "imagenet" (Keras' own, downloaded once), "none" (random, from `seed`; for tests),
        a file, or a folder of files named `mobilenet_v2_{alpha}_{resolution}_no_top` or as Keras' own downloads, with
        one of WEIGHTS_SUFFIXES, from which the nearest resolution is taken, the higher of two: the weights' shapes do
        not depend on it, but with those of 96 pixels `unknown` accepts much at 160, with those of 224 little. A file
        may also be a backbone file, of this width and resolution; in a folder it goes before others.
    Raises UsageError or DataError, also if TensorFlow is not installed and would be needed.
    """
    if choice.startswith(HUB):
        folder = _hub_folder(choice.removeprefix(HUB))
        name = choice if "://" in choice else HUB + folder.resolve().name
        backbone = Backbone("hub", alpha, resolution, folder, _folder_sha256(folder), resolution, name)
        _check_computable(backbone)
        return backbone
    path, trained_at = _find_weights(weights, alpha, resolution, seed)
    try:
        sha256 = file_sha256(path)
        if is_backbone_file(path):
            trained_at = _trained_at(path, alpha, resolution)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    backbone = Backbone(MOBILENET, alpha, resolution, path, sha256, trained_at, path.name)
    _check_computable(backbone)
    return backbone


def _trained_at(path: Path, alpha: float, resolution: int) -> int:
    """Which resolution a backbone file's weights were trained at. Raises UsageError if it is of another cell."""
    file = read_backbone_file(path)
    if (file.alpha, file.resolution) != (alpha, resolution):
        raise UsageError(
            f"{path}: a backbone file of {file.alpha} @ {file.resolution}, not {alpha} @ {resolution}: give it with "
            "--backbone alone, which needs no --alpha and --resolution"
        )
    return file.trained_at


def _was_read(weights: Path, resolution: int) -> bool:
    """Whether TensorFlow made a feature model of these weights once, which is in the cache."""
    if not weights.exists():
        return False
    backbone = Backbone(MOBILENET, 0, resolution, weights, file_sha256(weights), 0, weights.name)
    with open_cache() as database:
        return has_feature_model(database, backbone)


def _check_computable(backbone: Backbone) -> None:
    """Raise DataError for weights that only TensorFlow reads, where it is not installed, unless they were read once."""
    if has_tensorflow() or is_backbone_file(backbone.weights):
        return
    with open_cache() as database:
        if not has_feature_model(database, backbone):
            what = f"--backbone {backbone.name}" if backbone.kind == "hub" else f"--weights {backbone.name}: reading it"
            require_tensorflow(what, _INSTEAD)


def available_alphas(weights: str) -> list[float]:
    """The widths that `weights` has. Raises UsageError for a single file, which does not name its width."""
    if Path(weights).is_file():
        raise UsageError(f"--alpha all: --weights {weights} is a single file, which fits one width: give its --alpha")
    if Path(weights).is_dir():
        folder = Path(weights)
        return [alpha for alpha in ALPHAS if _files_of(folder, alpha) or _has_backbone_file(folder, alpha)]
    return list(ALPHAS)


def _has_backbone_file(folder: Path, alpha: float) -> bool:
    return any((folder / backbone_file_name(alpha, resolution)).exists() for resolution in RESOLUTIONS)


def _find_weights(choice: str, alpha: float, resolution: int, seed: int) -> tuple[Path, int]:
    if choice in ("imagenet", "none"):
        trained_at = 224 if alpha in ONLY_AT_224 else resolution
        stem = f"imagenet_{alpha}_{trained_at}" if choice == "imagenet" else f"none_{alpha}_seed{seed}"
        path = cache_folder() / "weights" / f"{stem}.weights.h5"
        if choice == "imagenet" and not has_tensorflow() and not _was_read(path, resolution):
            return fetch_backbone_file(alpha, resolution), trained_at
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
    whole = given / backbone_file_name(alpha, resolution)
    if whole.exists():
        return whole, 0
    files = _files_of(given, alpha)
    if not files:
        raise UsageError(
            f"--weights {choice}: no mobilenet_v2_{alpha}_*_no_top.weights.h5 or .h5 in this folder, "
            f"and no {whole.name}"
        )
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
    require_tensorflow(f"--weights {choice}", _INSTEAD)
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
            "connect to the internet once, or use --weights with a weights file or a folder of them"
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
    require_tensorflow(f"--backbone {HUB}", _INSTEAD, ("tensorflow>=2.20,<3", "tensorflow-hub", "setuptools<81"))
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
