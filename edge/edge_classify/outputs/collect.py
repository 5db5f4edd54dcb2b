"""Keeps the photos that a model would learn from: what it does not know, is unsure of, or has just changed to."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from ..collect.folders import LABELLED, REMOVED, UNLABELLED, make_folders
from ..collect.limits import DEFAULT_LIMITS, Limits
from ..errors import DataError, UsageError
from ..options import integer, is_folder, number, only_in_help_all, writes_file
from ..system.checksum import file_sha256

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import numpy as np

    from ..collect.burst import Bursts
    from ..collect.likeness import Describe, Likeness
    from ..collect.record import Record
    from ..collect.store import Store
    from ..images.preprocessing import Image
    from ..pipeline.loop import Model, Result
    from .destinations import Destinations

log = logging.getLogger(__name__)

TABLE = "collect"

# Pictures that wait for the disk, at most: each is a whole frame.
_WAITING = 8
# A model's live frames are looked at so often, at most: looking at one takes an inference.
_INTERVAL_S = 1.0
_SCORES = 5
_MB = 1_000_000
# What the system's scheduler gives to the thread: whatever frames leave.
_NICENESS = 19


class _Candidate(NamedTuple):
    result: Result
    reason: str
    model: Model


class _Seen(NamedTuple):
    """What one model's pictures look like. checksum: of its file."""

    model: Model
    checksum: str
    describe: Describe
    likeness: Likeness


