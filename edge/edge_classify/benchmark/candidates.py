"""Which model files are to be measured, and what each says about itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EdgeClassifyError, ModelFileError
from ..model.answers import Answers, decode
from ..model.manifest import MANIFEST, ManifestEntry, read_manifest, unlisted_models
from ..model.model_file import read_model_file
from ..recognize import recognize, why_no_model_file
from ..system.checksum import file_sha256
from ..system.nearest import or_nearest_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A model file and what it says about itself; None where it says nothing.

    accuracy: the share of `photos` held-out photos that it showed correctly where it was made, 0 to 1.
    validation: of its cell, for the photos that choices are made on; all precisions of a cell have the same.
    lost, gained: how many held-out photos are correct with the trained float model alone, and with this file alone.
    accepted: the share of the negatives made to test `unknown` that get a class's label, 0 to 1.
    """

    path: Path
    sha256: str
    bytes: int
    alpha: float | None
    resolution: int | None
    precision: str | None
    multiply_adds: int | None
    accuracy: float | None
    photos: int | None
    labels: tuple[str, ...] | None
    data_fingerprint: str | None
    validation: Answers | None = None
    lost: int = 0
    gained: int = 0
    accepted: float | None = None

    @property
    def name(self) -> str:
        return self.path.stem


def list_models(names: Iterable[str | Path]) -> list[Path]:
    """The model files that are named: files, those of folders, those of manifests. Raises ModelFileError.

    Of a folder with a manifest those that it lists.
    """
    return list(_list_models(names))


def read_candidates(names: Iterable[str | Path], unusable: list[EdgeClassifyError] | None = None) -> list[Candidate]:
    """Read the files of `list_models`; sorted by alpha, resolution, precision and name.

    unusable: gets the errors of files that cannot be read; without it, or if there is no other file, they are raised.

    Raises ModelFileError for a file that is missing, damaged, or not the one that its manifest lists.
    """
    paths = [Path(name) for name in names]
    for folder in paths:
        _warn_of_strays(folder)
    candidates = []
    models = _list_models(paths)
    for path, entry in models.items():
        try:
            candidates.append(_read_candidate(path, entry))
        except ModelFileError as error:
            if unusable is None or len(models) == 1:
                raise
            leave_out(error, unusable)
    if unusable and not candidates:
        raise unusable[0]
    return sorted(
        candidates,
        key=lambda candidate: (
            candidate.alpha or 0,
            candidate.resolution or 0,
            candidate.precision or "",
            candidate.name,
        ),
    )


def leave_out(error: EdgeClassifyError, unusable: list[EdgeClassifyError]) -> None:
    """Say that a file is left out, and go on: one bad file does not end the measurement of a folder."""
    log.warning("left out: %s", error)
    unusable.append(error)


def warn_of_different_photos(candidates: Iterable[Candidate]) -> None:
    fingerprints = {candidate.data_fingerprint for candidate in candidates if candidate.accuracy is not None}
    if len(fingerprints) > 1:
        log.warning("the accuracies of these files were measured on different photos and cannot be compared")


def model_sha256(path: Path) -> str:
    """Raises ModelFileError."""
    try:
        return file_sha256(path)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such model file or folder of them{or_nearest_path(path)}") from None
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error


def _list_models(names: Iterable[str | Path]) -> dict[Path, ManifestEntry | None]:
    """Each file, with its entry if it is named by a manifest."""
    found: dict[Path, ManifestEntry | None] = {}
    for path in map(Path, names):
        if path.is_dir():
            for file, entry in _models_in(path).items():
                found.setdefault(file, entry)
        elif path.suffix == ".json":
            for entry in read_manifest(path)["files"]:
                found[path.parent / entry["file"]] = entry
        else:
            found.setdefault(path, None)
    return found


def _models_in(folder: Path) -> dict[Path, ManifestEntry | None]:
    """The model files in a folder, without those that are not listed in its manifest, if it has one."""
    files = sorted(folder.glob("*.tflite"))
    if not files:
        if recognize(folder) in ("run folder", "photos"):
            raise ModelFileError(why_no_model_file(folder))
        raise ModelFileError(f"{folder}: no .tflite file in this folder")
    if not (folder / MANIFEST).exists():
        return dict.fromkeys(files)
    entries = {folder / entry["file"]: entry for entry in read_manifest(folder)["files"]}
    listed: dict[Path, ManifestEntry | None] = {file: entries[file] for file in files if file in entries}
    if not listed:
        raise ModelFileError(f"{folder}: no .tflite file in this folder is listed in its {MANIFEST}: name the files")
    return listed


def _warn_of_strays(folder: Path) -> None:
    """Say which files of a folder are left out, since its manifest does not list them."""
    if folder.is_dir() and (folder / MANIFEST).exists():
        for path in unlisted_models(folder, read_manifest(folder)):
            log.warning("left out: %s: not listed in %s: name the file to measure it, too", path, MANIFEST)


def _read_candidate(path: Path, entry: ManifestEntry | None) -> Candidate:
    file = read_model_file(path)
    sha256 = model_sha256(path)
    if entry is not None and entry["sha256"] != sha256:
        raise ModelFileError(f"{path}: not the file that the manifest lists (its SHA-256 differs): copy it again")
    contract = file.contract or {}
    model = contract.get("model", {})
    evaluation = contract.get("evaluation", {})
    return Candidate(
        path=path,
        sha256=sha256,
        bytes=path.stat().st_size,
        alpha=model.get("alpha"),
        resolution=model.get("resolution"),
        precision=model.get("precision"),
        multiply_adds=model.get("multiply_adds"),
        # Files from before `unknown` counted as wrong have the accuracy among the classes only.
        accuracy=evaluation.get("accuracy_with_unknown", evaluation.get("accuracy")),
        photos=evaluation.get("photos"),
        labels=file.labels,
        data_fingerprint=contract.get("provenance", {}).get("data_fingerprint"),
        validation=_read_validation(path, contract),
        lost=evaluation.get("lost", 0),
        gained=evaluation.get("gained", 0),
        accepted=evaluation.get("made_accepted"),
    )


def _read_validation(path: Path, contract: Mapping[str, Any]) -> Answers | None:
    entry = contract.get("decision", {}).get("validation")
    if entry is None:
        return None
    try:
        return decode(entry)
    except ValueError as error:
        raise ModelFileError(f"{path}: damaged (decision.validation: {error}): copy it again") from error
