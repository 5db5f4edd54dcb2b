"""Which versions a model file was made with."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from edge_train.backbone import is_backbone_file
from edge_train.run_folder import Run

_PACKAGES = ("edge-classify", "tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer", "numpy")
_OF_BACKBONE_FILES = ("tensorflow", "keras")


def converter_versions(run: Run | None = None) -> dict[str, str]:
    """Of a run on backbone files, TensorFlow's is that which they were made with, whether it is installed or not.

    A package that is not installed is left out.
    """
    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    if run is not None and not needs_tensorflow(run):
        trained = run.index["versions"]
        found = {name: number for name, number in found.items() if name not in _OF_BACKBONE_FILES}
        found |= {name: trained[name] for name in _OF_BACKBONE_FILES if name in trained}
    return found


def needs_tensorflow(run: Run) -> bool:
    """Whether any cell has weights that only TensorFlow reads."""
    return not all(is_backbone_file(cell.weights) for cell in run.cells)
