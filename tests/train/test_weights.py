"""Weights files of Keras: its own downloads, and what it saves today."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import TRAINING

DOWNLOAD = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One backbone with random weights in each format, by suffix; `.h5` under the name of Keras' own download."""
    import h5py
    import keras
    from keras.src.legacy.saving import legacy_h5_format

    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    paths = {".h5": folder / DOWNLOAD, ".weights.h5": folder / "new.weights.h5", ".keras": folder / "whole.keras"}
    with h5py.File(paths[".h5"], "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    model.save_weights(paths[".weights.h5"])
    model.save(paths[".keras"])
    return paths


@pytest.mark.parametrize(("resolution", "taken"), [(96, 96), (128, 96), (160, 224), (192, 224), (224, 224)])
def test_of_a_folder_the_nearest_weights_are_taken_and_the_higher_of_two(
    tmp_path: Path, resolution: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_train.weights import find_backbone

    monkeypatch.setattr("edge_train.weights.has_tensorflow", lambda: True)  # nothing is read here
    for trained_at in (96, 224):
        (tmp_path / f"mobilenet_v2_0.35_{trained_at}_no_top.weights.h5").write_text(str(trained_at))
    assert find_backbone("mobilenet_v2", str(tmp_path), 0.35, resolution, seed=0).trained_at == taken


@pytest.mark.slow
def test_each_format_gives_the_same_weights_also_in_a_run_and_under_another_name(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    from edge_train.backbone import Backbone, copy_weights, load_backbone

    expected = load_backbone(saved[".weights.h5"], 0.35).get_weights()
    for number, (suffix, path) in enumerate(saved.items()):
        backbone = Backbone("mobilenet_v2", 0.35, 96, path, f"{number:016}", 96, path.name)
        copy = copy_weights(backbone, tmp_path)
        assert copy.name == f"{number:016}{suffix}"
        misnamed = Path(shutil.copy(path, tmp_path / "misnamed.weights.h5"))
        for place in (copy, misnamed):
            for found, array in zip(load_backbone(place, 0.35).get_weights(), expected, strict=True):
                np.testing.assert_array_equal(found, array)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_no_crash_of_hdf5(photos: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=1m tmpfs {disk} && exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    environment = {**os.environ, "XDG_CACHE_HOME": str(disk)}
    edge_train = Path(sys.executable).with_name("edge-train")
    words = [*mount, edge_train, photos, "-o", tmp_path / "run", *TRAINING]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    assert done.returncode == 6, done.stderr
    assert re.fullmatch(r"error: .*none_0.35_seed0.weights.h5: the disk is full.*", done.stderr.splitlines()[-1])


@pytest.mark.slow
def test_what_keras_downloads_goes_from_photos_to_a_model_file(
    saved: dict[str, Path], photos: Path, tmp_path: Path, command
) -> None:
    folder = tmp_path / "keras" / "models"  # where Keras looks before it downloads
    folder.mkdir(parents=True)
    shutil.copy(saved[".h5"], folder)
    environment = {**os.environ, "KERAS_HOME": str(folder.parent), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = command("edge-train", photos, "-o", tmp_path / "a", *TRAINING, "--weights", "imagenet", env=environment)
    assert done.returncode == 0, done.stderr
    done = command("edge-train", photos, "-o", tmp_path / "b", *TRAINING, "--weights", folder, env=environment)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "a" / "heads" / "0.35_96.npz") as a, np.load(tmp_path / "b" / "heads" / "0.35_96.npz") as b:
        np.testing.assert_array_equal(a["kernel"], b["kernel"])
    made = ("-o", tmp_path / "models", "--precision", "float32", "--max-drop", 100, "--max-accepted", 100)
    done = command("edge-convert", tmp_path / "b", *made)
    assert done.returncode == 0, done.stderr
