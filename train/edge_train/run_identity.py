"""What all cells of a run have in common: its photos and settings. No other run is written into its folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, cast

from edge_classify.errors import DataError
from edge_classify.images.crop import WHOLE
from edge_classify.learn.photos.photo_set import NEGATIVE, PhotoSet, fingerprint
from edge_classify.model.labels import UNKNOWN
from edge_classify.system.atomic_write import write_atomic

from .run_folder import FORMAT, INDEX, REPLACED, STARTED, set_run_aside
from .training_run import CellJob, TrainingRun

log = logging.getLogger(__name__)

# Classes or options named in a message.
_MAX_NAMED = 5
# Options that are not spelled as their settings are.
_OPTIONS = {
    "augmentation.auto": "--views",
    "augmentation.flip": "--no-flip",
    "augmentation.crop": "--no-random-crops",
    "augmentation.color": "--no-color",
    "unknown": "--no-unknown",
}


class _DamagedError(Exception):
    """A file of the folder's run cannot be read: which, and why."""


def claim_folder(run: TrainingRun) -> list[dict[str, Any]]:
    """Write down what the run is of, before its first cell, or see that the folder's run is of the same.

    Returns the entries, with their curves, of the cells of the finished run in the folder that `run` does not fit.
    Raises DataError, and changes nothing, if that run is of other photos or settings, has cells of other weights, or is
    damaged, unless the settings say to replace it: then it is set aside, until this one is finished.
    """
    now = _describe(run)
    earlier: list[dict[str, Any]] = []
    reason = ""
    if (run.folder / INDEX).exists() or any((run.folder / "heads").glob("*.json")):
        try:
            reason = _difference(_read(run.folder), now, run) or _other_weights(run)
            earlier = [] if reason else _earlier_entries(run)
        except _DamagedError as error:
            reason = f"the run here is damaged ({error})"
    if reason and not run.settings.replace:
        raise DataError(
            f"{run.folder}: {reason}, and would be mixed with this one: give --replace to put this one in its place, "
            f"or another folder, as with -o {_free_name(run.folder)}"
        )
    if reason:
        set_run_aside(run.folder)
        kept = run.folder / REPLACED
        log.warning(
            "%s: %s: replaced, and what was here stays in %s until this one is finished", run.folder, reason, kept
        )
    write_atomic(run.folder / STARTED, json.dumps(now, indent=1, ensure_ascii=False))
    return earlier


def is_of_other_photos(folder: Path, photos: PhotoSet) -> bool:
    """Whether the folder has a run, and of other photos than these."""
    started = _read(folder)
    return (folder / INDEX).exists() and started.get("photos") != photos.fingerprint


def _describe(run: TrainingRun) -> dict[str, Any]:
    """Weights are not in it: each cell has its own."""
    settings = {**asdict(run.settings), "keep": run.keep, "backbone": run.backbones[0].kind}
    del settings["weights"], settings["replace"]
    described: dict[str, Any] = {
        "format": FORMAT,
        "labels": list(run.photos.labels),
        "photos": run.photos.fingerprint,
        "count": len(run.photos.photos),
        "settings": settings,
        "negatives": {name: fingerprint(pictures) for name, pictures in run.negatives.items()},
    }
    # As it is read again: with lists for tuples.
    return cast(dict[str, Any], json.loads(json.dumps(described)))


def _read(folder: Path) -> dict[str, Any]:
    """What a run is of; {} if that is not written there."""
    try:
        started = json.loads((folder / STARTED).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return started if isinstance(started, dict) else {}


def _difference(then: Mapping[str, Any], now: Mapping[str, Any], run: TrainingRun) -> str:
    """How a run differs from the one in its folder, in words; "" if it does not."""
    if then.get("format") != now["format"] or then.keys() != now.keys():
        return f"the run here is of another version of edge-train, or does not say what it is of ({STARTED})"
    if then["labels"] != now["labels"]:
        return f"the run here has other classes ({_name(then['labels'])}; these photos: {_name(now['labels'])})"
    # The photos' fingerprint depends on it, too.
    parts = [",".join(f"{side:g}" for side in told["settings"].get("crop") or WHOLE) for told in (then, now)]
    if parts[0] != parts[1]:
        return f"the run here uses another part of the photos (--crop {parts[0]}; now {parts[1]})"
    if then["photos"] != now["photos"]:
        changes = _changes(run) or f"{then['count']}; now {now['count']}"
        return f"the run here is of other photos ({changes})"
    before, after = dict(_flatten(then["settings"])), dict(_flatten(now["settings"]))
    options = [
        _OPTIONS.get(name, f"--{name.rpartition('.')[2].replace('_', '-')}")
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if options:
        return f"the run here was made with other settings ({_name(list(dict.fromkeys(options)))})"
    if then["negatives"] != now["negatives"]:
        return "the run here was measured on other negatives (--negatives)"
    return ""


def _changes(run: TrainingRun) -> str:
    """Which photos are others than the finished run's in its folder, in words; "" if it does not list them."""
    try:
        files = json.loads((run.folder / INDEX).read_text("utf-8"))["photos"]["files"]
        then = {file["sha256"]: file["label"] for file in files}
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if not then:
        return ""
    names = {NEGATIVE: UNKNOWN, **dict(enumerate(run.photos.labels))}
    now = {photo.sha256: names[photo.label] for photo in run.photos.photos}
    moved = sum(then[content] != now[content] for content in then.keys() & now.keys())
    counts = {"new": len(now.keys() - then.keys()), "gone": len(then.keys() - now.keys()), "in another class": moved}
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "the same, split otherwise"


def _other_weights(run: TrainingRun) -> str:
    for backbone in run.backbones:
        job = CellJob(run, backbone)
        path = run.folder / "heads" / f"{job.name}.json"
        if path.exists() and (entry := _read_entry(path))["key"] != job.key:
            return f"the run here has {job.title} with other weights ({entry['weights_name']}; now {backbone.name})"
    return ""


def _earlier_entries(run: TrainingRun) -> list[dict[str, Any]]:
    path = run.folder / INDEX
    if not path.exists():
        return []
    own = {CellJob(run, backbone).name for backbone in run.backbones}
    try:
        heads = [Path(cell["head"]) for cell in json.loads(path.read_text("utf-8"))["cells"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _DamagedError(f"{path.name}: {error}") from error
    return [_read_entry(run.folder / head.with_suffix(".json")) for head in heads if head.stem not in own]


def _read_entry(path: Path) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if missing := {"key", "weights_name", "curves"} - entry.keys():
            raise KeyError(min(missing))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise _DamagedError(f"{path.name}: {error}") from error
    return entry


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _name(words: Sequence[str]) -> str:
    more = len(words) - _MAX_NAMED
    return ", ".join([*words[:_MAX_NAMED], f"and {more} more"] if more > 0 else words)


def _free_name(folder: Path) -> Path:
    return next(path for number in count(2) if not (path := folder.with_name(f"{folder.name}-{number}")).exists())
