"""Which photos a model answers correctly, one bit each: what comparing two models on the same photos needs."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# A model is better if chance gives its lead, or a larger one, less often than once in so many cases: a lead of one
# standard error (Breiman et al. 1984), for small numbers too. Asking for more would give up accuracy for speed where
# most of the evidence is against it.
_ONCE_IN = 6
# More than any run chooses on.
_MAX_PHOTOS = 1_000_000


@dataclass(frozen=True)
class Answers:
    """Which photos of a set are answered correctly.

    photos: how many. fingerprint: of the set and its order; only answers with the same one can be compared.
    correct: bit i is photo i.
    """

    photos: int
    fingerprint: str
    correct: int

    @property
    def accuracy(self) -> float:
        """The share of correct ones, 0 to 1."""
        return self.correct.bit_count() / self.photos

    def encode(self) -> dict[str, Any]:
        """As run.json and edge.json have them."""
        packed = self.correct.to_bytes((self.photos + 7) // 8, "little")
        return {
            "photos": self.photos,
            "accuracy": round(self.accuracy, 6),
            "fingerprint": self.fingerprint,
            "correct": base64.b64encode(packed).decode("ascii"),
        }


def pack(fingerprint: str, correct: Iterable[bool]) -> Answers:
    """Answers from one truth value per photo."""
    bits = [bool(value) for value in correct]
    return Answers(len(bits), fingerprint, sum(1 << place for place, bit in enumerate(bits) if bit))


def decode(entry: Mapping[str, Any]) -> Answers:
    """The inverse of `Answers.encode`. Raises ValueError."""
    photos, fingerprint, text = (entry.get(name) for name in ("photos", "fingerprint", "correct"))
    if type(photos) is not int or not 0 < photos <= _MAX_PHOTOS:
        raise ValueError("its number of photos is not a positive count")
    if not isinstance(fingerprint, str) or not isinstance(text, str):
        raise ValueError("fingerprint or answers are missing")
    try:
        packed = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"its answers are not base64 ({error})") from error
    correct = int.from_bytes(packed, "little")
    if len(packed) != (photos + 7) // 8 or correct.bit_length() > photos:
        raise ValueError("it does not have one answer per photo")
    return Answers(photos, fingerprint, correct)


def is_better(better: Answers, other: Answers) -> bool:
    """Whether the first is measurably more accurate than the second; both are of the same photos."""
    return is_significant(
        won=(better.correct & ~other.correct).bit_count(), lost=(other.correct & ~better.correct).bit_count()
    )


def is_significant(won: int, lost: int, once_in: int = _ONCE_IN) -> bool:
    """Whether winning so many photos and losing so many is more than chance gives once in so many cases.

    As in the exact test of McNemar (1947), one-sided: photos that both models answer alike say nothing, and if neither
    is better, each of the others is a fair coin's toss.
    """
    count = won + lost
    tail = sum(math.comb(count, heads) for heads in range(won, count + 1))
    return won > lost and once_in * tail < 2**count
