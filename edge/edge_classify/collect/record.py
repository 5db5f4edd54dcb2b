"""What is known of a photo that was kept, as the JPEG file itself says it, in its comment.

So nothing has to be kept in step with the files: whoever moves, copies or renames one takes along what is known of it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..images.jpeg_comment import JPEG, read_comment
from .likeness import unpack

# Tells our comments from others'.
_KEY = "edge-classify"
_FIRST_BYTES = 4096
_TEXTS = ("reason", "burst", "state", "model", "sha256", "features", "features_by")
# Enough for EXIF data and the comment.
_HEAD_BYTES = 128 * 1024


@dataclass(frozen=True)
class Record:
    """A kept photo.

    time: when it was taken, in Unix seconds.
    reason: why it was kept, one of those in `reasons`.
    burst: the same for photos taken one right after another; edge-train never measures on one and trains on another.
        "": not known.
    state, scores: what the model made of it: the state then, and the best labels' probabilities, 0 to 1.
    model, sha256: the model's name, and its file's checksum.
    crop: the part of the photo that the model was trained on, as fractions (x, y, width, height); None: all of it.
    features: what the picture looks like to the model (`likeness.pack`); "" if that is not known.
    features_by: what computed them (`likeness.Describe.by`).
    """

    time: float
    reason: str
    burst: str = ""
    state: str = ""
    scores: dict[str, float] | None = None
    model: str = ""
    sha256: str = ""
    crop: tuple[float, ...] | None = None
    features: str = ""
    features_by: str = ""

    def encode(self) -> bytes:
        """The comment: one line of JSON."""
        content: dict[str, Any] = {_KEY: 1, **asdict(self), "time": iso_time(self.time)}
        return json.dumps({key: value for key, value in content.items() if value not in (None, "")}).encode()

    def description(self) -> np.ndarray | None:
        """The features as a unit vector, float32; None if it has none, or does not say what computed them."""
        try:
            return unpack(self.features) if self.features and self.features_by else None
        except ValueError:
            return None


def decode_record(comment: bytes | None) -> Record | None:
    """What `Record.encode` wrote; None for any other comment. Fields that it does not know are left aside."""
    if comment is None:
        return None
    try:
        content = json.loads(comment)
        if not isinstance(content, dict) or _KEY not in content:
            return None
        known = {field.name: content[field.name] for field in fields(Record) if field.name in content}
        known["time"] = datetime.fromisoformat(known["time"]).timestamp()
        if "crop" in known:
            known["crop"] = tuple(known["crop"])
        return Record(**known) if all(isinstance(known.get(name, ""), str) for name in _TEXTS) else None
    except (ValueError, TypeError, KeyError):
        return None


def read_record(path: Path) -> Record | None:
    """The record in a JPEG file; None if it has none or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_FIRST_BYTES)
            if not head.startswith(JPEG):
                return None
            return decode_record(read_comment(head + file.read(_HEAD_BYTES)))
    except OSError:
        return None


def iso_time(seconds: float) -> str:
    """UTC, ISO 8601, milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
