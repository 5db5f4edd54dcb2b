"""The manifest: what lies in a folder of model files, so that anybody can check it, anywhere, without the photos."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edge_classify.errors import EdgeClassifyError
from edge_classify.model.classifier import Classifier
from edge_classify.model.manifest import FORMAT, MANIFEST, read_manifest
from edge_classify.model.model_file import read_model_file
from edge_classify.system.atomic_write import write_atomic

from .run_folder import Cell, Run
from .versions import converter_versions


def write_manifest(folder: Path, run: Run, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write it whole or not at all; entries are sorted by file."""
    index = run.index
    content = {
        "format": FORMAT,
        "labels": run.labels,
        "data_fingerprint": index["photos"]["fingerprint"],
        "seed": index["seed"],
        "arguments": index["arguments"],
        "versions": {"train": index["versions"], "convert": converter_versions()},
        "files": sorted(entries, key=lambda entry: (entry["alpha"], entry["resolution"], entry["file"])),
    }
    write_atomic(folder / MANIFEST, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def cell_key(run: Run, cell: Cell, *settings: object) -> str:
    """What a cell's files depend on: where this is equal they need not be made again. settings: of the conversion."""
    index = run.index
    told = [
        *(run.labels, cell.name, cell.backbone, cell.parameters, cell.multiply_adds, cell.weights_sha256),
        *(dict(cell.decision), dict(cell.evaluation), index["photos"]["fingerprint"], index["seed"]),
        *(index["arguments"], index["versions"], index["held_out_labels"], converter_versions(), *settings),
    ]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(cell.head):
        digest.update(cell.head[name].tobytes())
    digest.update(cell.held_out_probabilities.tobytes())
    for part in ("calibration", "held_out"):
        digest.update(_digest(run.folder / "prepared" / f"{cell.resolution}_{part}.npy"))
    weights = [cell.weights] if cell.weights.is_file() else sorted(p for p in cell.weights.rglob("*") if p.is_file())
    for path in weights:
        digest.update(_digest(path))
    return digest.hexdigest()


@cache  # cells share them, and they are large
def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def is_whole(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Is the file there, byte for byte as the manifest says?"""
    path = folder / entry["file"]
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == str(entry["sha256"])


def verify(folder: Path) -> tuple[int, list[str]]:
    """Check each file of the manifest: its bytes, what it says of itself, and its self-test on this machine.

    Returns the number of files, and a line for each that is wrong. Raises ModelFileError where there is no manifest.
    """
    entries = read_manifest(folder)["files"]
    wrong = []
    for entry in entries:
        path = folder / entry["file"]
        if not path.is_file():
            wrong.append(f"{path}: missing")
        elif not is_whole(folder, entry):
            wrong.append(f"{path}: its bytes are not those that were measured: copy it again")
        else:
            try:
                Classifier(path)
                told = (read_model_file(path).contract or {}).get("evaluation", {})
                if any(told.get(name) != figure for name, figure in entry["figures"].items()):
                    wrong.append(f"{path}: its own figures are not the manifest's: convert again")
            except EdgeClassifyError as error:
                wrong.append(str(error))
    return len(entries), wrong
