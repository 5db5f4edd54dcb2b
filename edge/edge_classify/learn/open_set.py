"""The `unknown` output: how near a picture's features are to anything that the model was trained on.

The backbone's features and those of its middle layer, each of unit length, make one vector, which gets two scores.
*Familiarity* rejects pictures that are far from all classes: how much of the vector lies in the principal subspace of
the training photos (compare ViM, Wang et al. 2022), and how many prototypes, which are training photos, are near it
there: the logarithm of their density, each class with the same weight. By the nearest one alone (compare Sun et al.
2022) whatever resembles a single odd photo would be as familiar as what resembles many. *Membership* rejects those that
resemble the classes, as one more kind of flower does: a kernel ridge regression of the classes on all prototypes, which
is low for a picture between the classes. Familiarity counts where it is low, membership everywhere; the sigmoid of
their sum is the probability *known*. The classes share that, `unknown` gets the rest.

At small resolutions a backbone answers pictures that show nothing with one and the same large vector, of which every
photo has some: most of a 3x3 map is padding. Such directions are damped before anything else is fitted, as far as the
features of blank pictures lie in them. Without that, nearly everything was familiar at 1.0@96.

Needs numpy only, so that a device can fit one too. In the shapes below F is the number of features, M that of the
middle layer (0 if there is none), K that of classes, d that of dimensions of the subspace, P that of prototypes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

# The share of own photos to keep, if the user names none. Of a camera that does not move: what it shows is always
# nearly the same, and what is wrongly called unknown is most of its errors.
KEEP = 0.95
KEEP_STILL_CAMERA = 0.99

# At most this many dimensions of the subspace: what photos have beyond these, negatives have too.
_MAX_DIMENSIONS = 48
# With more classes than that there is one for each, up to this many.
_MAX_DIMENSIONS_OF_CLASSES = 96
# Fewer photos give fewer dimensions.
_PHOTOS_PER_DIMENSION = 4
# At most this many prototypes, unless there are more classes: each has one.
_MAX_PROTOTYPES = 512
# The middle layer's weight against the features'.
_MIDDLE_WEIGHT = 0.7
# A direction keeps this / (this + its share of the blank pictures' squared length).
_DAMPING = 0.5
# The ridge regression's penalty, as a share of the mean squared kernel.
_RIDGE = 0.01
# The probability *known* of a typical photo of the classes; at the edge of the share to keep it is about a half.
_TYPICAL_KNOWN = 0.98
# Familiarity hardly counts above this many spreads below a typical photo of the classes; one spread below is the edge
# of the share to keep.
_FAMILIAR_ENOUGH_SPREADS = 0.8
# The same where all photos show one scene: they are so familiar that a drift of light is many of their spreads.
_FAMILIAR_ENOUGH_SPREADS_OF_A_SCENE = 1.6
# There, the share to keep is to be kept of blocks of time to come: its edge is lowered by so many standard deviations
# of the edges of a class's blocks that were seen.
_DRIFT_DEVIATIONS = 1.5
# The formula's constants, which a model file needs beside what is fitted.
SHAPE_CONSTANTS = {
    # How fast a prototype's influence falls with its distance from a picture: faster rejects far negatives better, and
    # near ones less well.
    "steepness": 7.0,
    # The same for the density of prototypes: the steeper, the more the nearest alone counts.
    "density_steepness": 28.0,
    # What the density counts against the length inside the subspace.
    "density_weight": 2.0,
    # What familiarity beyond enough still counts: near negatives are familiar too, and membership is to reject them.
    "leak": 0.03,
    # How much slower *known* falls below a half: otherwise too many odd photos of the classes would share 0 with
    # negatives where probabilities have 256 steps.
    "tail": 0.25,
}
# A spread of membership against one of familiarity: more rejects near negatives better, and far ones less well.
_MEMBERSHIP_WEIGHT = 0.1
# Slope of the logistic regression on familiarity, from which a direction away from negatives is fitted.
_NEGATIVES_SHARPNESS = 20.0
# Variance of that direction's prior: how far few negatives may move it.
_PRIOR_VARIANCE = 100.0
# Newton steps for it.
_NEWTON_STEPS = 20
# How often each may be halved.
_MAX_HALVINGS = 12
# A feature space is fitted on at most this many photos, and calibrated on as many: memory stays bounded.
MAX_PHOTOS = 2000


@dataclass(frozen=True)
class FeatureSpace:
    """Where the training photos of the classes lie among all features, and which class lies where.

    features: F, how many numbers of a row are features; the rest are the middle layer's.
    basis: float32, shape (d, F + M): inside = basis · (features and middle, each of unit length). Its rows hold the
        weights of the two, and the damping of what blank pictures show; |inside| is about 1 for a training photo.
    prototypes: float32 of unit length, shape (P, d).
    votes: float32, shape (K, P): how much each prototype speaks for each class.
    shares: float32, shape (P,): of each prototype in the density; those of one class together have 1/K. None where all
        photos show one scene: there the density would be much the same for what is new in it, and the nearest counts.
    direction: float32, shape (F + M,), or None if no negatives were given: points away from these.

    density = log(shares · exp(density_steepness · (prototypes · inside − 1))) / density_steepness
    familiarity = |inside| + density_weight · density (+ direction · features and middle). Without shares the largest of
        prototypes · inside is in place of the second term.
    membership = |votes · sigmoid(steepness · (prototypes · inside − 1))|²: near 1 for the classes' own photos.
    """

    features: int
    basis: np.ndarray
    prototypes: np.ndarray
    votes: np.ndarray
    shares: np.ndarray | None = None
    direction: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name, as the run folder and the model file call them."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}

    def answers(self, rows: np.ndarray, classes: int) -> np.ndarray:
        """What the prototypes together say of each class, float32, shape (n, K): near 1 for a photo's own.

        rows: (n, F + M). classes: K; of the last of them there may have been no photo to fit on, and they get 0.
        """
        cosines = _unit_parts(rows, self.features) @ self.basis.T @ self.prototypes.T
        answers = (_kernel(cosines) @ self.votes.T).astype(np.float32)
        return np.pad(answers, ((0, 0), (0, classes - len(self.votes))))

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Familiarity and membership, float32, shape (n, 2), for rows of shape (n, F + M)."""
        parts = _unit_parts(rows, self.features)
        along = parts @ self.direction if self.direction is not None else np.zeros(len(parts), parts.dtype)
        return self.scores_inside(parts @ self.basis.T, along)

    def scores_inside(self, inside: np.ndarray, along: np.ndarray) -> np.ndarray:
        """The same from what the basis gives, (n, d), and the direction, (n,): zeros if there is none."""
        cosines = inside @ self.prototypes.T
        familiarity = np.sqrt((inside**2).sum(axis=1)) + self._nearness(cosines) + along
        membership = ((_kernel(cosines) @ self.votes.T) ** 2).sum(axis=1)
        return np.stack([familiarity, membership], axis=1)

    def _nearness(self, cosines: np.ndarray) -> np.ndarray:
        if self.shares is None:
            return np.asarray(cosines.max(axis=1))
        weight, steepness = SHAPE_CONSTANTS["density_weight"], SHAPE_CONSTANTS["density_steepness"]
        return np.asarray(weight / steepness * np.log(np.exp(steepness * (cosines - 1)) @ self.shares))


