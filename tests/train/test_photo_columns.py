"""Photos in columns: the same as in objects, in little memory; and what the processes that fit heads get of them."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_classify.images.crop import Crop
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
from edge_train.json_file import write_json
from edge_train.photo_columns import ColumnsWriter, as_columns, compact, sort_by_path
from edge_train.place import Place

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
    assert len(pickle.dumps(as_columns(draw()))) < 150 * COUNT


def test_columns_have_whole_photos() -> None:
    whole = draw()
    columns = as_columns(whole)
    for photo, other in zip(whole.photos, columns.photos, strict=True):
        assert replace(photo, group="") == replace(other, group="")
    assert columns.fingerprint == whole.fingerprint
    cut = replace(columns, photos=columns.photos.cut(Crop(0.25, 0, 0.5, 1)))
    assert cut.fingerprint == fingerprint(tuple(cut.photos)) != whole.fingerprint


PLACES = (
    Place("s3://bucket/shards-0000.tar", 512, 9000, "burst 7", "2026:01:05 10:00:00."),
    Place("s3://bucket/shards-0000.tar", 1_000_000_000_000, 9000),
    Place("/photos/a b/1.jpg"),
    Place("https://host/x?path=a/1.jpg"),
)


def test_photos_of_shards_and_tables_are_sorted_as_paths_are() -> None:
    writer = ColumnsWriter()
    paths = ["a b/1.jpg", "a/1.jpg", "a//1.jpg", "ä/ü.jpg", "a/1 small.jpg", "B/1.jpg", "\udcff/1.jpg", "a.jpg"]
    hashes = [hashlib.sha256(path.encode(errors="replace")).hexdigest() for path in paths]
    for number, (path, sha256) in enumerate(zip(paths, hashes, strict=True)):
        writer.add(path, 0, sha256, 0, PLACES[number % len(PLACES)])
    photos = sort_by_path(writer.columns(), np.zeros(len(paths), int))
    expected = sorted(zip(map(Path, paths), hashes, strict=True))
    assert [(photo.path, photo.sha256) for photo in photos] == expected
    assert [photo.place for photo in photos.as_stored()] == [*PLACES, *PLACES]


def test_json_is_written_as_json_dumps_writes_it(tmp_path: Path) -> None:
    content = {"none": [], "ä": ["x", "\udcff"], "pairs": [("a", "b\nc")], "classes": {"a": 1}, "why": "", "crop": None}
    write_json(tmp_path / "x.json", content)
    expected = json.dumps(content, indent=1, ensure_ascii=False)
    assert (tmp_path / "x.json").read_bytes() == expected.encode(errors="backslashreplace")
