"""The folders that systemd makes for the service's own user."""

from __future__ import annotations

from pathlib import Path

from .finding import Finding

# By what they are called in a unit.
DIRECTIVES = {
    "/var/lib/edge-classify": "StateDirectory",
    "/var/log/edge-classify": "LogsDirectory",
    "/var/cache/edge-classify": "CacheDirectory",
    "/run/edge-classify": "RuntimeDirectory",
}


def directive(folder: Path) -> str | None:
    """The line of a unit that has this folder made; None if it is none of the service's."""
    for own, name in DIRECTIVES.items():
        if folder.is_relative_to(own):
            return f"{name}={folder.relative_to(Path(own).parent)}"
    return None


def is_of_service(folder: Path) -> bool:
    return directive(folder) is not None


def of_service(check: str, path: Path) -> Finding:
    """What is to say of a path there, which others than the service may not be able to look at or write to."""
    text = f"{path}: systemd makes the folder when the service starts; only the service can write there"
    return Finding("yellow", check, text, "have it made by edge-doctor --print-drop-in (docs/service.md)")
