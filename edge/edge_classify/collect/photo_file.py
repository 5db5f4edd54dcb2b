"""Writing a photo as a JPEG file that says what is known of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2

from ..images.jpeg_comment import with_comment
from ..images.preprocessing import Image
from ..system.atomic_write import atomic_file
from .record import Record, iso_time

_QUALITY = 95


def encode(image: Image, record: Record) -> bytes:
    """The file's content. image: uint8 BGR, shape (height, width, 3). Raises OSError if OpenCV cannot encode it."""
    encoded, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not encoded:
        raise OSError(errno.EINVAL, f"a picture of {image.shape[1]}x{image.shape[0]} pixels cannot be encoded")
    return with_comment(jpeg.tobytes(), record.encode())


def write(folder: Path, data: bytes, record: Record) -> Path:
    """Write what `encode` gave, under a name of its own, also if the clock has jumped back.

    Whole, or not at all, whenever the power fails; and there, when this returns. Raises OSError.
    """
    stem = f"{stamp(record.time)}_{record.reason.replace(' ', '')}"
    path, number = folder / f"{stem}.jpg", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.jpg"
    with atomic_file(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.utime(path, (record.time, record.time))  # edge-train takes it for when the picture was taken
    _sync(folder)
    return path


def stamp(seconds: float) -> str:
    """A time as it begins a file's name: sorted as text, it is sorted by time."""
    return iso_time(seconds).replace("-", "").replace(":", "")


def _sync(folder: Path) -> None:
    """Have the folder's entries on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
