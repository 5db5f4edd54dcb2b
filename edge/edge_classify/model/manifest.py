"""Reading a manifest: what is in a folder of model files, as edge-convert wrote it down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from ..errors import ModelFileError

MANIFEST = "manifest.json"
FORMAT = 1

_ENTRY_TYPES: dict[str, type | tuple[type, ...]] = {
    "file": str,
    "sha256": str,
    "bytes": int,
    "alpha": (int, float),
    "resolution": int,
    "precision": str,
    "parameters": int,
    "multiply_adds": int,
    "figures": dict,
}


class Evaluation(TypedDict):
    """What a file was measured at on held-out photos; with photos of no known class only how far it agrees.

    photos: how many. lost, gained: of them, how many are correct as shown before conversion alone, and after it alone.
    The rest are fractions, 0 to 1: see `metrics.evaluate` and docs/model-file.md.
    """

    photos: int
    accuracy: NotRequired[float]
    accuracy_with_unknown: NotRequired[float]
    float32_accuracy: NotRequired[float]
    kept: NotRequired[float]
    float32_kept: NotRequired[float]
    lost: NotRequired[int]
    gained: NotRequired[int]
    agreement: NotRequired[float]
    confidence_change: NotRequired[float]
    calibration_error: NotRequired[float]
    made_accepted: NotRequired[float]


class ManifestEntry(TypedDict):
    """One model file.

    file: its name, in the manifest's own folder. sha256: of its bytes, in hex. key: of everything it was made from.
    """

    file: str
    sha256: str
    bytes: int
    alpha: float
    resolution: int
    precision: str
    parameters: int
    multiply_adds: int
    figures: Evaluation
    key: NotRequired[str]


class Manifest(TypedDict):
    """labels: in output order. arguments, versions: of edge-train and edge-convert, for the record.

    settings: of the conversion, those that change the files.
    """

    format: int
    labels: list[str]
    data_fingerprint: str | None
    seed: int
    arguments: Any
    settings: NotRequired[dict[str, Any]]
    versions: dict[str, dict[str, str]]
    files: list[ManifestEntry]


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, or the one in a folder.

    Raises ModelFileError if there is none, if it is damaged, or if it is newer than this program.
    """
    if path.is_dir():
        path = path / MANIFEST
    try:
        content: Manifest = json.loads(path.read_text("utf-8"))
        if content["format"] > FORMAT:
            raise ModelFileError(
                f"{path}: manifest format {content['format']}, but this edge-classify reads only up to {FORMAT}: "
                "update edge-classify"
            )
        for entry in content["files"]:
            _check_entry(entry)
    except FileNotFoundError:
        raise ModelFileError(
            f"{path.parent}: no {path.name} in this folder: expected a folder that edge-convert wrote"
        ) from None
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path}: damaged, or not a manifest ({_reason(error)}): copy it again, or run edge-convert again"
        ) from error
    return content


def unlisted_models(folder: Path, manifest: Manifest) -> list[Path]:
    """The `.tflite` files in the manifest's folder that it does not list."""
    listed = {entry["file"] for entry in manifest["files"]}
    return sorted(path for path in folder.glob("*.tflite") if path.name not in listed)


def _check_entry(entry: Any) -> None:
    for name, kind in _ENTRY_TYPES.items():
        if not isinstance(entry[name], kind):
            raise ValueError(f"{name} is {entry[name]!r}")
    if not isinstance(entry["figures"]["photos"], int):
        raise ValueError(f"photos is {entry['figures']['photos']!r}")
    # A manifest from elsewhere must not lead out of its folder.
    if Path(entry["file"]).name != entry["file"] or not entry["file"].endswith(".tflite"):
        raise ValueError(f"{entry['file']!r} is not a plain .tflite file name")


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