@dataclass(frozen=True)
class OpenSet:
    """The probability that a picture is of one of the classes, from the two scores of its features.

    With a = sharpness · (score − threshold) of familiarity, b the same of membership, and z = min(a, leak · a) + b:
    known = sigmoid(max(z, tail · z)).

    sharpness, threshold: float64, shape (2,).
    """

    space: FeatureSpace
    sharpness: np.ndarray
    threshold: np.ndarray

    def known(self, rows: np.ndarray) -> np.ndarray:
        """The probability *known*, 0 to 1, shape (n,), for rows of shape (n, F + M)."""
        return 1 / (1 + np.exp(-np.maximum(self.logits(self.space.scores(rows)), -80)))

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """The logits of *known*, shape (n,), from familiarity and membership, (n, 2)."""
        logits = _combine(self.sharpness * (scores - self.threshold))
        return np.asarray(np.maximum(logits, SHAPE_CONSTANTS["tail"] * logits))


def with_unknown(probabilities: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Class probabilities (n, K) and known (n,) → (n, K + 1), the last being `unknown`."""
    return np.concatenate([probabilities * known[:, None], 1 - known[:, None]], axis=1)


def fit_feature_space(
    rows: np.ndarray,
    labels: np.ndarray,
    features: int,
    seed: int,
    views: int = 1,
    blanks: np.ndarray | None = None,
    one_scene: bool = False,
) -> FeatureSpace:
    """Subspace, prototypes and their votes from training photos.

    rows: (n · views, F + M), all views of a photo consecutively, the photo as it is first. labels: (n,), 0 to K − 1.
    blanks: rows of pictures that show nothing, (m, F + M); None damps no direction.
    one_scene: whether all photos show the same scene.
    The votes are fitted on all views; the rest on the photos as they are, since what holds crops holds negatives too.
    """
    weights = _part_weights(rows.shape[1], features)
    damped = _fit_damping(blanks, features) if blanks is not None else _undamped
    vectors = damped(_unit_parts(rows, features)) * weights
    vectors /= (length := np.median(np.linalg.norm(vectors[::views], axis=1)))
    classes = len(np.unique(labels))
    most = max(_MAX_DIMENSIONS, min(classes, _MAX_DIMENSIONS_OF_CLASSES))
    dimensions = int(np.clip(len(labels) // _PHOTOS_PER_DIMENSION, 2, most))
    basis = _principal_directions(vectors[::views], dimensions)
    inside = vectors @ basis.T
    chosen = _draw_evenly(labels, max(_MAX_PROTOTYPES, classes), np.random.default_rng(seed))
    prototypes = _unit(inside[::views][chosen])
    votes = _fit_votes(_kernel(inside @ prototypes.T), np.repeat(labels, views))
    shares = (1 / classes / np.bincount(labels[chosen])[labels[chosen]]).astype(np.float32)
    # Damping is symmetric, so that of the basis is that of the pictures.
    folded = damped(basis * weights) / length
    return FeatureSpace(features, folded.astype(np.float32), prototypes, votes, None if one_scene else shares)


def fit_direction(space: FeatureSpace, rows: np.ndarray, negatives: np.ndarray) -> FeatureSpace:
    """The space with a direction added, whose familiarity separates photos of the classes from negatives.

    rows: of the classes' photos, (n, F + M). negatives: rows of the same length, (m, F + M).

    Logistic regression with the familiarity as a fixed offset, in its dual form (n + m unknowns instead of F + M),
    by Newton's method, with shorter steps where it would overshoot: familiarity alone may be sure of all photos. Its
    Gaussian prior leaves familiarity alone if there are few negatives.
    """
    vectors = np.concatenate([_unit_parts(rows, space.features), _unit_parts(negatives, space.features)])
    known = np.repeat([1.0, 0.0], [len(rows), len(negatives)])
    weights = np.where(known == 1, 0.5 / len(rows), 0.5 / len(negatives)) * len(vectors)
    scores = space.scores(np.concatenate([rows, negatives]))[:, 0]
    scale = _NEGATIVES_SHARPNESS
    offset = scale * (scores - (scores[known == 1].mean() + scores[known == 0].mean()) / 2)
    products = (vectors @ vectors.T).astype(np.float64) * _PRIOR_VARIANCE

    def loss(dual: np.ndarray) -> float:
        change = products @ dual
        logits = offset + change
        return float((weights * (np.logaddexp(0, logits) - known * logits)).sum() + dual @ change / 2)

    dual = np.zeros(len(vectors))
    for _ in range(_NEWTON_STEPS):
        logits = offset + products @ dual
        probabilities = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        curvature = np.maximum(weights * probabilities * (1 - probabilities), 1e-6)
        target = products @ dual + weights * (known - probabilities) / curvature
        step = np.linalg.solve(products + np.diag(1 / curvature), target) - dual
        lengths = 0.5 ** np.arange(_MAX_HALVINGS)
        before = loss(dual)
        better = next((shorter for length in lengths if loss(shorter := dual + length * step) < before), None)
        if better is None:  # at the minimum, as far as numbers tell it: the next step would be the same
            break
        dual = better
    direction = (_PRIOR_VARIANCE * (vectors.T @ dual) / scale).astype(np.float32)
    return replace(space, direction=direction)


def fit_open_set(
    space: FeatureSpace, scores: np.ndarray, confidences: np.ndarray, keep: float, blocks: np.ndarray | None = None
) -> OpenSet:
    """Combine the two scores such that the share `keep` of new photos of the classes is not called unknown.

    scores: `FeatureSpace.scores` of photos that neither that space nor the head was fitted on, (n, 2).
    confidences: the same photos' largest class probability, (n,).
    blocks: where all photos show one scene, each one's class and number of its block of time, integers, (n, 2).
    """
    typical, edge = np.median(scores, axis=0), np.quantile(scores, 1 - keep, axis=0)
    spread = np.maximum(typical - edge, 1e-3)
    weights = np.array([1.0, _MEMBERSHIP_WEIGHT]) / spread
    enough = _FAMILIAR_ENOUGH_SPREADS if blocks is None else _FAMILIAR_ENOUGH_SPREADS_OF_A_SCENE
    threshold = typical - spread * [enough, 0]
    logits = _combine(weights * (scores - threshold))
    logits_to_edge = max(np.median(logits) - np.quantile(logits, 1 - keep), 1e-3)
    scale = np.log(_TYPICAL_KNOWN / (1 - _TYPICAL_KNOWN)) / logits_to_edge
    sharpness = scale * weights
    # The best class, with probability p · known, beats 1 − known if the logit of known is at least −log p.
    margins = scale * logits + np.log(confidences)
    # With few photos linear interpolation would set the edge too high: of n new ones in a row it is to lose 1 − keep.
    margin = np.quantile(margins, 1 - keep, method="weibull")
    if blocks is not None:
        margin -= _DRIFT_DEVIATIONS * _drift(margins, blocks, keep)
    threshold[1] += margin / sharpness[1]
    return OpenSet(space, sharpness, threshold)


def _drift(margins: np.ndarray, blocks: np.ndarray, keep: float) -> float:
    """The standard deviation of the edge of the share to keep from one block of time to another, within a class."""
    labels, times = blocks.T
    moves = []
    for label in np.unique(labels):
        own, own_times = margins[labels == label], times[labels == label]
        edges = np.array([np.quantile(own[own_times == time], 1 - keep) for time in np.unique(own_times)])
        moves.append(edges - edges.mean())
    return float(np.concatenate(moves).std())


def _kernel(cosines: np.ndarray) -> np.ndarray:
    """The influence of each prototype on each picture, (n, P), 0 to 0.5: falls about exponentially with distance."""
    return 1 / (1 + np.exp(SHAPE_CONSTANTS["steepness"] * (1 - cosines)))


def _fit_votes(kernel: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Ridge regression of one-hot labels, (n,), on the kernel, (n, P), each class with the same weight: (K, P)."""
    targets = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    scale = np.sqrt(1 / targets.sum(axis=0)[labels])[:, None]
    kernel, targets = kernel * scale, targets * scale
    products = (kernel.T @ kernel).astype(np.float64)
    ridge = _RIDGE * np.trace(products) / len(products)
    votes = np.linalg.solve(products + ridge * np.eye(len(products)), kernel.T @ targets)
    return np.ascontiguousarray(votes.T, dtype=np.float32)


def _draw_evenly(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` indices, as equally many of each class as there are."""
    order = rng.permutation(len(labels))
    turns = np.empty(len(labels), np.intp)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turns[members] = np.arange(len(members))
    return np.argsort(turns, kind="stable")[:count]


def _combine(scaled: np.ndarray) -> np.ndarray:
    """One logit, (n,), from both scores, scaled and shifted, (n, 2)."""
    familiarity, membership = scaled.T
    return np.minimum(familiarity, SHAPE_CONSTANTS["leak"] * familiarity) + membership


def _fit_damping(blanks: np.ndarray, features: int) -> Callable[[np.ndarray], np.ndarray]:
    """The function that damps what blank pictures show, in unit parts or rows of a basis: (n, F + M) → the same.

    Each part x becomes (1 − C / (C + damping)) x, where C is the mean of x xᵀ over the blank pictures.
    """
    unit = _unit_parts(blanks, features)
    parts = []
    for columns in (slice(0, features), slice(features, None)):
        if unit[:, columns].shape[1]:
            directions, lengths, _ = np.linalg.svd(unit[:, columns].T, full_matrices=False)
            share = lengths**2 / len(unit)
            parts.append((columns, directions, share / (share + np.float32(_DAMPING))))

    def damped(vectors: np.ndarray) -> np.ndarray:
        result = vectors.copy()
        for columns, directions, loss in parts:
            result[:, columns] -= ((vectors[:, columns] @ directions) * loss) @ directions.T
        return result

    return damped


def _undamped(vectors: np.ndarray) -> np.ndarray:
    return vectors


def _principal_directions(vectors: np.ndarray, count: int) -> np.ndarray:
    """The first right singular vectors, (count, F + M), from the eigenvectors of the smaller Gram matrix."""
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
    """Factors, float32 (F + M,), that make one vector of unit length of the two parts."""
    weights = np.ones(length, np.float32)
    weights[features:] = _MIDDLE_WEIGHT
    weights /= np.sqrt(weights[0] ** 2 + (_MIDDLE_WEIGHT**2 if length > features else 0))
    return weights


def _unit(vectors: np.ndarray) -> np.ndarray:
    # The floor is that of TensorFlow's l2_normalize, which the model file uses.
    return vectors / np.sqrt(np.maximum((vectors**2).sum(axis=1, keepdims=True), 1e-12))
