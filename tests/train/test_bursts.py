"""Photos that a device took one right after another are never on both sides of the split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_classify.collect.photo_file import encode, write
from edge_classify.collect.record import Record
from edge_classify.learn.photos.bursts import join_bursts
from edge_classify.learn.photos.photo_set import find_photos
from edge_train.photo_columns import as_columns
from edge_train.split import split_photos


def test_a_burst_is_held_out_or_trained_on_as_a_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("cup", "keys"):
        (tmp_path / label).mkdir()
        for number in range(40):
            image = rng.integers(0, 256, (32, 32, 3), np.uint8)
            record = Record(1000.0 + number, "flip", f"{label} {number // 4}" if number < 32 else "")
            write(tmp_path / label, encode(image, record), record)
    found = find_photos(tmp_path, with_unknown=True)
    alone = {photo.sha256: photo.sha256 for photo in found.photos}
    groups = join_bursts(tmp_path, found.photos, alone)
    assert len(set(groups.values())) == 2 * (8 + 8)
    assert all(group == min(sha256 for sha256 in groups if groups[sha256] == group) for group in groups.values())
    columns = as_columns(found)
    names = list(columns.photos.contents.names)
    split = split_photos(columns, np.array([names.index(groups[name]) for name in names]))
    sides = {}
    for photo in split.photos:
        burst = groups[photo.sha256]
        assert sides.setdefault(burst, (photo.part, photo.fold, photo.group)) == (photo.part, photo.fold, photo.group)
    assert len({part for part, _, _ in sides.values()}) == 2
    assert len({group for _, _, group in sides.values()}) == len(sides)
