"""What a model file remembers of its training photos, so that its classes can be changed when they are gone.

Not pictures but features, of a few photos of each class: those whose mean stays nearest to the mean of all
(herding: Welling 2009, for remembering classes Rebuffi et al. 2017). They lie in the file as one NumPy array of
records, which `numpy.load` reads; the numbers of each photo are rounded to 16 steps, by which no answer changes.

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

# Photos remembered of each class: with 20, other classes lose more to an added one; 50 gain little (docs/teaching.md).
PHOTOS_PER_CLASS = 40
# And of all classes together, so that a file with many classes does not grow without bound; but two of each.
MAX_PHOTOS = 2000
# Of a number of 4 bits.
_STEPS = 15


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

    @property
    def middle(self) -> int:
        """M."""
        return int(self.rows.shape[1]) - self.features

    def parts(self) -> dict[str, slice]:
        """The columns of the features and of the middle layer."""
        return {"features": slice(0, self.features), "middle": slice(self.features, self.features + self.middle)}


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
    each = max(2, min(per_class, MAX_PHOTOS // max(1, len(groups))))
    order = np.concatenate([np.empty(0, np.intp), *(group[choose(rows[group], each)] for group in groups)])
    return Memory(rows[order].astype(np.float32), features, labels[order].astype(np.intp), np.asarray(counts, np.intp))


def encode(memory: Memory) -> bytes:
    """The memory's rows and labels as a .npy file; the same memory gives the same bytes."""
    records = np.zeros(len(memory.rows), _record(memory.features, memory.middle))
    records["label"] = memory.labels
    for place, (name, columns) in enumerate(memory.parts().items()):
        values = memory.rows[:, columns]
        if not values.size:
            continue
        low = np.minimum(values.min(axis=1, keepdims=True), 0)
        scale = np.maximum(values.max(axis=1, keepdims=True) - low, np.finfo(np.float32).tiny)
        shares = (values - low) / scale
        steps = np.round(np.where(low == 0, np.sqrt(shares), shares) * _STEPS).astype(np.uint8)
        steps = np.pad(steps, ((0, 0), (0, steps.shape[1] % 2)))
        records["low"][:, place], records["scale"][:, place] = low[:, 0], scale[:, 0]
        records[name] = steps[:, 0::2] | steps[:, 1::2] << 4
    file = io.BytesIO()
    np.save(file, records, allow_pickle=False)
    return file.getvalue()


def decode(data: bytes, counts: np.ndarray, features: int, middle: int) -> Memory:
    """What `encode` wrote. counts: of the photos of each class, (K,). features, middle: F and M.

    Raises ValueError if the data is damaged.
    """
    try:
        records = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, KeyError, TypeError, EOFError, OverflowError, MemoryError) as error:
        raise ValueError(f"damaged memory: {error}") from error
    if not isinstance(records, np.ndarray) or records.ndim != 1 or records.dtype != _record(features, middle):
        raise ValueError("damaged memory: not records of features")
    rows = np.empty((len(records), features + middle), np.float32)
    memory = Memory(rows, features, records["label"].astype(np.intp), np.asarray(counts, np.intp))
    for place, (name, columns) in enumerate(memory.parts().items()):
        low, scale = records["low"][:, place, None], records["scale"][:, place, None]
        steps = np.stack([records[name] & 15, records[name] >> 4], axis=2).reshape(len(records), -1)
        shares = steps[:, : columns.stop - columns.start].astype(np.float32) / _STEPS
        rows[:, columns] = low + scale * np.where(low == 0, shares**2, shares)
    labels = memory.labels
    if ((labels < NEGATIVE) | (labels >= len(counts))).any() or not np.isfinite(rows).all():
        raise ValueError("damaged memory: photos of classes that are not there, or numbers that are none")
    return memory


def describe(memory: Memory) -> dict[str, Any]:
    """What edge.json says of the memory."""
    return {
        "photos": len(memory.rows),
        "trained_on": memory.counts.tolist(),
        "features": memory.features,
        "middle": memory.middle,
    }


def read_memory(model: ModelFile) -> Memory | None:
    """What the file remembers of its training photos; None if nothing. Raises ModelFileError if that is damaged."""
    if model.contract is None or "memory" not in model.contract:
        return None
    data, about = read_part(model.path, MEMORY_PART), model.contract["memory"]
    try:
        return decode(data or b"", np.array(about["trained_on"], np.intp), about["features"], about["middle"])
    except ValueError as error:
        raise ModelFileError(f"{model.path}: damaged or cut off ({error}): copy it again") from error


def _record(features: int, middle: int) -> np.dtype[np.void]:
    """One photo; of each part, features and middle, two numbers of 4 bits in a byte, the first in the lower bits.

    value = low + scale · share, where share = number / 15, and its square if low is 0: most features are small.
    """
    return np.dtype(
        [
            ("label", "<i4"),
            ("low", "<f4", (2,)),
            ("scale", "<f4", (2,)),
            ("features", "u1", (-(-features // 2),)),
            ("middle", "u1", (-(-middle // 2),)),
        ]
    )
