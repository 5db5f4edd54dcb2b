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
    make_private(root / UNLABELLED)


def make_private(folder: Path) -> None:
    """Make the folder, and those that it is to lie in, for their owner alone as far as they are new. Raises OSError."""
    # With mkdir's `parents` they would have the mode that all users' folders have.
    for path in reversed([path for path in (folder, *folder.parents) if not path.is_dir()]):
        path.mkdir(mode=0o700, exist_ok=True)
