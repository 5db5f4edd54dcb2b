"""Backbone files that were published: each is fetched once, and taken only if its hash is that of the manifest.

They are assets of the latest release of the repository, whose address is the project URL "Source" in pyproject.toml,
which pip keeps with the package; the variable EDGE_CLASSIFY_BACKBONES is the address of a mirror.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from edge_classify.errors import DataError
from edge_classify.system.atomic_write import write_atomic
from edge_classify.system.checksum import file_sha256
from edge_classify.system.packages import install_command

from .backbone_file import backbone_file_name, read_backbone_file
from .cache import cache_folder

log = logging.getLogger(__name__)

MANIFEST = "backbones.json"
FORMAT = 1
_SETTING = "Source"
# Stands in pyproject.toml while there is no public repository.
_PLACEHOLDER = "https://example.org/"
_ASSETS = "releases/latest/download"
_VARIABLE = "EDGE_CLASSIFY_BACKBONES"
_TIMEOUT_S = 30
_MAX_MANIFEST_BYTES = 2**20
# More than any backbone file.
_MAX_FILE_BYTES = 2**27
_INSTEAD = (
    "give a backbone file (--backbone FILE.tflite) or a folder of them (--weights FOLDER), or install TensorFlow "
    f"({install_command('tensorflow>=2.20,<3')})"
)


def write_manifest(folder: Path) -> None:
    """Write `backbones.json` of all backbone files in the folder. Raises DataError for a damaged one."""
    files = []
    for path in sorted(folder.glob(backbone_file_name("*", "*"))):
        file = read_backbone_file(path)
        files.append(
            {
                "file": path.name,
                "sha256": file_sha256(path),
                "bytes": path.stat().st_size,
                "alpha": file.alpha,
                "resolution": file.resolution,
                "weights": dict(file.weights),
            }
        )
    write_atomic(folder / MANIFEST, json.dumps({"format": FORMAT, "files": files}, indent=1) + "\n")


def fetch_backbone_file(alpha: float, resolution: int) -> Path:
    """The published backbone file of a cell, in the cache; downloaded if it is not there.

    Raises DataError if no address is configured, it cannot be had, or it is not the file that the manifest names.
    """
    path = cache_folder() / "backbones" / backbone_file_name(alpha, resolution)
    if path.exists():
        return path
    address = _address()
    entry = _find_entry(address, path.name)
    log.warning("downloading %s/%s (%.0f MB)", address, path.name, entry["bytes"] / 1e6)
    data = _download(f"{address}/{path.name}", min(entry["bytes"], _MAX_FILE_BYTES))
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise DataError(
            f"{address}/{path.name}: not the file that {MANIFEST} names (its SHA-256 differs): try again later"
        )
    write_atomic(path, data)
    return path


def _address() -> str:
    """Without a slash at its end."""
    address = os.environ.get(_VARIABLE) or _configured()
    if not address:
        raise DataError(
            "--weights imagenet without TensorFlow: this edge-classify knows no address to fetch backbone files from: "
            f"{_INSTEAD}"
        )
    if not address.startswith(("https://", "http://")):
        raise DataError(f"{_VARIABLE}={address}: expected an https:// or http:// address")
    return address.rstrip("/")


def _configured() -> str:
    """The address of the release's assets, "" if the package does not know its repository."""
    for line in metadata("edge-classify").get_all("Project-URL") or []:
        label, _, address = line.partition(",")
        if label.strip() == _SETTING and not address.strip().startswith(_PLACEHOLDER):
            return f"{address.strip().rstrip('/')}/{_ASSETS}"
    return ""


def _find_entry(address: str, name: str) -> Mapping[str, Any]:
    where = f"{address}/{MANIFEST}"
    data = _download(where, _MAX_MANIFEST_BYTES)
    try:
        manifest = json.loads(data)
        if manifest["format"] > FORMAT:
            raise DataError(f"{where}: of a newer edge-classify (format {manifest['format']}): update edge-classify")
        entries = {str(entry["file"]): entry for entry in manifest["files"]}
        entry = entries.get(name)
        if entry is not None and not (isinstance(entry["sha256"], str) and type(entry["bytes"]) is int):
            raise ValueError(f"{name} has no sha256 and bytes")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: not a manifest of backbone files ({error!r}): {_INSTEAD}") from error
    if entry is None:
        raise DataError(f"{where}: lists no {name}: {_INSTEAD}")
    return dict(entry)


def _download(address: str, limit: int) -> bytes:
    """What is at the address. Raises DataError if it is more than `limit` bytes, or cannot be had."""
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(address, timeout=_TIMEOUT_S) as answer:
            data: bytes = answer.read(limit + 1)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{address}: cannot be fetched ({reason}): try again, or {_INSTEAD}") from error
    if len(data) > limit:
        raise DataError(f"{address}: longer than {limit} bytes, which is not what was published: {_INSTEAD}")
    return data
