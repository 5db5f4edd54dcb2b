"""The `unknown` output: how near a picture's features are to anything that the model was trained on.

The features and, with half their weight, those of the backbone's middle make one vector of unit length. Two scores are
asked of it. *Familiarity*, which tells strangers from afar: how much of the vector lies in the subspace of the training
photos' vectors, and how near it comes there to the nearest prototype (a training photo). *Membership*, which tells
those that are like the classes, as one more flower is: what all prototypes together say of the class, which is little
of a picture between the classes. Familiarity counts where it is low, membership everywhere; their sum's sigmoid is the
probability *known*. The classes share that, `unknown` gets the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

# At most so many dimensions and prototypes; few photos give fewer dimensions, more classes more prototypes.
_DIMENSIONS = 96
_PROTOTYPES = 512
_PHOTOS_PER_DIMENSION = 4
_MIDDLE_WEIGHT = 0.5
# What keeps the votes small.
_RIDGE = 0.01
# The probability *known* of a typical photo of the classes; at the edge of the share kept it is about a half.
_TYPICAL_KNOWN = 0.98
# A picture is familiar enough at this many spreads below a typical photo of the classes (the share kept reaches down to
# one).
_FAMILIAR_ENOUGH = 0.8
# What edge-convert needs beside what is fitted.
SHAPE_CONSTANTS = {
    # How fast a prototype's say falls with the distance of a picture.
    "steepness": 5.0,
    # What being more than familiar enough still counts for: near strangers are too, and membership is to tell them.
    "leak": 0.03,
    # Below a half *known* falls slower by this, else too many of the classes' own odd photos would share 0 with
    # strangers where probabilities have 256 steps.
    "tail": 0.25,
}
# What a spread of membership counts for against one of familiarity: more tells near strangers better, and those from
# afar less well.
_MEMBERSHIP_WEIGHT = 0.1
# How steeply the score tells strangers before a direction is added, and how far that may go.
_STRANGERS_SHARPNESS = 20.0
_PRIOR_VARIANCE = 100.0
# A space is fitted on at most so many photos, and as many tell how it scores new ones: memory stays bounded.
MOST_PHOTOS = 2000


@dataclass(frozen=True)
class Space:
    """What is familiar, and of which class it is.

    features: how many numbers of a row are features; the rest are the middle's.
    basis: float32, shape (d, F + M): inside = basis · (features and middle, each of unit length). Its rows hold the
        weights of the two, and are orthonormal without them.
    prototypes: float32 of unit length, shape (P, d).
    votes: float32, shape (K, P): what each prototype says of each class.
    direction: float32, shape (F + M,), of the same as the basis: where pictures of nothing in particular were given,
        away from these.

    familiarity = |inside| + the largest of prototypes · inside (+ direction · features and middle).
    membership = |votes · sigmoid(steepness · (prototypes · inside − 1))|²: near 1 for the classes' own photos.
    """

    features: int
    basis: np.ndarray
    prototypes: np.ndarray
    votes: np.ndarray
    direction: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, by name."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Familiarity and membership, shape (n, 2), for rows of shape (n, F + M)."""
        parts = _unit_parts(rows, self.features)
        inside = parts @ self.basis.T
        nearness = inside @ self.prototypes.T
        familiarity = np.sqrt((inside**2).sum(axis=1)) + nearness.max(axis=1)
        if self.direction is not None:
            familiarity = familiarity + parts @ self.direction
        membership = ((_say(nearness) @ self.votes.T) ** 2).sum(axis=1)
        return np.stack([familiarity, membership], axis=1)


@dataclass(frozen=True)
class Unknown:
    """With a = sharpness · (score − threshold) of familiarity, b of membership, and z = min(a, leak · a) + b,

    known = sigmoid(max(z, tail · z)).

    sharpness, threshold: float64, shape (2,).
    """

    space: Space
    sharpness: np.ndarray
    threshold: np.ndarray

    def known(self, rows: np.ndarray) -> np.ndarray:
        """The probability *known*, shape (n,)."""
        logits = _logits(self.sharpness * (self.space.scores(rows) - self.threshold))
        logits = np.maximum(logits, SHAPE_CONSTANTS["tail"] * logits)
        known: np.ndarray = 1 / (1 + np.exp(-np.maximum(logits, -80)))
        return known


