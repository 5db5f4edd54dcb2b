"""The run folder: what edge-train writes and edge-convert reads. See docs/run-folder.md.

Writer and reader stand side by side, and both are free of TensorFlow:

    entries = [write_cell(folder, cell) for cell in cells]     # heads/*.npz, and each cell's entry for run.json
    with prepared_file(prepared_path(folder, 96, CALIBRATION), count, 96) as append: ...
    write_index(folder, {"labels": …, "cells": entries, …})    # run.json, last of all
    run = read_run(folder)                                     # run.cells == cells
"""

from __future__ import annotations

import json
import platform
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import indent
from typing import Any, NotRequired, TypedDict

import numpy as np

from edge_classify.errors import DataError
from edge_classify.images.crop import Crop, make_crop
from edge_classify.images.preprocessing import Image
from edge_classify.learn.memory import Memory
from edge_classify.learn.open_set import SHAPE_CONSTANTS
from edge_classify.model.labels import UNKNOWN
from edge_classify.recognize import how_to_train, recognize
from edge_classify.system.atomic_write import atomic_file
from edge_classify.system.nearest import or_nearest_path

from .backbone import Backbone, BackboneCost

FORMAT = 9
# Written first: what the run is of. Written last: the run.
STARTED = "started.json"
INDEX = "run.json"
# A folder within: the run that is being replaced.
REPLACED = ".replaced"
_ALL_OF_A_RUN = (INDEX, "report.html", "photo_check.html", "photo_check.json", "heads", "weights", "prepared")
_NO_FILES = '"files": []'
# The two sets of prepared photos: to take int8's ranges from, and to measure on.
CALIBRATION = "calibration"
HELD_OUT = "held_out"

# Arrays of heads/*.npz that are part of the model; with an `unknown` output those of `open_set.FeatureSpace` too.
CLASS_ARRAYS = ("kernel", "bias")
OPEN_SET_ARRAYS = ("basis", "prototypes", "votes", "shares", "direction")
# One more array of heads/*.npz: what the trainer's own model gives for the held-out photos.
HELD_OUT_PROBABILITIES = "held_out_probabilities"
# And, with an `unknown` output, what model files remember of the training photos: `memory.Memory`.
_MEMORY = ("memory_rows", "memory_labels", "memory_counts")
# What the graph of an `unknown` output needs beside arrays; it lies in the cell's `decision`.
_OPEN_SET_CONSTANTS = ("vote_weight", "sharpness", "threshold", *SHAPE_CONSTANTS)


class CellEntry(TypedDict):
    """A cell in run.json. Paths are relative to the run folder, weights_sha256 is that before fine-tuning."""

    alpha: float
    resolution: int
    backbone: str
    parameters: int
    multiply_adds: int
    head: str
    weights: str
    weights_name: str
    weights_sha256: str
    decision: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    seconds: NotRequired[float]


class Index(TypedDict):
    """All of run.json but its format number.

    labels: in output order. cells: each a `CellEntry`.
    held_out_labels, calibration_labels: class indices in the order of the prepared photos; None if nobody knows what
        the held-out photos show.
    photos: `fingerprint`, and from edge-train also the sizes and files of the split.
    crop: the part of each photo that was used, as `Crop`; missing: all of it.
    """

    labels: Sequence[str]
    cells: Sequence[Mapping[str, Any]]
    held_out_labels: Sequence[int] | None
    calibration_labels: Sequence[int]
    photos: Mapping[str, Any]
    seed: int | None
    arguments: Any
    versions: Mapping[str, str]
    crop: NotRequired[Sequence[float]]


