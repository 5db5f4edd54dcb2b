"""Every number that shapes training, but two kinds that a device uses too: `HeadSettings` and the open set's constants.

Those are in `edge_classify.learn`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from edge_classify.images.crop import Crop
from edge_classify.learn.head import HeadSettings

# For `Settings.crop`: the part of a still camera's photos in which the classes differ is found.
AUTO: Final = "auto"

# The split

# The share of each class that is held out, if the user gives no split.
HELD_OUT_SHARE = 0.2
# Training photos are dealt into this many folds; heads fitted without a fold are tried on it.
FOLDS = 5
# Of a scene, photos that follow one another are one group: so many of a class are in a fold.
WHILES_PER_FOLD = 4
# Fewer different training photos than this in a class are refused: each is in a fold of its own.
MIN_PHOTOS_PER_CLASS = 3
# At most this many photos, equally many of each class, are kept for choosing the ranges of int8 numbers.
CALIBRATION_PHOTOS = 200

# Augmented views

# The smallest share of the photo's area that a view shows.
MIN_CROP_AREA = 0.5
# The most by which a view's sides are stretched against each other.
MAX_STRETCH = 1.25
# The most by which contrast changes, as a share.
MAX_CONTRAST_CHANGE = 0.2
# The most by which a colour's contrast changes against the others', as a share.
MAX_TINT_CHANGE = 0.1
# The most by which brightness changes, as a share of the range from black to white.
MAX_BRIGHTNESS_CHANGE = 0.1

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
# The same for the learning curve, which must not take long beside the features.
LEARNING_CURVE_PHOTOS = 600
# How far from the frozen weights to the tuned ones a cell may go: what lies between is often better than either.
FINE_TUNING_SHARES = (0.25, 0.5, 0.75, 1.0)
# Tuned weights are taken if these photos' cross-entropy falls by more than so many standard errors of the differences,
# and no fewer photos are recognised.
MIN_FINE_TUNING_GAIN_ERRORS = 1.0

# Choosing views

# Heads without views are tried on so many folds: choosing costs a third more of the time that fitting heads takes.
VIEW_FOLDS = 2
# They are taken if their photos' cross-entropy is lower by this much on average, in nats, and by more than chance: the
# mean of the differences is above this many of its standard errors. On a still scene with a small thing in it they cost
# 0.06 to 0.12 nats, 14 to 21 errors; on Alien vs Predator, and with 200 photos of it, at most 0.016 and 2.4.
MIN_VIEW_GAIN = 0.03
MIN_VIEW_GAIN_ERRORS = 3.0

# Heads

# Of a camera that does not move, in place of the head's own: at that, 60 epochs are too few to tell small things from
# light that drifts.
LEARNING_RATE_STILL_CAMERA = 1e-3

# Unknown

# The share of own photos to keep, if the user names none. Of a camera that does not move: what it shows is always
# nearly the same, and what is wrongly called unknown is most of its errors.
KEEP = 0.95
KEEP_STILL_CAMERA = 0.99

# The share of the negatives drawn to try it that a cell's `unknown` may accept; above it the cell is not to be trusted.
MAX_MADE_ACCEPTED = 0.3

# Measuring

# With more classes than this, none is left out to see how well the others reject it: each costs a fit.
MAX_CLASSES_LEFT_OUT = 12


@dataclass(frozen=True)
class Augmentation:
    """Which changes views may show."""

    # Views kept of each photo, beside the photo as it is.
    views: int = 3
    # Fit a cell without them if its cross-validation says that they do harm: crops cut small things out.
    auto: bool = True
    # Mirror half of them.
    flip: bool = True
    # Show a part of the photo only, as from nearer.
    crop: bool = True
    # Change brightness, contrast and tint, as other light would.
    color: bool = True

    def keys(self) -> list[str]:
        """Names of the views, "" first for the photo as it is. Equal names show equal pictures, in any run."""
        letters = "".join(
            letter for letter, chosen in (("f", self.flip), ("c", self.crop), ("l", self.color)) if chosen
        )
        return ["", *(f"{letters}{number}" for number in range(self.views if letters else 0))]


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

    def as_dict(self) -> dict[str, Any]:
        """For run.json, where a run on whole photos is as it was before there were others."""
        settings = asdict(self)
        if self.crop is None:
            del settings["crop"]
        return settings
