"""Files beside the model files, for third-party programs that run them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_classify.errors import UsageError
from edge_classify.system.atomic_write import write_atomic
from edge_train.run_folder import Run

from .settings import INT8

# rpicam-apps' object_classify_tf stage takes this size, and reads the output as uint8.
_RPICAM_RESOLUTION = 224


def check_exports(names: Sequence[str], run: Run) -> None:
    """Raises UsageError for an export that no cell of the run fits."""
    if "rpicam" in names and not any(cell.resolution == _RPICAM_RESOLUTION for cell in run.cells):
        raise _no_file_for_rpicam()


def export_rpicam(folder: Path, labels: Sequence[str], entries: Sequence[Mapping[str, Any]]) -> list[Path]:
    """For each int8 file at 224 pixels the post-processing file of rpicam-apps (`--post-process-file`), and labels.txt.

    Paths in it are file names: rpicam-apps must be started in the folder. Raises UsageError if no file fits.
    """
    fitting = [entry for entry in entries if entry["resolution"] == _RPICAM_RESOLUTION and entry["precision"] == INT8]
    if not fitting:
        raise _no_file_for_rpicam()
    names = folder / "labels.txt"
    write_atomic(names, "".join(f"{label}\n" for label in labels))
    written = [names]
    for entry in fitting:
        stages = {
            "object_classify_tf": {
                "number_of_results": 1,
                "number_of_threads": 2,
                "refresh_rate": 5,
                "threshold_high": 0.6,
                "threshold_low": 0.4,
                "model_file": entry["file"],
                "labels_file": names.name,
                "display_labels": 1,
                "verbose": 0,
            },
            "annotate_cv": {"text": "", "fg": 255, "bg": 0, "scale": 1.0, "thickness": 2, "alpha": 0.3},
        }
        path = folder / f"{Path(entry['file']).stem}_rpicam.json"
        write_atomic(path, json.dumps(stages, indent=1) + "\n")
        written.append(path)
    return written


def _no_file_for_rpicam() -> UsageError:
    return UsageError("--export rpicam: rpicam-apps takes only int8 files at 224 pixels: train with --resolution 224")


def export_frigate(folder: Path, labels: Sequence[str], entries: Sequence[Mapping[str, Any]]) -> list[Path]:  # noqa: ARG001 - called as all exports are
    """Frigate's labelmap.txt: an index and a label per line."""
    path = folder / "labelmap.txt"
    write_atomic(path, "".join(f"{index} {label}\n" for index, label in enumerate(labels)))
    return [path]


EXPORTS: Mapping[str, Callable[[Path, Sequence[str], Sequence[Mapping[str, Any]]], list[Path]]] = {
    "rpicam": export_rpicam,
    "frigate": export_frigate,
}
