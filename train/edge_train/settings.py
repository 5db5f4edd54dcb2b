"""Every number that shapes training, but those that a device uses too: of heads, the open set, folds and views.

Those are in `edge_classify.learn`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from edge_classify.images.crop import Crop
from edge_classify.learn.head import HeadSettings
from edge_classify.learn.photos.views import Augmentation

# For `Settings.crop`: the part of a still camera's photos in which the classes differ is found.
AUTO: Final = "auto"

# The split

# The share of each class that is held out, if the user gives no split.
HELD_OUT_SHARE = 0.2
# Fewer different training photos than this in a class are refused: each is in a fold of its own.
MIN_PHOTOS_PER_CLASS = 3
# At most this many photos, equally many of each class, are kept for choosing the ranges of int8 numbers.
CALIBRATION_PHOTOS = 200

# Fine-tuning

# Epochs of --fine-tune without a number.
FINE_TUNING_EPOCHS = 15
# Views of each photo, beside the photo as it is: more than a head gets, since a network overfits sooner.
FINE_TUNING_VIEWS = 7
# The highest learning rate: reached after warming up, then it falls to 0 along a cosine.
FINE_TUNING_LEARNING_RATE = 3e-4
# The share of all steps in which the rate rises from 0.
WARM_UP_SHARE = 0.1
# Gradients whose overall norm is larger are scaled down to it.
MAX_GRADIENT_NORM = 5.0
# Networks are tuned without a fold in turn until so many photos are judged, each by a network that has not seen it.
FINE_TUNING_PHOTOS = 400
# How far from the frozen weights to the tuned ones a cell may go: what lies between is often better than either.
FINE_TUNING_SHARES = (0.25, 0.5, 0.75, 1.0)
# Tuned weights are taken if these photos' cross-entropy falls by more than so many standard errors of the differences,
# and no fewer photos are recognised.
MIN_FINE_TUNING_GAIN_ERRORS = 1.0

# Measuring

# With more classes than this, none is left out to see how well the others reject it: each costs a fit.
MAX_CLASSES_LEFT_OUT = 12


@dataclass(frozen=True)
class Settings:
    """How to train: what the command line chooses. It is recorded in run.json, under these names."""

    # The part of each photo that is used; None: all of it.
    crop: Crop | Literal["auto"] | None = None
    # As `find_backbone` takes them.
    backbone: str = "mobilenet_v2"
    weights: str = "imagenet"
    augmentation: Augmentation = field(default_factory=Augmentation)
    head: HeadSettings = field(default_factory=HeadSettings)
    # Of the head; None: its own, or LEARNING_RATE_STILL_CAMERA.
    learning_rate: float | None = None
    # "balanced": every class counts the same; "none": every photo does.
    class_weights: str = "balanced"
    # Epochs for which the backbone is trained too; 0 leaves it frozen.
    fine_tune: int = 0
    # Fit an output for pictures of none of the classes.
    unknown: bool = True
    # The share of the classes' own photos that should not be called unknown; None: as KEEP or KEEP_STILL_CAMERA.
    keep: float | None = None
    # Of all randomness in training. It does not change the split.
    seed: int = 0
    # Remove a run of other photos or settings that is in the folder, instead of refusing. It is not recorded.
    replace: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For run.json, where a run on whole photos is as it was before there were others."""
        settings = asdict(self)
        del settings["replace"]
        if self.crop is None:
            del settings["crop"]
        return settings
