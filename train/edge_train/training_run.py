"""What a run of edge-train works on, and what one cell of it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_classify.learn.head import LEARNING_RATE_STILL_CAMERA, HeadSettings
from edge_classify.learn.open_set import KEEP, KEEP_STILL_CAMERA
from edge_classify.learn.photos.photo_set import Photo, PhotoSet, fingerprint

from . import run_folder
from .backbone import Backbone
from .settings import Settings

# Of what a cell's entry says: one that an older edge-train left is made again.
_ENTRY_VERSION = 5


@dataclass(frozen=True)
class TrainingRun:
    """A run, once its photos are known and split. It is pickled to the processes that fit its cells.

    root: the folder of photos. folder: the run folder to write. backbones: one per cell, the costliest last.
    negatives: folders of pictures of none of the classes, by name: measured on, never fitted on.
    """

    root: Path
    folder: Path
    settings: Settings
    backbones: tuple[Backbone, ...]
    photos: PhotoSet
    negatives: Mapping[str, tuple[Photo, ...]] = field(default_factory=dict)

    @property
    def keep(self) -> float:
        """The share of the classes' own photos that should not be called unknown."""
        if self.settings.keep is not None:
            return self.settings.keep
        return KEEP_STILL_CAMERA if self.photos.still_camera else KEEP

    @property
    def head(self) -> HeadSettings:
        """How to fit heads."""
        rate = self.settings.learning_rate
        if rate is None:
            rate = LEARNING_RATE_STILL_CAMERA if self.photos.still_camera else self.settings.head.learning_rate
        return replace(self.settings.head, learning_rate=rate)


@dataclass(frozen=True)
class CellJob:
    """One cell to fit: all that its process needs."""

    run: TrainingRun
    backbone: Backbone

    @property
    def name(self) -> str:
        return f"{self.backbone.alpha}_{self.backbone.resolution}"

    @property
    def title(self) -> str:
        return f"cell {self.backbone.alpha} @ {self.backbone.resolution}"

    def without_views(self) -> CellJob:
        settings = self.run.settings
        settings = replace(settings, augmentation=replace(settings.augmentation, views=0))
        return replace(self, run=replace(self.run, settings=settings))

    @property
    def key(self) -> str:
        """What the result depends on: a cell with this key need not be fitted again."""
        photos = self.run.photos
        parts = [
            photos.fingerprint,
            photos.labels,
            {**self.run.settings.as_dict(), "weights": self.backbone.sha256, "backbone": self.backbone.kind},
            {name: fingerprint(pictures) for name, pictures in self.run.negatives.items()},
            run_folder.FORMAT,
            _ENTRY_VERSION,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
