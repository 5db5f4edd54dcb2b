"""The split into held-out photos and folds, on photo sets of every shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_classify.learn.photos.photo_set import HELD_OUT, LEFT_OUT, NEGATIVE, TRAINING, VALIDATION, Photo, PhotoSet
from edge_train.photo_columns import ColumnPhotoSet, as_columns
from edge_train.split import split_photos

CLASSES = 3
PARTS = (TRAINING, VALIDATION, HELD_OUT)
Pairs = list[tuple[str, str]]


@st.composite
def photo_sets(draw: st.DrawFn, parts: tuple[str, ...] = (TRAINING,)) -> tuple[PhotoSet, Pairs]:
    """Photos of three classes and negatives, copies among them, and pairs that show the same picture."""
    # Few enough different contents that some photos are copies.
    contents = draw(st.lists(st.integers(0, 60).map("{:064x}".format), min_size=1, max_size=40))
    labels = st.integers(NEGATIVE, CLASSES - 1)
    photos = tuple(
        Photo(Path(f"{index}.jpg"), draw(labels), sha256, draw(st.sampled_from(parts)))
        for index, sha256 in enumerate(contents)
    )
    pairs = draw(st.lists(st.tuples(st.sampled_from(contents), st.sampled_from(contents)), max_size=30))
    names = ("cross", "disc", "stripes")
    return PhotoSet(names, photos, (), given_split=len(parts) > 1, held_out_name="these"), pairs


def pictures(found: PhotoSet, pairs: Pairs) -> dict[str, set[str]]:
    """For each photo, all photos that show its picture, by sha256."""
    groups = {photo.sha256: {photo.sha256} for photo in found.photos}
    for first, second in pairs:
        joined = groups[first] | groups[second]
        groups |= dict.fromkeys(joined, joined)
    return groups


def split(found: PhotoSet, pairs: Pairs) -> ColumnPhotoSet:
    columns, groups = as_columns(found), pictures(found, pairs)
    names = list(columns.photos.contents.names)
    return split_photos(columns, np.array([names.index(min(groups[name])) for name in names], int))


def classes_of_few_pictures(found: PhotoSet, groups: dict[str, set[str]]) -> set[str]:
    """Photos of classes (negatives count as one) that show fewer than four different pictures."""
    few = set()
    for label in range(NEGATIVE, CLASSES):
        members = {photo.sha256 for photo in found.photos if photo.label == label}
        if len({min(groups[member]) for member in members}) < 4:
            few |= members
    return few


@given(photo_sets())
def test_photos_of_one_picture_are_on_one_side_and_in_one_fold(drawn: tuple[PhotoSet, Pairs]) -> None:
    found, pairs = drawn
    groups = pictures(found, pairs)
    # A class of few pictures is split all the same: it could not be trained and measured otherwise.
    few = classes_of_few_pictures(found, groups)
    places = {}
    for photo in split(found, pairs).photos:
        if not groups[photo.sha256] & few:
            picture = min(groups[photo.sha256])
            assert places.setdefault(picture, (photo.part, photo.fold)) == (photo.part, photo.fold)


@given(photo_sets())
def test_every_photo_is_trained_on_in_a_fold_or_held_out(drawn: tuple[PhotoSet, Pairs]) -> None:
    found, pairs = drawn
    done = split(found, pairs)
    assert [(photo.path, photo.label, photo.sha256) for photo in done.photos] == [
        (photo.path, photo.label, photo.sha256) for photo in found.photos
    ]
    for photo in done.photos:
        assert (photo.part, photo.fold in range(5)) in ((TRAINING, True), (HELD_OUT, False))


@st.composite
def tidy_photo_sets(draw: st.DrawFn) -> tuple[PhotoSet, Pairs]:
    """As `photo_sets`, but no picture is in two classes."""
    found, pairs = draw(photo_sets())
    labels = {photo.sha256: photo.label for photo in found.photos}
    photos = tuple(replace(photo, label=labels[photo.sha256]) for photo in found.photos)
    return replace(found, photos=photos), [pair for pair in pairs if labels[pair[0]] == labels[pair[1]]]


@given(tidy_photo_sets())
def test_every_class_of_several_photos_is_on_both_sides(drawn: tuple[PhotoSet, Pairs]) -> None:
    found, pairs = drawn
    done = split(found, pairs)
    for label in range(NEGATIVE, CLASSES):
        members = [photo for photo in done.photos if photo.label == label]
        contents = {photo.sha256 for photo in members}
        parts = {photo.part for photo in members}
        assert parts == (set() if not contents else {TRAINING} if len(contents) == 1 else {TRAINING, HELD_OUT})


@given(photo_sets(), st.randoms(use_true_random=False))
def test_order_and_names_of_files_do_not_matter(drawn: tuple[PhotoSet, Pairs], random) -> None:
    found, pairs = drawn
    shuffled = [replace(photo, path=Path("other") / photo.path) for photo in found.photos]
    random.shuffle(shuffled)
    swapped = [pair[:: random.choice((1, -1))] for pair in random.sample(pairs, len(pairs))]
    again = split(replace(found, photos=tuple(shuffled)), swapped)
    places = {photo.sha256: (photo.part, photo.fold) for photo in split(found, pairs).photos}
    assert all(places[photo.sha256] == (photo.part, photo.fold) for photo in again.photos)


@given(photo_sets(PARTS))
def test_a_given_split_is_kept_but_for_what_training_has_seen(drawn: tuple[PhotoSet, Pairs]) -> None:
    found, pairs = drawn
    groups = pictures(found, pairs)
    trained_on = {photo.sha256 for photo in found.photos if photo.part == TRAINING}
    for before, after in zip(found.photos, split(found, pairs).photos, strict=True):
        seen = before.part != TRAINING and groups[before.sha256] & trained_on
        assert after.part == (LEFT_OUT if seen else before.part)
