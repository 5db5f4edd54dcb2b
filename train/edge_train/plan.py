"""What a run would cost, before anything starts: by the times that some photos take on this machine."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edge_classify.errors import DataError
from edge_classify.images.folder import find_pictures
from edge_classify.images.photo import decode_photo
from edge_classify.learn.head import Examples, HeadSettings, fit_head
from edge_classify.learn.photos.folds import FOLDS
from edge_classify.learn.photos.views import show_view
from edge_classify.learn.rows import Rows
from edge_classify.model.labels import UNKNOWN
from edge_classify.system.counted import counted

from .backbone import Backbone
from .cache import cache_folder
from .features import make_models, open_model, read_cost
from .place import Place
from .settings import HELD_OUT_SHARE, Settings
from .shards.source import PhotoSource
from .shards.survey import examine
from .shards.tar_shard import Shard, read_photos

# Photos that are looked at, and of each shard.
_SAMPLE = 200
_SAMPLE_OF_A_SHARD = 25
# The heads of a cell are timed on so many rows.
_ROWS = 2048
_BYTES_PER_NUMBER = 4
# To start, to check a few photos and to write the report, whatever the number of cores: measured on an AMD EPYC.
_START_AND_REPORT_S = 3.0


@dataclass(frozen=True)
class Plan:
    """What a run costs. photos: how many. Hours are of one core like this machine's.

    bytes_read: of photos, each of which is read twice. heads: of one cell, at most; one core fits it.
    feature_bytes: in the cache. largest_cell: of these, those of the cell that has most.
    """

    photos: int
    sampled: int
    bytes_read: float
    reading_hours: float
    feature_hours: dict[str, float]
    head_hours: float
    feature_bytes: float
    largest_cell: float

    def describe(self, cores: int) -> str:
        """In words, for so many cores."""
        features = sum(self.feature_hours.values())
        cells = len(self.feature_hours)
        rounds = -(-cells // cores)
        hours = (self.reading_hours + features) / cores + rounds * self.head_hours + _START_AND_REPORT_S / 3600
        free = shutil.disk_usage(_existing(cache_folder())).free
        lines = [
            f"plan for {self.photos:,} photos and {counted(cells, 'cell')}, by {self.sampled} of the "
            "photos on this machine:",
            f"  reading the photos, twice: {_size(self.bytes_read)}, {_hours(self.reading_hours)} of one core",
            f"  features: {_hours(features)} of one core ("
            + ", ".join(f"{name} {_hours(own)}" for name, own in self.feature_hours.items())
            + ")",
            f"  heads: at most {_hours(self.head_hours)} of one core for each cell",
            f"  starting, and writing the report: {_START_AND_REPORT_S:.0f} s",
            f"  on {counted(cores, 'core')}: about {_hours(hours)}",
            f"  features in the cache: {_size(self.feature_bytes)}, and {_size(self.largest_cell)} for a while for "
            f"each cell being fitted ({_size(free)} are free in {cache_folder()})",
        ]
        return "\n".join(lines)


def make_plan(
    database: sqlite3.Connection, source: Path | PhotoSource, settings: Settings, backbones: Sequence[Backbone]
) -> Plan:
    """Count the photos, and time some of them. Backbones' models that are not cached are made. Raises DataError."""
    count, sample = _sample(source)
    if not sample:
        raise DataError(f"{source}: no photos that can be read")
    make_models(database, backbones)
    views = settings.augmentation.keys()
    share = 1 - HELD_OUT_SHARE
    views_per_photo = share * len(views) + HELD_OUT_SHARE
    reading, sizes, seconds = _time_photos(sample, backbones, ("", views[-1]))
    scale = count / len(sample) / 3600
    costs = [read_cost(database, backbone) for backbone in backbones]
    row_bytes = [_BYTES_PER_NUMBER * (cost.features + cost.middle) for cost in costs]
    heads = _time_heads(max(cost.features for cost in costs), settings.head)
    return Plan(
        photos=count,
        sampled=len(sample),
        bytes_read=2 * sizes * count / len(sample),
        reading_hours=reading * scale,
        feature_hours={
            f"{backbone.alpha}@{backbone.resolution}": own * views_per_photo * scale
            for backbone, own in zip(backbones, seconds, strict=True)
        },
        # One without each fold, each on all but a fold, and one on all photos.
        head_hours=heads * settings.head.epochs * share * count * FOLDS / 3600,
        feature_bytes=count * views_per_photo * sum(row_bytes),
        largest_cell=count * views_per_photo * max(row_bytes),
    )


