"""Reading picture files."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import DataError, first_line
from .formats import (
    FORMATS_BY_SUFFIX,
    HEAD_BYTES,
    bits_per_channel,
    describe_other,
    exif_orientation,
    is_raw_photo,
    may_be_transparent,
    picture_format,
)
from .preprocessing import Image

if TYPE_CHECKING:
    from PIL import Image as PillowImage

log = logging.getLogger(__name__)

# The library for each format that OpenCV cannot read, or not upright, and how to get it.
_INSTALL = {"heic": "pip install pillow-heif", "avif": "pip install 'pillow>=11.3'"}
# Parts of an AVIF file that say how to rotate, mirror or crop it, which OpenCV does not do.
_AVIF_TRANSFORMS = (b"irot", b"imir", b"clap")
# EXIF orientations, as what makes the picture upright: mirror left to right first, then rotate.
_MIRRORED = {2, 4, 5, 7}
_ROTATIONS = {
    3: cv2.ROTATE_180,
    4: cv2.ROTATE_180,
    5: cv2.ROTATE_90_COUNTERCLOCKWISE,
    6: cv2.ROTATE_90_CLOCKWISE,
    7: cv2.ROTATE_90_CLOCKWISE,
    8: cv2.ROTATE_90_COUNTERCLOCKWISE,
}

_warned: list[str] = []


def read_photo(path: str | Path) -> Image:
    """The picture in a file, upright (its EXIF rotation applied), as uint8 BGR of shape (height, width, 3).

    The content decides the format, not the name. Greyscale, CMYK and 16-bit pictures are converted; what is
    transparent becomes white. Raises DataError if the file cannot be read, or is not a complete picture.
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
    kind = picture_format(data[:HEAD_BYTES])
    if kind == "tiff" and is_raw_photo(data):
        raise DataError(f"{name}: a camera's raw file, of which only a preview could be read: export it as JPEG")
    if kind == "heic":
        return _decode_heic(data, name)
    if kind == "avif":
        return _decode_avif(data, name)
    if kind in ("png", "webp", "gif"):
        image = _decode_with_alpha(data, kind, name)
    else:
        image = _decode(data, cv2.IMREAD_COLOR)
        if image is not None and kind == "tiff" and may_be_transparent(data, kind):
            image = _tiff_on_white(image, data)
        if image is not None and bits_per_channel(data, kind) == 16:
            image = _with_all_bits(image, data, cv2.IMREAD_COLOR, name)
    if image is None:
        what = "" if kind else describe_other(data[:HEAD_BYTES])
        raise DataError(f"{name}: {what or 'not a readable picture, or cut off'}")
    return np.asarray(image, np.uint8)


def without_library(pictures: Iterable[Path]) -> tuple[list[Path], str]:
    """The HEIC photos among files, by suffix and content, if no library for them is installed; how to install it."""
    heic = [path for path in pictures if FORMATS_BY_SUFFIX.get(path.suffix.lower()) == "heic"]
    if heic:
        import importlib.util

        if importlib.util.find_spec("pillow_heif") is None:
            return [path for path in heic if _starts_as_heic(path)], _INSTALL["heic"]
    return [], ""


def _starts_as_heic(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return picture_format(file.read(HEAD_BYTES)) == "heic"
    except OSError:
        return False


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # larger than OpenCV's limits
        return None


def _decode_with_alpha(data: bytes, kind: str, name: str) -> np.ndarray | None:
    """OpenCV would drop what makes pixels transparent, and miss EXIF data that begins as it does in a JPEG file."""
    if may_be_transparent(data, kind):
        image = _decode(data, cv2.IMREAD_UNCHANGED)  # in its own orientation
        if image is not None:
            image = _on_white(_to_8_bits(image, name))
    else:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = _decode(data, flags)
        if image is not None and bits_per_channel(data, kind) == 16:
            image = _with_all_bits(image, data, flags, name)
    return image if image is None else _upright(image, exif_orientation(data, kind))


def _with_all_bits(image: np.ndarray, data: bytes, flags: int, name: str) -> np.ndarray:
    """The image again, if only the lower bits of its 16 are used: OpenCV keeps the upper ones, and all is black."""
    deep = _decode(data, flags | cv2.IMREAD_ANYDEPTH)
    if deep is None or deep.dtype != np.uint16 or deep.max() >= 1 << 12:
        return image
    return _to_8_bits(deep, name)


def _to_8_bits(image: np.ndarray, name: str) -> np.ndarray:
    """uint8 of uint16. Values that all fit into 8 or 12 bits are taken for 8 or 12-bit data in a 16-bit file."""
    if image.dtype != np.uint16:
        return image
    highest = int(image.max())
    if 0 < highest < 1 << 12:
        bits = 8 if highest < 1 << 8 else 12
        _warn_once(
            f"{name}: a 16-bit picture whose values all fit into {bits} bits: read as {bits}-bit (so are others)"
        )
        return (image >> (bits - 8)).astype(np.uint8)
    return (image >> 8).astype(np.uint8)


def _tiff_on_white(image: np.ndarray, data: bytes) -> np.ndarray:
    """The image over white, if it has 8 bits: OpenCV has multiplied its colours by its alpha, and rotated both."""
    whole = _decode(data, cv2.IMREAD_UNCHANGED)
    if whole is None or whole.dtype != np.uint8 or whole.ndim != 3 or whole.shape[2] != 4:
        return image
    return np.asarray(cv2.add(whole[..., :3], cv2.cvtColor(255 - whole[..., 3], cv2.COLOR_GRAY2BGR)))


def _on_white(image: np.ndarray) -> np.ndarray:
    """BGR of uint8 BGRA, over white: the colour of what is transparent is arbitrary, and often black."""
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in _MIRRORED:
        image = cv2.flip(image, 1)
    return cv2.rotate(image, _ROTATIONS[orientation]) if orientation in _ROTATIONS else image


def _decode_heic(data: bytes, name: str) -> Image:
    """The main picture, whole and upright: libheif puts its tiles together and rotates them."""
    try:
        import pillow_heif
    except ImportError:
        raise DataError(f"{name}: to read HEIC photos, install pillow-heif: {_INSTALL['heic']}") from None
    try:
        return _from_pillow(pillow_heif.open_heif(data, convert_hdr_to_8bit=True).to_pillow())
    except Exception as error:
        raise DataError(f"{name}: a HEIC photo that cannot be read ({first_line(error)})") from error


def _decode_avif(data: bytes, name: str) -> Image:
    if not any(transform in data for transform in _AVIF_TRANSFORMS):
        image = _decode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is not None and image.dtype == np.uint8:
            return _on_white(image)
    if not _pillow_reads_avif():
        raise DataError(f"{name}: to read this AVIF picture, install Pillow: {_INSTALL['avif']}")
    import io

    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return _from_pillow(ImageOps.exif_transpose(picture))
    except Exception as error:
        raise DataError(f"{name}: an AVIF picture that cannot be read ({first_line(error)})") from error


def _pillow_reads_avif() -> bool:
    try:
        from PIL import features
    except ImportError:
        return False
    return bool(features.check("avif"))


def _from_pillow(picture: PillowImage.Image) -> Image:
    pixels = np.asarray(picture.convert("RGBA" if "A" in picture.mode else "RGB"))
    code = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return _on_white(np.asarray(cv2.cvtColor(pixels, code)))


def _warn_once(message: str) -> None:
    """In the first process only: each worker that reads a part of the photos would say it again."""
    import multiprocessing

    if not _warned and multiprocessing.parent_process() is None:
        _warned.append(message)
        log.warning("%s", message)
