"""What a run of edge-train works on, and what one cell of it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import run_folder
from .backbone import Backbone
from .photos import Photo, PhotoSet, fingerprint
from .settings import Settings


@dataclass(frozen=True)
class TrainingRun:
    """A run, once its photos are known and split. It is pickled to the processes that fit its cells.

    root: the folder of photos. folder: the run folder to write. backbones: one per cell, the costliest last.
    near_duplicates: pairs of photos that show the same picture, by sha256.
    negatives: folders of pictures of none of the classes, by name: measured on, never fitted on.
    """

    root: Path
    folder: Path
    settings: Settings
    backbones: tuple[Backbone, ...]
    photos: PhotoSet
    near_duplicates: tuple[tuple[str, str], ...] = ()
    negatives: Mapping[str, tuple[Photo, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class CellJob:
    """One cell to fit: all that its process needs."""

    run: TrainingRun
    backbone: Backbone

    @property
    def name(self) -> str:
        return f"{self.backbone.alpha}_{self.backbone.resolution}"

    @property
    def key(self) -> str:
        """What the result depends on: a cell with this key need not be fitted again."""
        photos = self.run.photos
        parts = [
            fingerprint(photos.photos),
            photos.labels,
            {**asdict(self.run.settings), "weights": self.backbone.sha256, "backbone": self.backbone.kind},
            {name: fingerprint(pictures) for name, pictures in self.run.negatives.items()},
            run_folder.FORMAT,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
