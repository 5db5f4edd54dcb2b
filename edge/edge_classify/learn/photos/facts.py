"""Facts of a photo: how large it is, of which format, what it looks like in a few bytes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...images.crop import Crop, cut
from ...images.formats import HEAD_BYTES, picture_format
from ...images.photo import decode_photo
from ...images.preprocessing import Image

# A difference hash has this many rows of this many bits.
HASH_SIDE = 16
THUMBNAIL_SIDE = 32


@dataclass(frozen=True)
class PhotoFacts:
    """What is known of a photo, or of a part of it, without any network.

    width, height: pixels, upright. format: by content: jpeg, png, ... or "" if unknown.
    difference_hash: 256 bits, uint64 (4,) (dHash, Krawetz 2013). thumbnail: uint8 grey (32, 32).
    """

    width: int
    height: int
    format: str
    difference_hash: np.ndarray
    thumbnail: Image


def read_facts(data: bytes, name: str, crop: Crop | None = None) -> PhotoFacts:
    """The facts of a part of an image file's picture. Raises DataError if it is no picture; `name` is for the error."""
    return describe_picture(cut(decode_photo(data, name), crop), picture_format(data[:HEAD_BYTES]))


def describe_picture(image: Image, kind: str = "") -> PhotoFacts:
    """The facts of a picture, uint8 BGR. kind: the format of the file that it is from."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA)
    difference_hash = np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)
    thumbnail = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return PhotoFacts(image.shape[1], image.shape[0], kind, difference_hash, np.asarray(thumbnail, np.uint8))
