"""Reading picture files."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import DataError, first_line
from ..system.packages import install_command
from .formats import (
    FORMATS_BY_SUFFIX,
    HEAD_BYTES,
    describe_other,
    exif_orientation,
    is_raw_photo,
    picture_format,
    tiff_alpha,
)
from .preprocessing import Image

if TYPE_CHECKING:
    from PIL import Image as PillowImage

log = logging.getLogger(__name__)

# The package for each format that OpenCV cannot read, or not upright.
_PACKAGES = {"heic": "pillow-heif", "avif": "pillow>=11.3"}
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

# Colours as three channels, upright, with as many bits as the file has.
_COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH

# Bits per channel that cameras have.
_DEPTHS = (8, 10, 12, 14, 16)

_warned: set[str] = set()


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
    if kind == "heic":
        return _decode_heic(data, name)
    if kind == "avif":
        return _decode_avif(data, name)
    if kind == "tiff":
        image = _decode_tiff(data, name)
    elif kind in ("png", "webp", "gif"):
        # OpenCV would drop what makes pixels transparent, and miss EXIF data that begins as it does in a JPEG file.
        image = _decode(data, cv2.IMREAD_UNCHANGED)  # in its own orientation
        image = image if image is None else _upright(image, exif_orientation(data, kind))
    else:
        image = _decode(data, _COLOR)
    if image is None:
        what = "" if kind else describe_other(data[:HEAD_BYTES])
        raise DataError(f"{name}: {what or 'not a readable picture, or cut off'}")
    return _on_white(_to_8_bits(image, name))


def without_library(pictures: Iterable[Path]) -> tuple[list[Path], str]:
    """The HEIC photos among files, by suffix and content, if no library for them is installed; how to install it."""
    heic = [path for path in pictures if FORMATS_BY_SUFFIX.get(path.suffix.lower()) == "heic"]
    if heic:
        import importlib.util

        if importlib.util.find_spec("pillow_heif") is None:
            return [path for path in heic if _starts_as_heic(path)], install_command(_PACKAGES["heic"])
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


def _to_8_bits(image: np.ndarray, name: str) -> np.ndarray:
    """uint8 of uint16. Values that all fit into 8 or 12 bits are taken for 8 or 12-bit data in a 16-bit file."""
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise DataError(f"{name}: its pixels are of type {image.dtype}, whose range is not known: save it as 8-bit")
    highest = int(image[..., :3].max() if image.ndim == 3 else image.max())  # alpha may have all bits
    used = next(bits for bits in _DEPTHS if highest < 1 << bits)
    bits = 16 if used > 12 else 12 if used > 8 else 8
    if highest and used < 16:
        how = f"{bits}-bit" if bits < 16 else f"a dark one; save it as 8-bit if its data have {used} bits"
        _warn_once(name, f"a 16-bit picture whose values all fit into {used} bits: read as {how}")
    return np.minimum(image >> (bits - 8), 255).astype(np.uint8)


def _decode_tiff(data: bytes, name: str) -> np.ndarray | None:
    """What is transparent over white. OpenCV rotates all, and multiplies 8-bit colours, not deeper ones, by alpha."""
    if is_raw_photo(data):
        raise DataError(f"{name}: a camera's raw file, of which only a preview could be read: export it as JPEG")
    alpha = tiff_alpha(data)
    image = _decode(data, cv2.IMREAD_UNCHANGED if alpha else _COLOR)
    if image is None or not alpha:
        return image
    if image.ndim != 3 or image.shape[2] != 4:
        raise DataError(f"{name}: a grey TIFF with transparency, which OpenCV cannot read: save it as PNG")
    if alpha == "straight" and image.dtype != np.uint8:
        return image
    pixels = _to_8_bits(image, name)
    return np.asarray(cv2.add(pixels[..., :3], cv2.cvtColor(255 - pixels[..., 3], cv2.COLOR_GRAY2BGR)))


def _on_white(image: np.ndarray) -> Image:
    """BGR of uint8 grey, BGR or BGRA, over white: the colour of what is transparent is arbitrary, and often black."""
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
        raise DataError(
            f"{name}: to read HEIC photos, install pillow-heif: {install_command(_PACKAGES['heic'])}"
        ) from None
    try:
        return _from_pillow(pillow_heif.open_heif(data, convert_hdr_to_8bit=True).to_pillow())
    except Exception as error:
        raise DataError(f"{name}: a HEIC photo that cannot be read ({first_line(error)})") from error


def _decode_avif(data: bytes, name: str) -> Image:
    if not any(transform in data for transform in _AVIF_TRANSFORMS):
        image = _decode(data, cv2.IMREAD_UNCHANGED)
        if image is not None and image.dtype == np.uint8:
            return _on_white(image)
    if not _pillow_reads_avif():
        raise DataError(f"{name}: to read this AVIF picture, install Pillow: {install_command(_PACKAGES['avif'])}")
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


def _warn_once(name: str, message: str) -> None:
    """Once for all files, in the first process only: each worker that reads a part of them would say it again."""
    import multiprocessing

    if message not in _warned and multiprocessing.parent_process() is None:
        _warned.add(message)
        log.warning("%s: %s (so are others)", name, message)
