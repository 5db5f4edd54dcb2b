"""The manifest of a folder of model files: anybody can check the files by it, anywhere, without the photos."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edge_classify.errors import EdgeClassifyError
from edge_classify.model.classifier import Classifier
from edge_classify.model.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    ManifestEntry,
    read_manifest,
    unlisted_models,
)
from edge_classify.model.model_file import read_model_file
from edge_classify.system.atomic_write import write_atomic
from edge_classify.system.checksum import file_sha256
from edge_train.run_folder import CALIBRATION, HELD_OUT, Cell, Run, prepared_path

from .settings import Settings
from .versions import converter_versions

# What it means if a field of a manifest differs from this run's.
_DIFFERENCES = {
    "labels": "a run with other classes",
    "data_fingerprint": "a run of other photos",
    "seed": "a run with another --seed",
    "arguments": "a run with other settings",
    "settings": "a conversion with other options (--calibration-photos, --author, --license, --no-memory)",
    "versions": "other versions of edge-classify or its libraries",
}


def write_manifest(folder: Path, run: Run, settings: Settings, entries: Sequence[ManifestEntry]) -> None:
    """Write it whole or not at all; entries are sorted by file."""
    files = sorted(entries, key=lambda entry: (entry["alpha"], entry["resolution"], entry["file"]))
    content = {**_describe(run, settings), "files": files}
    write_atomic(folder / MANIFEST, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def difference(manifest: Manifest, run: Run, settings: Settings) -> str:
    """What the files of a manifest were made from that this run and these settings are not, in words; "" if nothing."""
    now = json.loads(json.dumps(_describe(run, settings)))
    return next((what for name, what in _DIFFERENCES.items() if manifest.get(name) != now[name]), "")


def _describe(run: Run, settings: Settings) -> dict[str, Any]:
    """What all files of a folder have in common."""
    index = run.index
    return {
        "format": FORMAT,
        "labels": run.labels,
        "data_fingerprint": index["photos"]["fingerprint"],
        "seed": index["seed"],
        "arguments": index["arguments"],
        "settings": settings.of_files(),
        "versions": {"train": index["versions"], "convert": converter_versions(run)},
    }


def cell_key(run: Run, cell: Cell, settings: Settings) -> str:
    """A digest of all that a cell's files depend on: while it is equal, they need not be made again."""
    index = run.index
    inputs = [
        run.labels,
        cell.name,
        cell.backbone,
        cell.parameters,
        cell.multiply_adds,
        cell.weights_sha256,
        dict(cell.decision),
        dict(cell.evaluation),
        index["photos"]["fingerprint"],
        index["seed"],
        index["arguments"],
        index["versions"],
        index["held_out_labels"],
        converter_versions(run),
        *settings.of_files().values(),
        *(run.crop or ()),
    ]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for _, array in sorted(cell.head.items()):
        digest.update(array.tobytes())
    digest.update(cell.held_out_probabilities.tobytes())
    if cell.memory is not None:
        digest.update(cell.memory.rows.tobytes())
    for part in (CALIBRATION, HELD_OUT):
        digest.update(_digest(prepared_path(run.folder, cell.resolution, part)))
    weights = [cell.weights] if cell.weights.is_file() else sorted(p for p in cell.weights.rglob("*") if p.is_file())
    for path in weights:
        digest.update(_digest(path))
    return digest.hexdigest()


@cache  # cells share these files, and they are large
def _digest(path: Path) -> bytes:
    return bytes.fromhex(file_sha256(path))


def is_unchanged(folder: Path, entry: ManifestEntry) -> bool:
    """Whether the file is there, byte for byte as the manifest says."""
    path = folder / entry["file"]
    return path.is_file() and file_sha256(path) == entry["sha256"]


def verify(folder: Path) -> tuple[int, list[str]]:
    """Check each file of the manifest: its bytes, the figures recorded in it, and its self-test on this machine.

    Returns the number of files, and one line for each fault; a model file that the manifest does not list is one.
    Raises ModelFileError if there is no manifest.
    """
    manifest = read_manifest(folder)
    faults = [fault for entry in manifest["files"] for fault in _find_faults(folder, entry)]
    unlisted = [f"{path}: not listed in {MANIFEST}: move it away" for path in unlisted_models(folder, manifest)]
    return len(manifest["files"]), [*faults, *unlisted]


def _find_faults(folder: Path, entry: ManifestEntry) -> Iterator[str]:
    path = folder / entry["file"]
    if not path.is_file():
        yield f"{path}: missing"
        return
    if not is_unchanged(folder, entry):
        yield f"{path}: not the file in the manifest (its SHA-256 differs): copy it again"
        return
    try:
        Classifier(path)
        contract = read_model_file(path).contract or {}
    except EdgeClassifyError as error:
        yield str(error)
        return
    recorded: Mapping[str, Any] = contract.get("evaluation", {})
    if any(recorded.get(name) != figure for name, figure in entry["figures"].items()):
        yield f"{path}: its recorded figures differ from the manifest's: convert again"
