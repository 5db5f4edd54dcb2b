"""Whether a picture is like one that is kept already: a hundred pictures of one thing teach little more than one."""

from __future__ import annotations

import base64
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import EdgeClassifyError
from ..images.preprocessing import Image

if TYPE_CHECKING:
    from ..model.classifier import Classifier

log = logging.getLogger(__name__)

# Cosine distance of backbone features. Of 240 frames of 24 scenes the same scene's differ by up to 0.02, others by 0.24
# and more; 0.1 keeps one frame of each.
ALIKE = 0.1
# Pictures that a new one is compared with.
REMEMBERED = 500
# Without features: grey thumbnails of so many pixels a side, which differ by as much for the same change.
_THUMBNAIL_SIDE = 16
_LEVELS = 127


@dataclass(frozen=True)
class Describe:
    """Describes a picture (uint8 BGR, shape (height, width, 3)) by a unit vector, float32, shape (D,).

    by: names what computes it. Only descriptions by the same are compared.
    """

    by: str
    compute: Callable[[Image], np.ndarray]

    def __call__(self, image: Image) -> np.ndarray:
        return self.compute(image)


def describe_by(classifier: Classifier) -> Describe:
    """By the features of the classifier's backbone, from an interpreter of its own: files with other heads, such as
    taught ones, see the same. For a model file in which they are not found, by a thumbnail.
    """
    from ..model.features import ending_at_features, name_backbone

    try:
        graph = classifier.model_file.path.read_bytes()
        backbone, twin = name_backbone(graph), classifier.twin(ending_at_features(graph))
    except (ValueError, OSError, EdgeClassifyError) as error:
        log.warning(
            "%s: its features were not found (%s): likeness is judged by small grey pictures instead",
            classifier.model_file.path,
            error,
        )
        return BY_THUMBNAIL
    return Describe(backbone, lambda image: _unit(twin.infer(image).outputs))


def thumbnail(image: Image) -> np.ndarray:
    """A picture of any size as a unit vector: grey, small, and whatever its brightness."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    values = small.astype(np.float32).reshape(-1)
    return _unit(values - values.mean())


BY_THUMBNAIL = Describe("thumbnail", thumbnail)


class Likeness:
    """Remembers what the last 500 pictures looked like."""

    def __init__(self, kept: Iterable[np.ndarray] = ()) -> None:
        """kept: descriptions of pictures that were kept before, oldest first."""
        self._kept: deque[np.ndarray] = deque(kept, maxlen=REMEMBERED)

    def is_new(self, description: np.ndarray) -> bool:
        """Whether none of them is like it. description: a unit vector, as all the others."""
        return not self._kept or float((np.stack(list(self._kept)) @ description).max()) <= 1 - ALIKE

    def remember(self, description: np.ndarray) -> None:
        self._kept.append(description)


def pack(description: np.ndarray) -> str:
    """A unit vector as text, in a byte for each value."""
    largest = float(np.abs(description).max()) or 1.0
    return base64.b64encode(np.rint(description / largest * _LEVELS).astype(np.int8).tobytes()).decode()


def unpack(text: str) -> np.ndarray:
    """The unit vector, within rounding. Raises ValueError if the text is none."""
    return _unit(np.frombuffer(base64.b64decode(text, validate=True), np.int8).astype(np.float32))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / max(float(np.linalg.norm(values)), 1e-12)
