"""What a model file remembers of its training photos, so that its classes can be changed when they are gone.

Not pictures but features, of a few photos of each class: those whose mean stays nearest to the mean of all
(herding: Welling 2009, for remembering classes Rebuffi et al. 2017). They lie in the file as one NumPy array of
records, which `numpy.load` reads; the numbers of each photo are rounded to 256 steps.

F is the number of features, M that of the middle layer (0 if there is none), K that of classes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelFileError
from ..model.model_file import MEMORY_PART, ModelFile, read_part
from .photos.photo_set import NEGATIVE

# Photos remembered of each class: with 50 in place of 40 an added class is recognised as well (docs/teaching.md).
PHOTOS_PER_CLASS = 40
# And of all classes together, so that a file with many classes does not grow without bound; at least one of each.
MAX_PHOTOS = 2000
_STEPS = 255


@dataclass(frozen=True)
class Memory:
    """Features of training photos, and how many there were.

    rows: float32, (n, F + M), sorted by label. features: F.
    labels: class indices, 0 to K − 1, or NEGATIVE, integers, (n,).
    counts: how many different photos of each class the head was fitted on, integers, (K,).
    """

    rows: np.ndarray
    features: int
    labels: np.ndarray
    counts: np.ndarray


def choose(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` different rows, indices: those whose mean is nearest to the mean of all, the nearest first.

    rows: (n, F + M). Which are chosen does not depend on their order.
    """
    rows = rows.astype(np.float32)
    _, order = np.unique(rows, axis=0, return_index=True)
    unit = rows[order] / np.maximum(np.linalg.norm(rows[order], axis=1, keepdims=True), np.finfo(np.float32).tiny)
    mean, chosen = unit.mean(axis=0), np.empty(0, np.intp)
    total = np.zeros_like(mean)
    left = np.ones(len(unit), bool)
    for number in range(min(count, len(unit))):
        distances = ((mean * (number + 1) - total - unit) ** 2).sum(axis=1)
        nearest = int(np.where(left, distances, np.inf).argmin())
        chosen = np.append(chosen, order[nearest])
        left[nearest], total = False, total + unit[nearest]
    return chosen


def remember(
    rows: np.ndarray, features: int, labels: np.ndarray, counts: np.ndarray, per_class: int = PHOTOS_PER_CLASS
) -> Memory:
    """The memory of photos of which `rows` are the features, (n, F + M), and of which there were `counts`, (K,).

    labels: class indices or NEGATIVE, (n,). Of each `per_class` are remembered at most, and MAX_PHOTOS of all.
    """
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    each = max(1, min(per_class, MAX_PHOTOS // max(1, len(groups))))
    order = np.concatenate([np.empty(0, np.intp), *(group[choose(rows[group], each)] for group in groups)])
    return Memory(rows[order].astype(np.float32), features, labels[order].astype(np.intp), np.asarray(counts, np.intp))


def encode(memory: Memory) -> bytes:
    """The memory's rows and labels as a .npy file; the same memory gives the same bytes."""
    middle = memory.rows.shape[1] - memory.features
    records = np.zeros(len(memory.rows), _record(memory.features, middle))
    records["label"] = memory.labels
    for part, name in enumerate(("features", "middle")):
        if records[name].shape[1]:
            values = memory.rows[:, : memory.features] if name == "features" else memory.rows[:, memory.features :]
            low = values.min(axis=1, keepdims=True).astype(np.float32)
            step = np.maximum(values.max(axis=1, keepdims=True) - low, np.finfo(np.float32).tiny) / np.float32(_STEPS)
            records["low"][:, part], records["step"][:, part] = low[:, 0], step[:, 0]
            records[name] = np.clip(np.round((values - low) / step), 0, _STEPS)
    file = io.BytesIO()
    np.save(file, records, allow_pickle=False)
    return file.getvalue()


def decode(data: bytes, counts: np.ndarray) -> Memory:
    """What `encode` wrote. counts: of the photos of each class, (K,). Raises ValueError if the data is damaged."""
    try:
        records = np.load(io.BytesIO(data), allow_pickle=False)
        features, middle = (records.dtype[name].shape[0] for name in ("features", "middle"))
        if records.ndim != 1 or records.dtype != _record(features, middle):
            raise ValueError("not records of features")
    except (ValueError, KeyError, TypeError, IndexError, EOFError, OverflowError, MemoryError) as error:
        raise ValueError(f"damaged memory: {error}") from error
    parts = [
        records[name] * records["step"][:, part, None] + records["low"][:, part, None]
        for part, name in enumerate(("features", "middle"))
    ]
    labels = records["label"].astype(np.intp)
    if ((labels < NEGATIVE) | (labels >= len(counts))).any() or not all(np.isfinite(part).all() for part in parts):
        raise ValueError("damaged memory: photos of classes that are not there, or numbers that are none")
    return Memory(np.concatenate(parts, axis=1), features, labels, np.asarray(counts, np.intp))


def describe(memory: Memory) -> dict[str, Any]:
    """What edge.json says of the memory."""
    return {"photos": len(memory.rows), "trained_on": memory.counts.tolist()}


def read_memory(model: ModelFile) -> Memory | None:
    """What the file remembers of its training photos; None if nothing. Raises ModelFileError if that is damaged."""
    if model.contract is None or "memory" not in model.contract:
        return None
    data = read_part(model.path, MEMORY_PART)
    try:
        return decode(data or b"", np.array(model.contract["memory"]["trained_on"], np.intp))
    except ValueError as error:
        raise ModelFileError(f"{model.path}: damaged or cut off ({error}): copy it again") from error


def _record(features: int, middle: int) -> np.dtype[np.void]:
    """One photo: value = low + step · number, each for the features and for the middle."""
    return np.dtype(
        [
            ("label", "<i4"),
            ("low", "<f4", (2,)),
            ("step", "<f4", (2,)),
            ("features", "u1", (features,)),
            ("middle", "u1", (middle,)),
        ]
    )