@dataclass(frozen=True)
class Cell:
    """One trained width and resolution.

    backbone: "mobilenet_v2", or "hub": then `weights` is the folder of a SavedModel.
    parameters, multiply_adds: of the whole model.
    arrays: `kernel` [F, K] and `bias` [K], and with an `unknown` output those of `open_set.FeatureSpace`; float32.
    held_out_probabilities: the trainer's own, float32 [n, labels], for the held-out photos in order.
    memory: features of some training photos, for model files to remember; None without an `unknown` output.
    """

    alpha: float
    resolution: int
    backbone: str
    parameters: int
    multiply_adds: int
    weights: Path
    weights_name: str
    weights_sha256: str
    arrays: Mapping[str, np.ndarray]
    decision: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    held_out_probabilities: np.ndarray
    memory: Memory | None = None

    @property
    def name(self) -> str:
        return f"{self.alpha}_{self.resolution}"

    @property
    def has_unknown(self) -> bool:
        return "prototypes" in self.arrays

    @property
    def head(self) -> Mapping[str, np.ndarray]:
        """All that the graph needs after the backbone: the arrays, and the constants of an `unknown` output."""
        if not self.has_unknown:
            return self.arrays
        constants = {name: np.asarray(self.decision[name], np.float32) for name in _OPEN_SET_CONSTANTS}
        return {**self.arrays, **constants}


