"""Negatives that the program makes: the same everywhere, each of its kind, and none of them fitted on."""

from __future__ import annotations

import numpy as np

from edge_classify.learn.photos.made_negatives import (
    BLANKS,
    DRAWN_KINDS,
    PHOTO_KINDS,
    TRIAL,
    choose_tried,
    draw,
    is_drawn,
    kind_of,
    make_senseless,
    measure_made,
)


def test_drawings_are_the_same_each_time_and_none_is_both_fitted_and_tried_on() -> None:
    names = [picture.sha256 for picture in (*BLANKS, *TRIAL)]
    assert len(set(names)) == len(names)
    pictures = [draw(name) for name in names[::4]]
    assert all(picture.shape == (240, 240, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert all((draw(name) == drawn).all() for name, drawn in zip(names[::4][:3], pictures, strict=False))
    assert {kind_of(picture) for picture in TRIAL} == set(DRAWN_KINDS)
    assert all(is_drawn(picture.sha256) for picture in (*BLANKS, *TRIAL))
    assert not is_drawn("9f86d081")


def test_a_senseless_photo_keeps_its_colours_and_loses_its_shapes() -> None:
    photo = np.full((300, 400, 3), (40, 90, 160), np.uint8)
    photo[100:200, 150:250] = (200, 220, 60)
    for kind in PHOTO_KINDS:
        picture = make_senseless(photo, kind, "a")
        assert (picture == make_senseless(photo, kind, "a")).all()
        assert (picture != make_senseless(photo, kind, "b")).any()
        assert np.abs(picture.mean(axis=(0, 1)) - photo.mean(axis=(0, 1))).max() < 8
        # The square in the middle is there no more: its place differs no more from the border than chance.
        difference = picture[90:150, 90:150].mean(axis=(0, 1)) - picture[:40].mean(axis=(0, 1))
        assert np.abs(difference).max() < 60


def test_photos_to_try_are_spread_over_all() -> None:
    assert choose_tried(0) == []
    assert choose_tried(3) == [0, 1, 2]
    chosen = choose_tried(1000)
    assert len(set(chosen)) == 50
    assert (chosen[0], chosen[-1]) == (0, 999)


def test_photos_made_senseless_are_told_but_do_not_count() -> None:
    """Sound cells accept many of them where colours and textures tell the classes, as with flowers."""
    known, unknown = np.array([[0.9, 0.0, 0.1]]), np.array([[0.1, 0.0, 0.9]])
    figures = measure_made(np.repeat(known, 5, 0), np.repeat(unknown, len(TRIAL), 0), dict.fromkeys(PHOTO_KINDS, known))
    assert (figures["accepted"], figures["auroc"], figures["pictures"]) == (0, 1, len(TRIAL))
    assert figures["kinds"] == {**dict.fromkeys(DRAWN_KINDS, 0), **dict.fromkeys(PHOTO_KINDS, 1)}