def with_unknown(probabilities: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Class probabilities (n, K) and known (n,) → (n, K + 1), the last being `unknown`."""
    return np.concatenate([probabilities * known[:, None], 1 - known[:, None]], axis=1)


def fit_space(rows: np.ndarray, labels: np.ndarray, features: int, seed: int, views: int = 1) -> Space:
    """Subspace, prototypes and their votes from training photos.

    rows: (n · views, F + M), all views of a photo in a row, the photo as it is first. labels: (n,), 0 to K − 1.
    The votes are fitted on all views; the rest on the photos as they are, since what holds crops holds strangers too.
    """
    weights = _part_weights(rows.shape[1], features)
    vectors = _unit_parts(rows, features) * weights
    basis = _main_directions(vectors[::views], int(np.clip(len(labels) // _PHOTOS_PER_DIMENSION, 2, _DIMENSIONS)))
    inside = vectors @ basis.T
    chosen = _draw_evenly(labels, max(_PROTOTYPES, len(np.unique(labels))), np.random.default_rng(seed))
    prototypes = _unit(inside[::views][chosen])
    votes = _fit_votes(_say(inside @ prototypes.T), np.repeat(labels, views))
    return Space(features, basis * weights, prototypes, votes)


def _say(nearness: np.ndarray) -> np.ndarray:
    """How much each prototype's vote counts: (n, P) in 0 to 0.5, falling about exponentially with the distance."""
    said: np.ndarray = 1 / (1 + np.exp(SHAPE_CONSTANTS["steepness"] * (1 - nearness)))
    return said


def _fit_votes(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Ridge regression of the classes on what the prototypes say, each class of the same weight: (K, P)."""
    targets = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    scale = np.sqrt(1 / targets.sum(axis=0)[labels])[:, None]
    said, targets = said * scale, targets * scale
    products = (said.T @ said).astype(np.float64)
    ridge = _RIDGE * np.trace(products) / len(products)
    votes = np.linalg.solve(products + ridge * np.eye(len(products)), said.T @ targets)
    return np.ascontiguousarray(votes.T, dtype=np.float32)


def _draw_evenly(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` indices, as equal a number of each class as there is."""
    order = rng.permutation(len(labels))
    turns = np.empty(len(labels), np.intp)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turns[members] = np.arange(len(members))
    return np.argsort(turns, kind="stable")[:count]


def fit_direction(space: Space, rows: np.ndarray, strange: np.ndarray) -> Space:
    """The space with a direction added to its score that tells the rows from those of strangers.

    By logistic regression, started from the score: Newton's method on the vectors' products, with a prior that
    leaves the score alone where strangers are few.
    """
    vectors = np.concatenate([_unit_parts(rows, space.features), _unit_parts(strange, space.features)])
    known = np.repeat([1.0, 0.0], [len(rows), len(strange)])
    weights = np.where(known == 1, 0.5 / len(rows), 0.5 / len(strange)) * len(vectors)
    scores = space.scores(np.concatenate([rows, strange]))[:, 0]
    scale = _STRANGERS_SHARPNESS
    offset = scale * (scores - (scores[known == 1].mean() + scores[known == 0].mean()) / 2)
    products = (vectors @ vectors.T).astype(np.float64) * _PRIOR_VARIANCE
    dual = np.zeros(len(vectors))
    for _ in range(20):
        logits = offset + products @ dual
        probabilities = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        curvature = np.maximum(weights * probabilities * (1 - probabilities), 1e-6)
        target = products @ dual + weights * (known - probabilities) / curvature
        dual = np.linalg.solve(products + np.diag(1 / curvature), target)
    direction = (_PRIOR_VARIANCE * (vectors.T @ dual) / scale).astype(np.float32)
    return replace(space, direction=direction)


def fit_unknown(space: Space, scores: np.ndarray, confidences: np.ndarray, keep: float) -> Unknown:
    """What the two scores say together, such that the share `keep` of new photos is not called unknown.

    scores, confidences: of photos that neither the space that scored them nor the head has seen: the scores, (n, 2),
        and the largest class probability, (n,).
    """
    typical, least = np.median(scores, axis=0), np.quantile(scores, 1 - keep, axis=0)
    spread = np.maximum(typical - least, 1e-3)
    weights = np.array([1.0, _MEMBERSHIP_WEIGHT]) / spread
    threshold = typical - spread * [_FAMILIAR_ENOUGH, 0]
    logits = _logits(weights * (scores - threshold))
    to_edge = max(np.median(logits) - np.quantile(logits, 1 - keep), 1e-3)
    scale = np.log(_TYPICAL_KNOWN / (1 - _TYPICAL_KNOWN)) / to_edge
    sharpness = scale * weights
    # The best class, with probability p · known, beats 1 − known where known's logit is at least −log p.
    threshold[1] += np.quantile(scale * logits + np.log(confidences), 1 - keep) / sharpness[1]
    return Unknown(space, sharpness, threshold)


def _logits(scaled: np.ndarray) -> np.ndarray:
    familiar, member = scaled.T
    logits: np.ndarray = np.minimum(familiar, SHAPE_CONSTANTS["leak"] * familiar) + member
    return logits


def _main_directions(vectors: np.ndarray, count: int) -> np.ndarray:
    """The first right singular vectors, by the eigenvectors of the smaller product of the vectors with themselves."""
    if len(vectors) < vectors.shape[1]:
        _, eigenvectors = np.linalg.eigh(vectors @ vectors.T)
        return np.ascontiguousarray(_unit((eigenvectors[:, ::-1][:, :count].T) @ vectors), dtype=np.float32)
    _, eigenvectors = np.linalg.eigh(vectors.T @ vectors)
    return np.ascontiguousarray(eigenvectors[:, ::-1][:, :count].T, dtype=np.float32)


def _unit_parts(rows: np.ndarray, features: int) -> np.ndarray:
    """Features and middle, each scaled to unit length, shape (n, F + M)."""
    parts = [part for part in (rows[:, :features], rows[:, features:]) if part.shape[1]]
    return np.concatenate([_unit(part) for part in parts], axis=1)


def _part_weights(length: int, features: int) -> np.ndarray:
    """What makes one vector of unit length of the two, float32, shape (F + M,)."""
    weights = np.ones(length, np.float32)
    weights[features:] = _MIDDLE_WEIGHT
    weights /= np.sqrt(weights[0] ** 2 + (_MIDDLE_WEIGHT**2 if length > features else 0))
    return weights


def _unit(vectors: np.ndarray) -> np.ndarray:
    # The floor is that of TensorFlow's l2_normalize, which the model file uses.
    unit: np.ndarray = vectors / np.sqrt(np.maximum((vectors**2).sum(axis=1, keepdims=True), 1e-12))
    return unit
