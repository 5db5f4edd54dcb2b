"""Which format a file's content is, whatever its name; and what of EXIF and TIFF is needed to read it right."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Literal

# So much of a file's beginning tells its format.
HEAD_BYTES = 256

FORMATS_BY_SUFFIX = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".jif": "jpeg",
    ".pjpeg": "jpeg",
    ".pjp": "jpeg",
    ".mpo": "jpeg",
    ".png": "png",
    ".apng": "png",
    ".bmp": "bmp",
    ".dib": "bmp",
    ".gif": "gif",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".heic": "heic",
    ".heif": "heic",
    ".hif": "heic",
    ".avif": "avif",
    ".jp2": "jpeg2000",
    ".ppm": "pnm",
    ".pgm": "pnm",
    ".pbm": "pnm",
    ".pnm": "pnm",
}
PICTURE_SUFFIXES = frozenset(FORMATS_BY_SUFFIX)
# What a camera's sensor saw, undeveloped. Some begin like a TIFF file, whose first picture is a small preview.
RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw"}
)

_MAGIC = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG": "png",
    b"GIF8": "gif",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"\0\0\0\x0cjP  ": "jpeg2000",
    b"\xffO\xffQ": "jpeg2000",
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
# What else is found under a picture's name, and what to do.
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the picture itself: fetch it with `git lfs pull`",
    b"\xff\x0a": "JPEG XL is not supported: save it as JPEG",
    b"\0\0\0\x0cJXL ": "JPEG XL is not supported: save it as JPEG",
    b"8BPS": "a Photoshop file: save it as JPEG or PNG",
    b"%PDF": "a PDF: save its pictures as JPEG or PNG",
    b"\0\5\x16\7": "a macOS resource file (AppleDouble), not a picture: delete it",
    b"FUJIFILMCCD-RAW": "a camera's raw file: export it as JPEG",
    b"PK\3\4": "a zip archive: unpack it",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"Rar!": "a RAR archive: unpack it",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it",
}
_TEXTS = {
    b"<svg": "an SVG drawing: save it as PNG",
    b"<!doctype html": "a web page, not a picture: download it again",
    b"<html": "a web page, not a picture: download it again",
}

# TIFF and EXIF tags.
_SUBFILE_TYPE = 254
_ORIENTATION = 274
_EXTRA_SAMPLES = 338
_DNG_VERSION = 50706
_SIZES = {1: "B", 3: "H", 4: "I"}


def picture_format(head: bytes) -> str:
    """The format of a file from its first HEAD_BYTES: jpeg, png, heic, ...; "" if it is not a known picture.

    HEIC and AVIF look like videos (they share the container of MP4); their brands tell.
    """
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    # Two letters alone may begin a text: the size of the second header tells.
    if head.startswith(b"BM") and head[14:15] in b"\x0c\x28\x34\x38\x40\x6c\x7c" and head[15:18] == b"\0\0\0":
        return "bmp"
    if re.match(rb"P[1-6]\s", head):
        return "pnm"
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = {head[8:12], *(head[start : start + 4] for start in range(16, min(size, len(head)) - 3, 4))}
        if brands & _AVIF_BRANDS:
            return "avif"
        if brands & _HEIF_BRANDS:
            return "heic"
    return ""


def describe_other(head: bytes) -> str:
    """What a file is that is no readable picture, and what to do, in words; "" if that is not known."""
    for magic, words in _OTHERS.items():
        if head.startswith(magic):
            return words
    if head[4:12] == b"ftypcrx ":
        return "a camera's raw file: export it as JPEG"
    if head[4:8] == b"ftyp":
        return "a video, not a picture"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, words in _TEXTS.items():
        if text.startswith(start) or (text.startswith(b"<?xml") and start in text):
            return words
    return ""


def is_raw_photo(data: bytes) -> bool:
    """Whether a TIFF file is a camera's raw photo: what can be read of it is its preview."""
    if data[8:10] == b"CR":
        return True
    tags = _tiff_tags(data)
    return bool(tags.get(_SUBFILE_TYPE, 0) & 1) or _DNG_VERSION in tags


def tiff_alpha(data: bytes) -> Literal["multiplied", "straight"] | None:
    """Whether a TIFF file has an alpha channel, and its colours are multiplied by it."""
    kind = _tiff_tags(data).get(_EXTRA_SAMPLES)
    return "multiplied" if kind == 1 else "straight" if kind == 2 else None


def holds_several(data: bytes, kind: str) -> bool:
    """Whether a GIF, PNG, WebP, HEIC or AVIF file is animated, or a TIFF file has several pages."""
    if kind in ("heic", "avif"):
        return data[8:12] in (b"avis", b"msf1", b"hevc", b"hevx")
    if kind == "gif":
        # Before each picture there is an extension of four bytes: its time, and what becomes of it.
        return len(re.findall(rb"\x21\xf9\x04....\x00[\x2c\x21]", data, re.DOTALL)) > 1
    if kind == "png":
        return any(name == b"acTL" for name, _ in _png_chunks(data))
    if kind == "webp":
        return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 2)
    return kind == "tiff" and _has_second_page(data)


def exif_orientation(data: bytes, kind: str) -> int:
    """The EXIF orientation of a PNG or WebP file, 1 to 8; 1 is upright, as is all else."""
    if kind not in ("png", "webp"):
        return 1
    chunks = _png_chunks(data) if kind == "png" else _webp_chunks(data)
    for name, body in chunks:
        if name in (b"eXIf", b"EXIF"):
            orientation = _tiff_tags(body.removeprefix(b"Exif\0\0")).get(_ORIENTATION, 1)
            return orientation if orientation in range(1, 9) else 1
    return 1


def _has_second_page(data: bytes) -> bool:
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        return bool(struct.unpack_from(order + "I", data, start + 2 + 12 * count)[0])
    except struct.error:
        return False


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk; that of picture data is not copied."""
    start = 8
    while start + 8 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        name = data[start + 4 : start + 8]
        yield name, b"" if name in (b"IDAT", b"fdAT") else data[start + 8 : start + 8 + length]
        start += 12 + length


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 12
    while start + 8 <= len(data):
        name, length = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
        yield name, data[start + 8 : start + 8 + length] if name == b"EXIF" else b""
        start += 8 + length + length % 2


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The first value of each integer tag of the first directory; what is damaged is left out."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    tags: dict[int, int] = {}
    if order is None:
        return tags
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", data, entry)
            code = _SIZES.get(kind)
            if code is None or not values:
                continue
            size = struct.calcsize(code) * values
            at = entry + 8 if size <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
            tags[tag] = struct.unpack_from(order + code, data, at)[0]
    except struct.error:
        pass
    return tags
