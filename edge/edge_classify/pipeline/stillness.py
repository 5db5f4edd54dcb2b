"""Whether a picture shows anything new: where it does not, inference can be left out."""

from __future__ import annotations

import cv2
import numpy as np

from ..images.preprocessing import Image

# A picture is compared as so many cells, each the mean of some 25 samples: most of a camera's noise is gone.
_CELLS = (16, 12)
_SAMPLES = 80
# The largest difference of any cell's blue, green or red, in grey levels.
TOLERANCE = 6.0
# A doubtful frame must not decide for long: so many are classified before leaving any out, and then one a second.
_FRAMES_FIRST = 8
_REFRESH = 1.0


class Stillness:
    """Compares each picture with the last that was classified."""

    def __init__(self) -> None:
        self._cells: np.ndarray | None = None
        self._unchanged = 0
        self._classified_at = 0.0

    def shows_nothing_new(self, image: Image, captured_at: float) -> bool:
        """Whether `image` need not be classified; where it must, it is what the next are compared with.

        image: uint8 BGR, shape (height, width, 3). captured_at: in seconds.
        """
        step = max(1, image.shape[1] // _SAMPLES)
        # Rows by numpy, columns by OpenCV: a slice of both takes five times as long.
        samples = cv2.resize(image[::step], (_SAMPLES, len(image[::step])), interpolation=cv2.INTER_NEAREST)
        cells = cv2.resize(samples, _CELLS, interpolation=cv2.INTER_AREA)
        still = self._cells is not None and cv2.norm(cells, self._cells, cv2.NORM_INF) <= TOLERANCE
        self._unchanged = self._unchanged + 1 if still else 0
        if self._unchanged > _FRAMES_FIRST and captured_at - self._classified_at < _REFRESH:
            return True
        self._cells, self._classified_at = cells, captured_at
        return False