class Collect:
    """Keeps photos in a `Store`, in a thread of its own, and none that is like another.

    root: the store's folder, which exists. clock: Unix seconds; for tests.
    It reports on results, and is no reason to go on making them.
    """

    gone = True

    def __init__(
        self, root: Path, limits: Limits, destinations: Destinations, clock: Callable[[], float] = time.time
    ) -> None:
        from ..collect.reasons import Reasons

        self._root = root
        self._limits = limits
        self._clock = clock
        models = destinations.run.models
        self._models = {model.name: model for model in models}
        models.tell(self._take)
        self._reasons = {model.name: Reasons() for model in models}
        self._interval = _INTERVAL_S if destinations.live else 0.0
        self._looked_at = dict.fromkeys(self._models, float("-inf"))
        self._seen: dict[str, _Seen] = {}
        self._kept = self._over_limit = 0
        self._say = destinations.standard_error.put
        self._queue = destinations.queue(self._consider, f"photos to {root}", limit=_WAITING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._say(f"{self._kept} {'photo' if self._kept == 1 else 'photos'} kept in {self._root}\n")

    def append(self, result: Result) -> None:
        reason = self._reasons[result.model].judge(result)
        if reason is None or result.frame.captured_at - self._looked_at[result.model] < self._interval:
            return
        self._looked_at[result.model] = result.frame.captured_at
        self._queue.put(_Candidate(result, reason, self._models[result.model]))

    def counts(self) -> dict[str, int]:
        return {"photos not kept": self._queue.dropped, "photos over the day's limit": self._over_limit}

    def _take(self, model: Model) -> None:
        self._models = {**self._models, model.name: model}

    def _consider(self, candidate: _Candidate) -> None:
        """Keep the frame, unless one like it is kept. Raises OSError if it cannot be written."""
        store = self._store
        result = candidate.result
        model = candidate.model
        seen = self._seen_by(model)
        description = seen.describe(result.frame.image)
        if not seen.likeness.is_new(description):
            return
        record = self._record(candidate, seen, description)
        if store.add(_picture(result.frame.image, model), record) is None:
            if not self._over_limit:
                log.warning("%s: as many photos are written as may be in a day; more will be counted", self._root)
            self._over_limit += 1
            return
        seen.likeness.remember(description)
        self._kept += 1

    @cached_property
    def _store(self) -> Store:
        """Opened by the thread that uses it, after the first result has been shown."""
        from ..collect.store import Store

        _work_behind_frames()
        store = Store(self._root, self._limits, self._clock)
        store.remove_old()
        return store

    @cached_property
    def _bursts(self) -> Bursts:
        from ..collect.burst import Bursts

        return Bursts()

    def _seen_by(self, model: Model) -> _Seen:
        """What the model has seen: also before this run, by a file with the same backbone."""
        from ..collect.likeness import Likeness, describe_by
        from ..collect.record import read_record

        if model.name not in self._seen or self._seen[model.name].model is not model:
            describe = describe_by(model.classifier)
            records = (read_record(path) for path in self._store.newest())
            kept = (record.description() for record in records if record and record.features_by == describe.by)
            likeness = Likeness(description for description in kept if description is not None)
            checksum = file_sha256(model.classifier.model_file.path)
            self._seen[model.name] = _Seen(model, checksum, describe, likeness)
        return self._seen[model.name]

    def _record(self, candidate: _Candidate, seen: _Seen, description: np.ndarray) -> Record:
        from ..collect.likeness import pack
        from ..collect.record import Record

        result = candidate.result
        scores = result.classification.scores
        best = scores.argsort()[::-1][:_SCORES]
        classifier = candidate.model.classifier
        return Record(
            time=result.captured_time,
            reason=candidate.reason,
            burst=self._bursts.at(result.captured_time),
            state=result.state,
            scores={classifier.labels[place]: round(float(scores[place]), 4) for place in best},
            model=result.model,
            sha256=seen.checksum,
            crop=classifier.model_file.crop,
            features=pack(description),
            features_by=seen.describe.by,
        )


def _work_behind_frames() -> None:
    """Give this thread the lowest priority, where the system can."""
    if hasattr(os, "setpriority"):
        with suppress(OSError):  # our systemd unit does not let it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _picture(image: Image, model: Model) -> Image:
    """What is kept of a frame: what edge-train has to be given to make such a model again.

    That is the whole picture if the model file says which part it looks at (edge-train cuts that out), otherwise the
    part that is classified.
    """
    return image if model.classifier.model_file.crop is not None else model.classifier.part(image)


def add_options(group: argparse._ArgumentGroup) -> None:
    defaults = DEFAULT_LIMITS
    writes_file(
        group.add_argument(
            "--collect",
            type=Path,
            metavar="FOLDER",
            help="keep photos that a model would learn from",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--collect-photos",
            type=integer(1),
            default=defaults.photos,
            metavar="N",
            help="unlabelled photos in FOLDER; of more, the oldest of the least useful are removed",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--collect-mb",
            type=number(above=0),
            default=defaults.total_bytes / _MB,
            metavar="MB",
            help="megabytes of unlabelled photos in FOLDER",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--collect-photos-per-day",
            type=integer(1),
            default=defaults.photos_per_day,
            metavar="N",
            help="photos written in a day",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--collect-mb-per-day",
            type=number(above=0),
            default=defaults.bytes_per_day / _MB,
            metavar="MB",
            help="megabytes written in a day: an SD card wears out",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--collect-free-mb",
            type=number(minimum=0),
            default=defaults.free_bytes / _MB,
            metavar="MB",
            help="megabytes that are left free on the disk",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--collect-days",
            type=number(above=0),
            metavar="N",
            help="remove unlabelled photos after N days (default: when there is no more room)",
        )
    )


def check(options: argparse.Namespace, *, stream: bool) -> None:
    if options.collect is None:
        return
    if not stream:
        raise UsageError("--collect needs a camera or a video; pictures are kept already")
    # Path.exists raises an error where one may not look.
    if os.path.exists(options.collect) and not is_folder(options.collect):  # noqa: PTH110
        raise DataError(f"--collect {options.collect}: expected a folder, found a file")


def open_output(options: argparse.Namespace, destinations: Destinations) -> Collect | None:
    if options.collect is None:
        return None
    try:
        make_folders(options.collect)
    except OSError as error:
        raise DataError(f"{error.filename or options.collect}: cannot be made: {error.strerror}") from error
    limits = Limits(
        photos=options.collect_photos,
        total_bytes=round(options.collect_mb * _MB),
        photos_per_day=options.collect_photos_per_day,
        bytes_per_day=round(options.collect_mb_per_day * _MB),
        free_bytes=round(options.collect_free_mb * _MB),
        days=options.collect_days,
    )
    if others := _other_folders(options.collect):
        log.warning(
            "--collect %s: has other folders (%s): photos that a model learns from are better kept in another",
            options.collect,
            ", ".join(others),
        )
    destinations.standard_error.put(f"keeping photos of what the camera sees in {options.collect} (--collect)\n")
    return Collect(options.collect, limits, destinations)


def _other_folders(root: Path) -> list[str]:
    """Those directly in the folder that are no part of what is kept there."""
    own = {UNLABELLED, LABELLED, REMOVED}
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and entry.name not in own)
