"""The folder of a class: its name is the label, so the label must be a name that a folder can have."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from ..errors import UsageError

# What file systems allow.
_MAX_BYTES = 255


def class_folder(root: Path, label: str) -> Path:
    """The folder of the class `label` in `root`. Raises UsageError if the label cannot be a folder's name."""
    if not label.strip() or label != label.strip():
        why = "it is empty, or begins or ends with a space"
    elif label.startswith("."):
        why = "it begins with a dot, and such folders are left out"
    elif "/" in label or "\\" in label:
        why = "it has a slash"
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in label):
        why = "it has a character that cannot be printed"
    elif len(label.encode()) > _MAX_BYTES:
        why = f"it is longer than {_MAX_BYTES} bytes"
    else:
        return root / label
    shown = label if len(label) <= 40 else f"{label[:37]}..."
    raise UsageError(f"{shown!r} cannot be the name of a class: {why}")
