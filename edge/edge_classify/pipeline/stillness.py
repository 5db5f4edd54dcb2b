"""Whether a frame shows anything new: if it does not, inference can be skipped."""

from __future__ import annotations

import cv2
import numpy as np

from ..images.preprocessing import Image

# Frames are compared as a grid (columns, rows) of cells, each the mean of some 25 samples: most noise averages out.
_CELLS = (16, 12)
# Samples per row, and per column.
_SAMPLES = 80
# A frame is still if no cell's blue, green or red differs by more, in levels of 0 to 255.
TOLERANCE = 6.0
# A single doubtful frame must not stand for all that follow: so many still frames are classified before any is
# skipped, and from then on one per second.
_MIN_STILL_FRAMES = 8
_REFRESH_S = 1.0


class Stillness:
    """Compares each frame with the last one that was classified."""

    def __init__(self) -> None:
        self._cells: np.ndarray | None = None
        self._unchanged = 0
        self._classified_at = 0.0

    def shows_nothing_new(self, image: Image, captured_at: float) -> bool:
        """Whether `image` need not be classified. If it must, the next ones are compared with it.

        image: uint8 BGR, shape (height, width, 3). captured_at: in seconds.
        """
        step = max(1, image.shape[1] // _SAMPLES)
        # Rows by numpy, columns by OpenCV: slicing both takes five times as long.
        samples = cv2.resize(image[::step], (_SAMPLES, len(image[::step])), interpolation=cv2.INTER_NEAREST)
        cells = cv2.resize(samples, _CELLS, interpolation=cv2.INTER_AREA)
        still = self._cells is not None and cv2.norm(cells, self._cells, cv2.NORM_INF) <= TOLERANCE
        self._unchanged = self._unchanged + 1 if still else 0
        if self._unchanged > _MIN_STILL_FRAMES and captured_at - self._classified_at < _REFRESH_S:
            return True
        self._cells, self._classified_at = cells, captured_at
        return False
