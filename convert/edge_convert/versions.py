"""Which versions a model file was made with."""

from __future__ import annotations

from importlib.metadata import version

_PACKAGES = ("edge-classify", "tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer", "numpy")


def converter_versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}
