"""Reading picture files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..errors import DataError
from .preprocessing import Image

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})


def read_photo(path: str | Path) -> Image:
    """The picture in a file, upright (its EXIF rotation applied), as uint8 BGR of shape (height, width, 3).

    The content decides the format, not the name. Greyscale, CMYK, 16-bit and transparent pictures are converted.
    Raises DataError if the file cannot be read, or is not a complete picture.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    return decode_photo(data, str(path))


def decode_photo(data: bytes, name: str) -> Image:
    """Like `read_photo`, from the file's bytes; `name` is for the error message."""
    if not data:
        raise DataError(f"{name}: the file is empty")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # larger than OpenCV's limits
        image = None
    if image is None:
        raise DataError(f"{name}: not a readable picture, or cut off")
    return np.asarray(image, np.uint8)


def list_pictures(folder: Path) -> list[Path]:
    """The files below `folder` with a picture's suffix, sorted; without hidden files and folders."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