@dataclass(frozen=True)
class Run:
    """A whole run.

    labels: in output order. classes: without the `unknown` that the graph computes.
    held_out_labels: None if nobody knows what the held-out photos show.
    crop: the part of each photo that was used, and that prepared photos show; None: all of it.
    """

    folder: Path
    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    held_out_labels: np.ndarray | None
    index: Index
    crop: Crop | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.labels[:-1] if self.cells[0].has_unknown and self.labels[-1] == UNKNOWN else self.labels

    def prepared(self, resolution: int, part: str) -> Image:
        """The prepared photos, uint8 RGB [n, R, R, 3], read from disk as needed; part: CALIBRATION or HELD_OUT."""
        return np.load(prepared_path(self.folder, resolution, part), mmap_mode="r")

    def calibration(self, resolution: int, count: int) -> Image:
        """Some `count` of the calibration photos, equally many of each class; uint8 RGB [n, R, R, 3]."""
        labels = np.array(self.index["calibration_labels"], int)
        classes = np.unique(labels)
        chosen = []
        for label in classes:
            members = np.flatnonzero(labels == label)
            each = min(-(-count // len(classes)), len(members))
            chosen += members[np.linspace(0, len(members) - 1, each).astype(int)].tolist()
        return self.prepared(resolution, CALIBRATION)[chosen]


def check_run_folder(folder: Path) -> None:
    """Raise DataError if the folder holds anything but an earlier run. It need not be there."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: this is a file, not a folder: give another name with -o")
    ours = (INDEX, STARTED, "photo_check.json")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in ours):
        raise DataError(f"{folder}: contains files that are not a run: give another folder with -o")


def remove_leftovers(folder: Path) -> None:
    """Remove what a run that was killed had not finished writing. Nobody else may be writing into the folder."""
    for path in folder.rglob(".*.partial*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def set_run_aside(folder: Path) -> None:
    """Move all that makes up a run into REPLACED, until `drop_replaced`; files of others stay where they are.

    STARTED, by which the folder is known, stays too. If the run in REPLACED was never replaced by a finished one, it is
    kept there, and this one is removed.
    """
    if (folder / INDEX).exists():
        drop_replaced(folder)
    aside = folder / REPLACED
    first = not aside.exists()
    aside.mkdir(exist_ok=True)
    if first and (folder / STARTED).exists():
        shutil.copy(folder / STARTED, aside)
    for path in (folder / name for name in _ALL_OF_A_RUN):
        if first and path.exists():
            path.rename(aside / path.name)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def drop_replaced(folder: Path) -> None:
    """Remove the run that `set_run_aside` moved, if there is one: that in its place is finished."""
    if (folder / REPLACED).exists():
        shutil.rmtree(folder / REPLACED)


def prepared_path(folder: Path, resolution: int, part: str) -> Path:
    return folder / "prepared" / f"{resolution}_{part}.npy"


@contextmanager
def prepared_file(path: Path, count: int, resolution: int) -> Iterator[Callable[[Image], None]]:
    """Write `count` prepared photos as one .npy, uint8 RGB [count, R, R, 3]; yields the function that appends one."""
    with atomic_file(path) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, resolution, resolution, 3)}
        np.lib.format.write_array_header_1_0(file, header)

        def append(image: Image) -> None:
            file.write(image.data)

        yield append


def new_cell(
    backbone: Backbone,
    cost: BackboneCost,
    weights: Path,
    arrays: Mapping[str, np.ndarray],
    held_out_probabilities: np.ndarray,
    decision: Mapping[str, Any],
    evaluation: Mapping[str, Any],
) -> Cell:
    """A cell from what was trained, as `Cell` has it; weights: those of `backbone`, or fine-tuned from them."""
    whole = cost.with_head(arrays)
    return Cell(
        alpha=backbone.alpha,
        resolution=backbone.resolution,
        backbone=backbone.kind,
        parameters=whole.parameters,
        multiply_adds=whole.multiply_adds,
        weights=weights,
        weights_name=backbone.name,
        weights_sha256=backbone.sha256,
        arrays=arrays,
        decision=decision,
        evaluation=evaluation,
        held_out_probabilities=held_out_probabilities,
    )


def write_cell(folder: Path, cell: Cell, measured: Mapping[str, np.ndarray] | None = None) -> CellEntry:
    """Write a cell's arrays to heads/; returns its entry for run.json. Its weights must lie in `folder` already.

    measured: further arrays to keep in the file, which no reader needs.
    """
    if unexpected := cell.arrays.keys() - {*CLASS_ARRAYS, *OPEN_SET_ARRAYS}:
        raise ValueError(f"arrays that no reader would find: {sorted(unexpected)}")
    path = folder / "heads" / f"{cell.name}.npz"
    arrays = {**cell.arrays, HELD_OUT_PROBABILITIES: cell.held_out_probabilities}
    write_arrays(path, {**arrays, **_memory_arrays(cell.memory), **(measured or {})})
    return {
        "alpha": cell.alpha,
        "resolution": cell.resolution,
        "backbone": cell.backbone,
        "parameters": cell.parameters,
        "multiply_adds": cell.multiply_adds,
        "head": path.relative_to(folder).as_posix(),
        "weights": cell.weights.relative_to(folder).as_posix(),
        "weights_name": cell.weights_name,
        "weights_sha256": cell.weights_sha256,
        "decision": cell.decision,
        "evaluation": cell.evaluation,
    }


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as one .npz."""
    with atomic_file(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_index(folder: Path, index: Index, files: Iterable[Mapping[str, Any]] = ()) -> None:
    """Write run.json, last of all: with it the run is complete. Of the cells only what `CellEntry` names is written.

    files: for `index["photos"]`, whose own are then empty: entries that are never all in memory at once.
    """
    keys = CellEntry.__annotations__
    cells = [{name: value for name, value in entry.items() if name in keys} for entry in index["cells"]]
    head, none, tail = _as_json({"format": FORMAT, **index, "cells": cells}).partition(_NO_FILES)
    with atomic_file(folder / INDEX) as file:

        def write(text: str) -> None:
            file.write(text.encode(errors="backslashreplace"))  # as `write_atomic` does

        write(head)
        number = -1
        for number, entry in enumerate(files):
            write((",\n" if number else f"{_NO_FILES[:-1]}\n") + indent(_as_json(entry), "   "))
        write((none if number < 0 else "\n  ]") + tail)


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)


def versions(backbone: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the run was made with. backbone: what its backbone files were, whose TensorFlow is then the one that counts.

    A package that is not installed is left out.
    """
    found = {"python": platform.python_version()}
    for package in ("edge-classify", "numpy", "opencv-python-headless"):
        found[package] = version(package)
    for package in ("tensorflow", "keras"):
        with suppress(PackageNotFoundError, KeyError):
            found[package] = version(package) if backbone is None else backbone[package]
    return found


def read_run(folder: Path) -> Run:
    """Raises DataError if it is no run folder, unfinished, damaged, or from an older or newer edge-train."""
    path = folder / INDEX
    if not path.exists():
        raise DataError(_why_no_run(folder))
    try:
        index = json.loads(path.read_text("utf-8"))
        _check_format(folder, index["format"])
        cells = tuple(_read_cell(folder, entry) for entry in index["cells"])
        if not cells:
            raise ValueError("no cells")
        truth = index["held_out_labels"]
        crop = make_crop(index["crop"]) if "crop" in index else None
        run = Run(folder, tuple(index["labels"]), cells, None if truth is None else np.array(truth), index, crop)
        for cell in cells:
            _check_prepared(run, cell.resolution, CALIBRATION, len(index["calibration_labels"]))
            _check_prepared(run, cell.resolution, HELD_OUT, len(cell.held_out_probabilities))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder}: this run is damaged ({error}): make it again with edge-train") from error
    return run


def _why_no_run(folder: Path) -> str:
    """What was given in place of a run folder, and what to do."""
    kind = recognize(folder)
    if kind == "photos":
        return (
            f"{folder}: a folder of photos, not a run folder: first {how_to_train(folder)}, "
            "then edge-convert the folder that it names"
        )
    if kind in ("model file", "model folder"):
        return f"{folder}: a {kind}, which is what edge-convert writes: give the run folder that edge-train wrote"
    if not folder.exists():
        how = f": make one with edge-train PHOTOS -o {folder}"
        return f"{folder}: no such run folder{or_nearest_path(folder, how)}"
    return f"{folder}: no finished run here ({INDEX} is missing): give the folder that edge-train wrote"


def _check_format(folder: Path, number: int) -> None:
    if number > FORMAT:
        raise DataError(f"{folder}: made by a newer edge-train (run format {number}): update edge-classify")
    if number < FORMAT:
        raise DataError(f"{folder}: made by an older edge-train (run format {number}): train again")


def _check_prepared(run: Run, resolution: int, part: str, count: int) -> None:
    expected, found = (count, resolution, resolution, 3), run.prepared(resolution, part).shape
    if found != expected:
        raise ValueError(f"expected {resolution}_{part}.npy of shape {expected}, found {found}")


def _read_cell(folder: Path, entry: CellEntry) -> Cell:
    with np.load(folder / entry["head"]) as file:
        probabilities = file[HELD_OUT_PROBABILITIES]
        optional = [name for name in OPEN_SET_ARRAYS if name in file]
        arrays = {name: file[name] for name in (*CLASS_ARRAYS, *optional)}
        memory = _read_memory({name: file[name] for name in _MEMORY if name in file}, len(arrays["kernel"]))
    cell = Cell(
        alpha=entry["alpha"],
        resolution=entry["resolution"],
        backbone=entry["backbone"],
        parameters=entry["parameters"],
        multiply_adds=entry["multiply_adds"],
        weights=folder / entry["weights"],
        weights_name=entry["weights_name"],
        weights_sha256=entry["weights_sha256"],
        arrays=arrays,
        decision=entry["decision"],
        evaluation=entry["evaluation"],
        held_out_probabilities=probabilities,
        memory=memory,
    )
    if cell.has_unknown and (missing := [name for name in _OPEN_SET_CONSTANTS if name not in cell.decision]):
        raise KeyError(f"decision.{missing[0]}")
    return cell


def _memory_arrays(memory: Memory | None) -> dict[str, np.ndarray]:
    if memory is None:
        return {}
    return dict(zip(_MEMORY, (memory.rows.astype(np.float16), memory.labels, memory.counts), strict=True))


def _read_memory(arrays: Mapping[str, np.ndarray], features: int) -> Memory | None:
    if not arrays:
        return None
    rows, labels, counts = (arrays[name] for name in _MEMORY)
    return Memory(rows.astype(np.float32), features, labels, counts)