def _time_photos(
    sample: Sequence[Callable[[], bytes]], backbones: Sequence[Backbone], views: Sequence[str]
) -> tuple[float, int, list[float]]:
    """Seconds to read and decode all, twice; their bytes; and for each backbone seconds of one view of each."""
    reading, sizes, seconds = 0.0, 0, [0.0] * len(backbones)
    for read in sample:
        began = time.perf_counter()
        data = read()
        fetched = time.perf_counter() - began
        examined = examine(data, "")
        reading += time.perf_counter() - began
        sizes += len(data)
        if isinstance(examined, str):
            continue
        began = time.perf_counter()
        picture = decode_photo(data, "")
        reading += fetched + time.perf_counter() - began
        for place, backbone in enumerate(backbones):
            compute = open_model(backbone)
            began = time.perf_counter()
            for view in views:
                compute(show_view(picture, view, examined.sha256, backbone.resolution))
            seconds[place] += (time.perf_counter() - began) / len(views)
    return reading, sizes, seconds


def _time_heads(features: int, settings: HeadSettings) -> float:
    """Seconds that one photo takes in one epoch of fitting."""
    rows = Rows(_existing(cache_folder()), (features,), np.float32)
    rng = np.random.default_rng(0)
    for _ in range(_ROWS):
        rows.append(rng.random(features, np.float32))
    labels = np.arange(_ROWS) % 4
    examples = Examples(rows, 1, np.arange(_ROWS), labels, np.ones(4, np.float32))
    began = time.perf_counter()
    fit_head(examples, None, features, settings, 0, epochs=1)
    return (time.perf_counter() - began) / _ROWS


def _sample(source: Path | PhotoSource) -> tuple[int, list[Callable[[], bytes]]]:
    """How many photos there are, and how to read some of them."""
    if isinstance(source, Path):
        paths = [path for path in find_pictures(source).pictures if UNKNOWN not in path.parts]
        return len(paths), [path.read_bytes for path in paths[:: -(-len(paths) // _SAMPLE) or 1]]
    return _sample_table(source) if source.is_table else _sample_shards(source)


def _sample_table(source: PhotoSource) -> tuple[int, list[Callable[[], bytes]]]:
    """Reservoir sampling (Vitter 1985): the rows are counted as they pass."""
    rng, chosen, count = random.Random(0), list[str](), 0
    for row in source.rows():
        count += 1
        if len(chosen) < _SAMPLE:
            chosen.append(row.url)
        elif (place := rng.randrange(count)) < _SAMPLE:
            chosen[place] = row.url
    return count, [Place(url).read_bytes for url in chosen]


def _sample_shards(source: PhotoSource) -> tuple[int, list[Callable[[], bytes]]]:
    shards = [unit for unit in source.units() if isinstance(unit, Shard)]
    some = shards[:: -(-len(shards) // (_SAMPLE // _SAMPLE_OF_A_SHARD))]
    sample: list[Callable[[], bytes]] = []
    counted = sum(shard.photos for shard in shards) if all(shard.photos >= 0 for shard in shards) else 0
    found = 0
    for shard in some:
        places = list(islice(read_photos(shard.url), None if not counted else -(-_SAMPLE // len(some))))
        found += len(places)
        sample += [place.read_bytes for place in places[: -(-_SAMPLE // len(some))]]
    return counted or round(found * len(shards) / len(some)), sample


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"


def _size(size: float) -> str:
    for unit in ("MB", "GB"):
        size /= 1000 if unit == "GB" else 1_000_000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} TB"
