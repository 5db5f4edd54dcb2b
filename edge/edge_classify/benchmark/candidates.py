"""Which model files are meant, and what each says of itself."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from ..model.model_file import read_model_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A model file and its own words; what it does not say is None.

    accuracy: the share of `photos` held-out photos that it classified right where it was made, 0 to 1.
    """

    path: Path
    sha256: str
    alpha: float | None
    resolution: int | None
    precision: str | None
    multiply_adds: int | None
    accuracy: float | None
    photos: int | None
    labels: tuple[str, ...] | None
    data_fingerprint: str | None

    @property
    def name(self) -> str:
        return self.path.stem


def list_models(names: Iterable[str | Path]) -> list[Path]:
    """The model files that are meant by files, folders of them, and manifests. Raises ModelFileError."""
    paths: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            found = sorted(path.glob("*.tflite"))
            if not found:
                raise ModelFileError(f"{path}: no .tflite file in this folder")
        elif path.suffix == ".json":
            found = [path.parent / entry["file"] for entry in _manifest(path)]
        else:
            found = [path]
        paths.update(dict.fromkeys(found))
    return list(paths)


def read_candidates(names: Iterable[str | Path]) -> list[Candidate]:
    """What the files of `list_models` say of themselves, by alpha, resolution, precision and name.

    Raises ModelFileError for a file that is missing or damaged, or not the one that its manifest means.
    """
    names = list(names)
    listed = {
        (Path(name).parent / entry["file"]): entry
        for name in names
        if Path(name).suffix == ".json"
        for entry in _manifest(Path(name))
    }
    candidates = [_read(path, listed.get(path, {})) for path in list_models(names)]
    return sorted(
        candidates,
        key=lambda one: (one.alpha or 0, one.resolution or 0, one.precision or "", one.name),
    )


def warn_of_different_photos(candidates: Iterable[Candidate]) -> None:
    if len({one.data_fingerprint for one in candidates if one.accuracy is not None}) > 1:
        log.warning("these files were measured on different photos: their accuracies do not compare")


def digest(path: Path) -> str:
    """The file's sha256. Raises ModelFileError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error


def _read(path: Path, entry: dict[str, Any]) -> Candidate:
    file = read_model_file(path)
    sha256 = digest(path)
    if entry.get("sha256", sha256) != sha256:
        raise ModelFileError(f"{path}: its bytes are not those that the manifest tells of: copy it again")
    contract = file.contract or {}
    model, evaluation = contract.get("model", entry), contract.get("evaluation", entry.get("figures", {}))
    return Candidate(
        path=path,
        sha256=sha256,
        alpha=model.get("alpha"),
        resolution=model.get("resolution"),
        precision=model.get("precision"),
        multiply_adds=model.get("multiply_adds"),
        accuracy=evaluation.get("accuracy"),
        photos=evaluation.get("photos"),
        labels=file.labels,
        data_fingerprint=contract.get("provenance", {}).get("data_fingerprint"),
    )


def _manifest(path: Path) -> list[dict[str, Any]]:
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["files"]
        for entry in entries:
            if Path(entry["file"]).name != entry["file"]:
                raise ValueError(f"{entry['file']} is no file name")
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: no manifest of edge-convert ({error!r})") from error
    return entries
