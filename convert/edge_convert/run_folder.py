"""Reading what edge-train wrote: the run folder. See docs/run-folder.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_classify.errors import DataError
from edge_classify.images.preprocessing import Image
from edge_classify.labels import UNKNOWN

FORMAT = 6
_UNKNOWN = ("basis", "prototypes", "votes", "direction")
_SHAPE_CONSTANTS = ("sharpness", "threshold", "steepness", "leak", "tail")


@dataclass(frozen=True)
class Cell:
    """One trained width and resolution.

    backbone: "mobilenet_v2", or "hub": then `weights` is the folder of a SavedModel.
    parameters, multiply_adds: of the whole model.
    head: `kernel` [F, K], `bias` [K], and with an `unknown` output what `graph.Classifier` wants for it.
    held_out_probabilities: the trainer's own, float32 [n, labels], for the held-out photos in order.
    """

    alpha: float
    resolution: int
    backbone: str
    parameters: int
    multiply_adds: int
    weights: Path
    weights_name: str
    weights_sha256: str
    head: Mapping[str, np.ndarray]
    decision: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    held_out_probabilities: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.alpha}_{self.resolution}"


@dataclass(frozen=True)
class Run:
    """A whole run.

    labels: in output order. classes: without the `unknown` that the graph computes.
    held_out_labels: None where nobody said what the held-out photos show.
    """

    folder: Path
    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    held_out_labels: np.ndarray | None
    index: Mapping[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        has_unknown = "prototypes" in self.cells[0].head
        return self.labels[:-1] if has_unknown and self.labels[-1] == UNKNOWN else self.labels

    def prepared(self, resolution: int, part: str) -> Image:
        """The prepared photos, uint8 RGB [n, R, R, 3], read from disk as needed; part: "calibration" or "held_out"."""
        prepared: Image = np.load(self.folder / "prepared" / f"{resolution}_{part}.npy", mmap_mode="r")
        return prepared

    def calibration(self, resolution: int, count: int) -> Image:
        """Some `count` of the calibration photos, equally many of each class; uint8 RGB [n, R, R, 3]."""
        labels = np.array(self.index["calibration_labels"], int)
        classes = np.unique(labels)
        chosen = []
        for label in classes:
            members = np.flatnonzero(labels == label)
            each = min(-(-count // len(classes)), len(members))
            chosen += members[np.linspace(0, len(members) - 1, each).astype(int)].tolist()
        return self.prepared(resolution, "calibration")[chosen]


def read_run(folder: Path) -> Run:
    """Raises DataError if it is no run folder, unfinished, damaged, or from a newer edge-train."""
    path = folder / "run.json"
    if not path.exists():
        raise DataError(
            f"{folder}: no finished run in it (run.json is missing): make one with edge-train PHOTOS -o {folder}"
        )
    try:
        index = json.loads(path.read_text("utf-8"))
        if index["format"] > FORMAT:
            raise DataError(
                f"{folder}: made by a newer edge-train (run format {index['format']}): "
                "pip install --upgrade edge-classify"
            )
        if index["format"] < FORMAT:
            raise DataError(f"{folder}: made by an older edge-train (run format {index['format']}): train again")
        cells = tuple(_read_cell(folder, entry) for entry in index["cells"])
        truth = index["held_out_labels"]
        run = Run(folder, tuple(index["labels"]), cells, None if truth is None else np.array(truth), index)
        for cell in cells:
            for part, count in (
                ("calibration", len(index["calibration_labels"])),
                ("held_out", len(cell.held_out_probabilities)),
            ):
                shape = run.prepared(cell.resolution, part).shape
                if shape != (count, cell.resolution, cell.resolution, 3):
                    raise ValueError(f"{cell.resolution}_{part}.npy has shape {shape}")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(f"{folder}: this run is damaged ({error}): make it again with edge-train") from error
    return run


def _read_cell(folder: Path, entry: Mapping[str, Any]) -> Cell:
    with np.load(folder / entry["head"]) as arrays:
        probabilities = arrays["held_out_probabilities"]
        head = {name: arrays[name] for name in ("kernel", "bias", *_UNKNOWN) if name in arrays}
    if "prototypes" in head:
        head.update({name: np.float32(entry["decision"][name]) for name in _SHAPE_CONSTANTS})
    return Cell(
        alpha=entry["alpha"],
        resolution=entry["resolution"],
        backbone=entry["backbone"],
        parameters=entry["parameters"],
        multiply_adds=entry["multiply_adds"],
        weights=folder / entry["weights"],
        weights_name=entry["weights_name"],
        weights_sha256=entry["weights_sha256"],
        head=head,
        decision=entry["decision"],
        evaluation=entry["evaluation"],
        held_out_probabilities=probabilities,
    )
