"""What a bug report needs to know of this installation and machine, and nothing that tells whose they are."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from .. import __version__
from ..options import VARIABLES
from ..system.checksum import file_sha256
from ..system.counted import counted
from ..system.machine import System

# What the device needs, what its extras bring, what the desktop needs; and OpenCV's other builds, which hide ours.
_PACKAGES = (
    *("ai-edge-litert", "tflite-runtime", "numpy", "opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    *("aiohttp", "paho-mqtt", "prometheus-client", "pillow-heif", "pillow"),
    *("tensorflow", "keras", "tensorflow-hub", "ai-edge-quantizer", "h5py"),
)


def versions(model: str | None, system: System) -> dict[str, str]:
    """Versions, kind of machine and, if one is named, the model file's facts, by what they are of.

    No name of a user, host, folder or label is among them.
    """
    memory = system.memory()
    cores = f"{system.cores} core" + "s" * (system.cores != 1)
    machine = (system.model() or system.processor() or "unknown", system.machine, cores, f"{system.word_bits} bits")
    return {
        "edge-classify": f"{__version__}, {_installation()}",
        "Python": f"{platform.python_version()}, {platform.python_implementation()}",
        "packages": ", ".join(_installed()) or "none",
        "system": f"{_name_of_system(system)}, kernel {system.kernel}, {' '.join(platform.libc_ver())}",
        "machine": ", ".join(machine),
        "processor": ", ".join((system.processor() or "unknown", *system.features())),
        "memory": f"{memory.total / 2**20:.0f} MB" if memory else "unknown",
        "variables": ", ".join(sorted(name for name in os.environ if name.startswith(VARIABLES))) or "none",
        **({} if model is None else {"model": _model(Path(model))}),
    }


def _installation() -> str:
    """How it came here."""
    try:
        ours = distribution("edge-classify")
    except PackageNotFoundError:
        return "not installed, but run from a folder"
    installer = (ours.read_text("INSTALLER") or "unknown").strip()
    parts = Path(sys.prefix).parts
    if "pipx" in parts:
        installer = "pipx"
    elif installer == "uv" and "tools" in parts:
        installer = "uv tool"
    where = "in a virtual environment" if sys.prefix != sys.base_prefix else "into the system's Python"
    return f"installed by {installer} {where}" + (", editable" if _is_editable(ours) else "")


def _is_editable(package: Distribution) -> bool:
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


def _installed() -> list[str]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {distribution(name).version}")
        except PackageNotFoundError:
            continue
    return found


def _name_of_system(system: System) -> str:
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', system.read("etc/os-release") or "", re.MULTILINE)
    return named[1] if named else platform.system()


def _model(path: Path) -> str:
    from ..errors import EdgeClassifyError
    from ..model.model_file import read_model_file

    try:
        read = read_model_file(path)
    except EdgeClassifyError as error:
        return str(error).replace(str(path), "the file")
    labels = "no labels" if read.labels is None else counted(len(read.labels), "label")
    facts = (f"{path.stat().st_size} bytes", f"sha256 {file_sha256(path)}", labels)
    return ", ".join((*facts, *(("a third-party file",) if read.contract is None else _made(read.contract))))


def _made(contract: Mapping[str, Any]) -> list[str]:
    """How the file was made. Not from which weights: their name may be a path."""
    model = contract["model"]
    kind = f"{model['family'].partition(':')[0]} {model['alpha']} at {model['resolution']}, {model['precision']}"
    made = contract["provenance"]["versions"].items()
    stages = [f"{stage}: {', '.join(f'{name} {version}' for name, version in used.items())}" for stage, used in made]
    return [f"format {contract['format']}", kind, *stages]
