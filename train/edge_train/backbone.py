"""The backbone: which one, and its pretrained weights."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_classify.errors import DataError, UsageError
from edge_classify.system.checksum import file_sha256

from .cache import cache_folder

if TYPE_CHECKING:
    import keras

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
RESOLUTIONS = (96, 128, 160, 192, 224)
HUB = "hub:"
# Keras offers these widths' weights at 224 only.
_ONLY_AT_224 = (1.3, 1.4)


@dataclass(frozen=True)
class Backbone:
    """One backbone with its weights.

    kind: "mobilenet_v2" or "hub". weights: a `.weights.h5` file, or the folder of a SavedModel.
    trained_at: the resolution that the weights were trained at, 0 if nothing says so.
    name: what the weights are called, without where they lie.
    """

    kind: str
    alpha: float
    resolution: int
    weights: Path
    sha256: str
    trained_at: int
    name: str


def find_backbone(choice: str, weights: str, alpha: float, resolution: int, *, seed: int) -> Backbone:
    """The backbone of that width and resolution; downloads it if it has to.

    choice: "mobilenet_v2", or "hub:" and the address or folder of a TF2 SavedModel that takes [0, 1] images.
    weights: for mobilenet_v2: "imagenet" (Keras' own, downloaded once), "none" (random, from `seed`; for tests),
        a `.weights.h5` file, or a folder of files named `mobilenet_v2_{alpha}_{resolution}_no_top.weights.h5`,
        from which the nearest resolution is taken: the weights' shapes do not depend on it.
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
    return Backbone("mobilenet_v2", alpha, resolution, path, sha256, trained_at, path.name)


def available_alphas(weights: str) -> list[float]:
    """The widths that `weights` has. Raises UsageError for a single file, whose width nothing says."""
    if Path(weights).is_file():
        raise UsageError(f"--alpha all: --weights {weights} is one file, of one width: give that width")
    if Path(weights).is_dir():
        return [alpha for alpha in ALPHAS if _files_of(Path(weights), alpha)]
    return list(ALPHAS)


def load_backbone(weights: Path, alpha: float, resolution: int | None = None) -> keras.Model:
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


def copy_weights(backbone: Backbone, folder: Path) -> Path:
    """Put the weights into `folder` once, named by content; returns the copy's path."""
    copy = folder / (backbone.sha256[:16] + ("" if backbone.weights.is_dir() else ".weights.h5"))
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{copy.name}.{os.getpid()}.partial"  # other cells may copy the same
        if backbone.weights.is_dir():
            shutil.copytree(backbone.weights, partial, dirs_exist_ok=True)
        else:
            shutil.copyfile(backbone.weights, partial)
        partial.replace(copy)
    return copy


def _find_weights(choice: str, alpha: float, resolution: int, seed: int) -> tuple[Path, int]:
    if choice in ("imagenet", "none"):
        trained_at = 224 if alpha in _ONLY_AT_224 else resolution
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
            f"--weights {choice}: no such file or folder; it takes imagenet, "
            "none, a .weights.h5 file or a folder of them"
        )
    files = _files_of(given, alpha)
    if not files:
        raise UsageError(f"--weights {choice}: no mobilenet_v2_{alpha}_*_no_top.weights.h5 in it")
    nearest = min(files, key=lambda trained_at: (abs(trained_at - resolution), trained_at))
    return files[nearest], nearest


def _files_of(folder: Path, alpha: float) -> dict[int, Path]:
    """Weights files of one width, by the resolution they were trained at."""
    pattern = re.compile(rf"mobilenet_v2_{re.escape(str(alpha))}_(\d+)_no_top\.weights\.h5")
    return {
        int(match[1]): path for path in sorted(folder.glob("*.weights.h5")) if (match := pattern.fullmatch(path.name))
    }


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


def _hub_folder(address: str) -> Path:
    if Path(address).is_dir():
        return Path(address)
    if "://" not in address:
        raise UsageError(f"--backbone {HUB}{address}: no such folder, and no address of one (https://…)")
    import tensorflow_hub

    try:
        return Path(tensorflow_hub.resolve(address))
    except Exception as error:  # whatever the network has to say
        raise DataError(f"--backbone {HUB}{address}: it could not be had ({error}): give a local folder") from error


def _folder_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()
