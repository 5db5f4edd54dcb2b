"""The zip appended to a TFLite model: labels.txt, edge.json, the self-test's pictures. See docs/model-file.md."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping


def attach(model: bytes, parts: Mapping[str, bytes]) -> bytes:
    """Append `parts` to the model as an uncompressed zip, as TFLite Metadata does; equal input gives equal bytes."""
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
    return file.getvalue()


def encode_labels(labels: tuple[str, ...]) -> bytes:
    """labels.txt: one label per line, in output order."""
    return ("\n".join(labels) + "\n").encode()
