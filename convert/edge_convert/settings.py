"""What to make of a run: precisions, and how a conversion is done."""

from __future__ import annotations

from dataclasses import dataclass

from edge_classify.learn.photos.made_negatives import MAX_MADE_ACCEPTED
from edge_train.settings import CALIBRATION_PHOTOS

FLOAT32 = "float32"
FLOAT16 = "float16"
DYNAMIC = "dynamic"
INT8 = "int8"
# The most exact first.
PRECISIONS = (FLOAT32, FLOAT16, DYNAMIC, INT8)


@dataclass(frozen=True)
class Settings:
    """How to convert.

    precisions: some of PRECISIONS.
    calibration_photos: how many photos int8 takes its ranges from, 1 or more.
    max_drop: the accuracy that a file may lose against the trainer's float model, in points, 0 or more.
    max_accepted: how many of the negatives made to test `unknown` may get a class's label, in percent, 0 to 100.
    author, license: recorded in the files' metadata; "" for none.
    replace: whether model files of another run or conversion may be removed from the folder first.
    memory: whether files carry features of some training photos, so that classes can be added to them later.
    exports: third-party programs to write configuration files for, by their names in `exports.EXPORTS`.
    """

    precisions: tuple[str, ...] = PRECISIONS
    calibration_photos: int = CALIBRATION_PHOTOS
    max_drop: float = 3.0
    max_accepted: float = 100 * MAX_MADE_ACCEPTED
    author: str = ""
    license: str = ""
    memory: bool = True
    exports: tuple[str, ...] = ()
    replace: bool = False

    def of_files(self) -> dict[str, object]:
        """Those that change the files, beside the precision."""
        return {
            "calibration_photos": self.calibration_photos,
            "author": self.author,
            "license": self.license,
            "memory": self.memory,
        }
