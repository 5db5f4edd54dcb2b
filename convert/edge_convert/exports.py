"""Files beside the model files, for third-party programs that run them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_classify.errors import UsageError
from edge_classify.images.crop import Crop
from edge_classify.system.atomic_write import write_atomic

from .settings import INT8

log = logging.getLogger(__name__)

# rpicam-apps' object_classify_tf stage takes this size, and reads the output as uint8.
_RPICAM_RESOLUTION = 224


def check_exports(names: Sequence[str], resolutions: Iterable[int], precisions: Sequence[str], remedy: str) -> None:
    """Raise UsageError for an export that no file of these resolutions and precisions fits.

    remedy: how to get another resolution.
    """
    if "rpicam" not in names:
        return
    if INT8 not in precisions:
        remedy = f"add {INT8} to --precision"
    elif _RPICAM_RESOLUTION in resolutions:
        return
    raise UsageError(f"--export rpicam: rpicam-apps takes only int8 files at 224 pixels: {remedy}")


def warn_of_crop(names: Sequence[str], crop: Crop | None) -> None:
    """Warn of what the other program must be told of a model that is for a part of the picture."""
    if crop is not None and "rpicam" in names:
        log.warning("--export rpicam: the model is for a part of the picture: start rpicam-apps with --roi %s", crop)
    if crop is not None and "frigate" in names:
        log.warning("--export frigate: the model is for the part %s of the picture: set it as the crop there", crop)


def export_rpicam(folder: Path, labels: Sequence[str], entries: Sequence[Mapping[str, Any]]) -> list[Path]:
    """For each int8 file at 224 pixels the post-processing file of rpicam-apps (`--post-process-file`), and labels.txt.

    Paths in it are file names: rpicam-apps must be started in the folder. Nothing is written if no file fits.
    """
    fitting = [entry for entry in entries if entry["resolution"] == _RPICAM_RESOLUTION and entry["precision"] == INT8]
    if not fitting:
        return []
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


def export_frigate(folder: Path, labels: Sequence[str], entries: Sequence[Mapping[str, Any]]) -> list[Path]:  # noqa: ARG001 - called as all exports are
    """Frigate's labelmap.txt: an index and a label per line."""
    path = folder / "labelmap.txt"
    write_atomic(path, "".join(f"{index} {label}\n" for index, label in enumerate(labels)))
    return [path]


EXPORTS: Mapping[str, Callable[[Path, Sequence[str], Sequence[Mapping[str, Any]]], list[Path]]] = {
    "rpicam": export_rpicam,
    "frigate": export_frigate,
}
