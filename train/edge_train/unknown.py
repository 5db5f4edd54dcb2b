"""The `unknown` output: how near a picture's features are to anything that the model was trained on.

A feature vector's cosine to the nearest prototype (a cluster centre of one class's training features) goes
through a sigmoid: the probability *known*. The classes share that, `unknown` gets the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .head import Head

PROTOTYPES_PER_CLASS = 8
_PHOTOS_PER_PROTOTYPE = 5
_FOLDS = 5
# The probability *known* of a typical photo of the classes.
_TYPICAL_KNOWN = 0.98


@dataclass(frozen=True)
class Unknown:
    """known = sigmoid(sharpness · (cosine to the nearest prototype − threshold)).

    prototypes: float32 of unit length, shape (P, F).
    """

    prototypes: np.ndarray
    sharpness: float
    threshold: float

    def known(self, features: np.ndarray) -> np.ndarray:
        """The probability *known*, shape (n,), for features of shape (n, F)."""
        known: np.ndarray = 1 / (
            1 + np.exp(-self.sharpness * (nearest_cosine(features, self.prototypes) - self.threshold))
        )
        return known


def with_unknown(probabilities: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Class probabilities (n, K) and known (n,) → (n, K + 1), the last being `unknown`."""
    return np.concatenate([probabilities * known[:, None], 1 - known[:, None]], axis=1)


def fold_numbers(count: int, seed: int) -> np.ndarray:
    """A fold, 0 to 4, for each of `count` photos, equally large."""
    return np.random.default_rng(seed).permutation(count) % _FOLDS


def fit_unknown(
    features: np.ndarray, labels: np.ndarray, heads: list[Head], folds: np.ndarray, *, keep: float, seed: int
) -> Unknown:
    """Fit prototypes on all training features, and the sigmoid on how photos fare that prototypes have not seen.

    heads, folds: head f was fitted without the photos of fold f. Each photo's cosine, to prototypes without
        its fold, and its largest class probability, from the head without it, stand for a new photo's, so that
        nothing is fitted on held-out photos.
    keep: the share of such photos whose best label is a class and not `unknown`.
    """
    cosines, confidences = np.empty(len(features)), np.empty(len(features))
    for fold, head in enumerate(heads):
        inside, outside = folds == fold, folds != fold
        if not inside.any():
            continue
        cosines[inside] = nearest_cosine(features[inside], find_prototypes(features[outside], labels[outside], seed))
        confidences[inside] = head.probabilities(features[inside]).max(axis=1)
    spread = np.median(cosines) - np.quantile(cosines, 1 - keep)
    sharpness = float(np.log(_TYPICAL_KNOWN / (1 - _TYPICAL_KNOWN)) / max(spread, 1e-3))
    # The best class, with probability p · known, beats 1 − known where sharpness · (cosine − threshold) ≥ −log p.
    threshold = float(np.quantile(cosines + np.log(confidences) / sharpness, 1 - keep))
    return Unknown(find_prototypes(features, labels, seed), sharpness, threshold)


def find_prototypes(features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Cluster centres of each class, of unit length, shape (P, F); at most 8 a class, one for each 5 photos."""
    directions = _unit(features)
    rng = np.random.default_rng(seed)
    centres = []
    for label in np.unique(labels):
        members = directions[labels == label]
        count = min(PROTOTYPES_PER_CLASS, max(1, len(members) // _PHOTOS_PER_PROTOTYPE))
        centres.append(_spherical_k_means(members, count, rng))
    return np.concatenate(centres).astype(np.float32)


def nearest_cosine(features: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """Each feature vector's cosine to its nearest prototype, shape (n,)."""
    nearest: np.ndarray = (_unit(features) @ prototypes.T).max(axis=1)
    return nearest


def _spherical_k_means(directions: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Spherical k-means (Dhillon & Modha 2001), started as k-means++ does."""
    centres = directions[rng.integers(len(directions))][None]
    while len(centres) < count:
        distance = np.clip(1 - (directions @ centres.T).max(axis=1), 1e-9, None)
        centres = np.vstack([centres, directions[rng.choice(len(directions), p=distance / distance.sum())]])
    for _ in range(25):
        nearest = (directions @ centres.T).argmax(axis=1)
        for index in range(count):
            members = directions[nearest == index]
            if len(members):
                centres[index] = members.sum(axis=0)
        centres = _unit(centres)
    result: np.ndarray = centres
    return result


def _unit(vectors: np.ndarray) -> np.ndarray:
    # The floor is that of TensorFlow's l2_normalize, which the model file uses.
    unit: np.ndarray = vectors / np.sqrt(np.maximum((vectors**2).sum(axis=1, keepdims=True), 1e-12))
    return unit
