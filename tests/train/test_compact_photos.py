"""What the processes that fit heads get of the photos: all that they need, and little memory for each."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np

from edge_classify.learn.photos.photo_set import (
    HELD_OUT,
    LEFT_OUT,
    NEGATIVE,
    TRAINING,
    VALIDATION,
    Photo,
    PhotoSet,
    fingerprint,
)
from edge_train.compact_photos import compact

COUNT = 1000
PARTS = (TRAINING, VALIDATION, HELD_OUT, LEFT_OUT)


def draw() -> PhotoSet:
    rng = np.random.default_rng(0)
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(COUNT)]
    photos = tuple(
        Photo(
            Path(f"some folder/{number}.jpg"),
            int(rng.integers(NEGATIVE, 3)),
            sha256,
            PARTS[rng.integers(len(PARTS))],
            int(rng.integers(5)),
            hashes[rng.integers(COUNT)] + ("" if number % 3 else f" {number % 40}"),
        )
        for number, sha256 in enumerate(hashes)
    )
    return PhotoSet(("a", "b", "c"), photos, ("one.jpg: no picture",), True, "test/")


def test_compact_photos_are_the_same_but_for_their_paths() -> None:
    whole = draw()
    small = pickle.loads(pickle.dumps(compact(whole)))
    assert (small.labels, small.skipped, small.given_split, small.crop) == (("a", "b", "c"), whole.skipped, True, None)
    pairs = [(whole.photos, small.photos), (whole.of(TRAINING, VALIDATION), small.of(TRAINING, VALIDATION))]
    pairs += [(whole.of(LEFT_OUT), small.of(LEFT_OUT)), (whole.negatives(HELD_OUT), small.negatives(HELD_OUT))]
    for photos, own in pairs:
        assert len(photos) == len(own) > 0
        for photo, other in zip(photos, own, strict=True):
            assert (photo.sha256, photo.label, photo.part, photo.fold) == (
                *(other.sha256, other.label, other.part),
                other.fold,
            )
        # Groups have other names, in the same order.
        orders = [np.unique([photo.group for photo in each], return_inverse=True)[1] for each in (photos, own)]
        assert (orders[0] == orders[1]).all()
    assert small.fingerprint == whole.fingerprint == fingerprint(small.photos)
    assert [photo.sha256 for photo in small.photos[7:9]] == [photo.sha256 for photo in whole.photos[7:9]]


def test_a_photo_takes_little_memory() -> None:
    assert len(pickle.dumps(compact(draw()))) < 50 * COUNT
