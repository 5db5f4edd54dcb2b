"""The run folder: all that edge-convert needs, and nothing else. See docs/run-folder.md."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edge_classify.errors import DataError
from edge_classify.images.preprocessing import Image
from edge_classify.system.atomic_write import atomic_file, write_atomic

FORMAT = 6
_INDEX = "run.json"


def open_run_folder(folder: Path) -> None:
    """Make the folder ready to be written. Raises DataError if it holds anything but an earlier run."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: a file of that name is in the way: give another folder with -o")
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not (folder / _INDEX).exists()
        and not (folder / "photo_check.json").exists()
    ):
        raise DataError(f"{folder}: holds other files and no earlier run: give another folder with -o")
    folder.mkdir(parents=True, exist_ok=True)


def write_index(folder: Path, index: Mapping[str, Any]) -> None:
    """Write `run.json`, last of all: with it the run is complete."""
    whole = {"format": FORMAT, **index}
    write_atomic(folder / _INDEX, json.dumps(whole, indent=1, ensure_ascii=False))


@contextmanager
def prepared_file(path: Path, count: int, resolution: int) -> Iterator[Callable[[Image], None]]:
    """Write `count` prepared photos as one .npy, uint8 RGB (count, R, R, 3): gives what appends one."""
    with atomic_file(path) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, resolution, resolution, 3)}
        np.lib.format.write_array_header_1_0(file, header)

        def append(image: Image) -> None:
            file.write(image.data)

        yield append


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as one .npz."""
    with atomic_file(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one .npy."""
    with atomic_file(path) as file:
        np.save(file, array)


def versions() -> dict[str, str]:
    """What the run was made with."""
    packages = ("edge-classify", "numpy", "opencv-python-headless", "tensorflow", "keras")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}
