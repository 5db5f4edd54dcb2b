"""Where photos are kept: those that wait for a class, and those that have one."""

from __future__ import annotations

from pathlib import Path

UNLABELLED = "unlabelled"
LABELLED = "labelled"
# Where removed photos wait, in case it is undone.
REMOVED = "removed"


def make_folders(root: Path) -> None:
    """Make the folder and that of its unlabelled photos, for their owner alone. Raises OSError."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    (root / UNLABELLED).mkdir(mode=0o700, exist_ok=True)
