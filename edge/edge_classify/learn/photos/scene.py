"""Recognizing photos of a camera that does not move, and their order by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

# The scene is the median of the photos' thumbnails. Its edges are where neighbouring pixels differ by more levels.
_MIN_EDGE = 4.0
# With fewer edges there is nothing to recognize a scene by.
_MIN_EDGES = 40
# A photo shows an edge if it differs there by as many levels, the photo's contrast matched, within this.
_EDGE_TOLERANCE = 0.35
_EDGE_TOLERANCE_LEVELS = 3.0
# The camera does not move if this share of the photos show this share of the scene's edges. On still cameras 95 % of
# the photos show at least 66 %; on Alien vs Predator, flowers, TrashNet and MNIST 80 % show 57 % at most.
_MIN_PHOTOS = 0.8
_MIN_SHOWN = 0.6
# The scene is taken from at most so many photos.
_MAX_PHOTOS_FOR_SCENE = 500


def shows_one_scene(thumbnails: Sequence[np.ndarray]) -> bool:
    """Whether all photos show one scene, from one place. thumbnails: of `PhotoFacts`, in a fixed order."""
    if not thumbnails:
        return False
    step = -(-len(thumbnails) // _MAX_PHOTOS_FOR_SCENE)
    scene = _find_steps(np.median(thumbnails[::step], axis=0))
    edges = np.abs(scene) > _MIN_EDGE
    if edges.sum() < _MIN_EDGES:
        return False
    shown = [_share_shown(_find_steps(thumbnail)[edges], scene[edges]) for thumbnail in thumbnails]
    return bool(np.quantile(shown, 1 - _MIN_PHOTOS) >= _MIN_SHOWN)


def _find_steps(thumbnail: np.ndarray) -> np.ndarray:
    """Differences of neighbouring pixels, across and down, in one row."""
    levels = np.asarray(thumbnail, np.float32)
    return np.concatenate([np.diff(levels, axis=axis).ravel() for axis in (1, 0)])


def _share_shown(steps: np.ndarray, scene: np.ndarray) -> float:
    # A photo in other light has the same edges, weaker or stronger.
    gain = float(np.clip(steps @ scene / (scene @ scene), 0.5, 2))
    tolerance = _EDGE_TOLERANCE * gain * np.abs(scene) + _EDGE_TOLERANCE_LEVELS
    return float((np.abs(steps - gain * scene) < tolerance).mean())


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts photo9 before photo10."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", name))
