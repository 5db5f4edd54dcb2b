"""Adding photos to what a model file knows, when most of the photos that it was fitted on are gone.

`unknown` is fitted anew, and with it the votes, on the photos that are remembered (`memory`) and the new ones. The head
was fitted on more than is remembered, so of that only the classes that get photos are changed, one after the other, and
the other classes' logits stay as they are, but for the votes, which count as much as before. A class's own are
w · x + b, so its probability is sigmoid(w · x + b − log Σ exp(others)): a logistic regression of "this class or not"
with a fixed offset, whose Gaussian prior is centred on the logits that the class has already. It is solved in its dual
form (n unknowns instead of F) by Newton's method. How wide the prior is, the photos say: each is judged by the
regression, and gets the votes, without it.

Needs numpy only. F is the number of features, K that of classes, n that of photos.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .cross_validation import Spaces, judge_spaces
from .head import Head, softmax
from .memory import Memory, remember
from .open_set import FeatureSpace, OpenSet, fit_direction, fit_feature_space, fit_open_set
from .photos.photo_set import NEGATIVE

# Photos are dealt into this many folds; how unseen photos score is measured without each.
_FOLDS = 5
# Fitted on are about so many of the remembered photos, and of the new ones: time grows with the cube of that.
_MAX_FITTED = 500
# Variances of the prior that are tried, for features scaled to a mean squared length of 1.
_PRIOR_VARIANCES = tuple(10.0**exponent for exponent in range(-1, 5))
# Of the constant's prior, which may move as far as it likes.
_CONSTANT_VARIANCE = 100.0
_NEWTON_STEPS = 30
# How often each step may be halved.
_MAX_HALVINGS = 12
# A step that lowers the loss by a smaller share is the last.
_TOLERANCE = 1e-7
# Logits beyond these have probabilities of 0 and 1.
_MAX_LOGIT = 35.0


@dataclass(frozen=True)
class Known:
    """What there is that photos are added to.

    vote_weight: what the votes are multiplied by and added to the head's logits.
    keep: the share of the classes' own photos that should not be called unknown, 0 to 1.
    balanced: whether every class counts the same in the head, or every photo.
    blanks: rows of pictures that show nothing, (m, F + M), or None. one_scene: whether all photos show the same scene.
    """

    head: Head
    memory: Memory
    vote_weight: float
    keep: float
    balanced: bool
    blanks: np.ndarray | None
    one_scene: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Added:
    """The same with the photos added.

    logits, labels: of the photos of the classes that were fitted on, those remembered first: (n, K) and (n,). The
        logits, with the votes, of the classes that were changed are by a fit without the photo, the others' by a head
        that may have seen it. remembered: how many of them are.
    """

    head: Head
    open_set: OpenSet
    memory: Memory
    logits: np.ndarray
    labels: np.ndarray
    remembered: int


def add_photos(known: Known, rows: np.ndarray, labels: np.ndarray) -> Added:
    """Add different photos of new classes, or more of those that there are; their order changes nothing.

    rows: (n, F + M). labels: class indices, new ones following those that there are, or NEGATIVE: integers, (n,).
    """
    order = np.lexsort((*rows.T[::-1], labels))
    memory, features = known.memory, known.memory.features
    every, truth = np.concatenate([memory.rows, rows[order]]), np.concatenate([memory.labels, labels[order]])
    added = np.bincount(labels[labels != NEGATIVE], minlength=len(memory.counts))
    used = np.concatenate([_first_of_each(part, len(added)) for part in (memory.labels, labels[order])])
    own = used & (truth != NEGATIVE)
    negatives, photos, classes = every[used & (truth == NEGATIVE)], every[own], truth[own]
    counts = added + np.pad(memory.counts, (0, len(added) - len(memory.counts)))
    weights = (np.ones(len(counts)) if known.balanced else counts) / np.maximum(np.bincount(classes), 1)
    spaces = _fit_spaces(known, photos, classes, negatives)
    votes = known.vote_weight * spaces.answers
    head, left_out = known.head, {}
    for index in np.flatnonzero(added).tolist():
        there = max(index + 1, len(head.bias))
        fitted = classes < there  # not what the head will get later
        own_weights, own_votes = weights[classes[fitted]], votes[fitted, :there]
        changed = fit_class(head, index, photos[fitted, :features], classes[fitted], own_weights, own_votes)
        head, left_out[index] = changed.head, (fitted, changed.logits[:, index])
    logits = head.logits(photos[:, :features]) + votes.astype(np.float64)
    for index, (fitted, of_class) in left_out.items():
        logits[fitted, index] = of_class
    # When photos were taken is not remembered: a scene's drift from one hour to the next counts as none.
    blocks = np.stack([classes, np.zeros_like(classes)], axis=1) if known.one_scene else None
    open_set = fit_open_set(spaces.whole, spaces.scores, softmax(logits).max(axis=1), known.keep, blocks)
    remembered = int(own[: len(memory.labels)].sum())
    return Added(head, open_set, remember(every, features, truth, counts), logits, classes, remembered)


def _first_of_each(labels: np.ndarray, classes: int) -> np.ndarray:
    """Which photos are fitted on, (n,): the first of each class, which herding chose first. classes: K."""
    each = max(2, _MAX_FITTED // classes)
    first = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        first[np.flatnonzero(labels == label)[:each]] = True
    return first


def _fit_spaces(known: Known, rows: np.ndarray, labels: np.ndarray, negatives: np.ndarray) -> Spaces:
    """Each photo is judged by a space that was fitted without its fold; the photos stay in their order."""
    folds = np.empty(len(labels), np.intp)
    for label in np.unique(labels):
        folds[labels == label] = np.arange((labels == label).sum()) % _FOLDS

    def space_of(chosen: np.ndarray) -> FeatureSpace:
        features, one_scene = known.memory.features, known.one_scene
        space = fit_feature_space(rows[chosen], labels[chosen], features, known.seed, 1, known.blanks, one_scene)
        return fit_direction(space, rows[chosen], negatives) if len(negatives) else space

    numbers = np.unique(folds)
    chosen_on = [rows[folds == fold] for fold in numbers]
    without_fold = [space_of(folds != fold) for fold in numbers]
    spaces = judge_spaces(space_of(folds >= 0), without_fold, chosen_on, int(labels.max()) + 1)
    place = np.argsort(np.argsort(folds, kind="stable"), kind="stable")
    return replace(spaces, scores=spaces.scores[place], answers=spaces.answers[place])


@dataclass(frozen=True)
class ChangedClass:
    """A head in which one class was fitted anew.

    logits: of the photos fitted on, with the votes, float64, (n, K): those of the class as the regression without each
        photo gives them.
    """

    head: Head
    logits: np.ndarray


def fit_class(
    head: Head, index: int, features: np.ndarray, labels: np.ndarray, weights: np.ndarray, votes: np.ndarray
) -> ChangedClass:
    """Fit the logits of class `index` alone, which is a new one if the head does not have it: then it is the last.

    features: float32, (n, F). labels: class indices, (n,). weights: how much each photo counts, (n,).
    votes: what is added to the logits of the photos, (n, K).
    """
    if index == len(head.bias):
        head = Head(np.pad(head.kernel, ((0, 0), (0, 1))), np.append(head.bias, np.float32(0)))
    logits = head.logits(features) + votes.astype(np.float64)
    offset = logits[:, index] - _log_sum_exp(np.delete(logits, index, axis=1))
    weights = weights / weights.mean()
    mean = weights @ features / len(features)
    centred = (features - mean).astype(np.float64)
    products = centred @ centred.T
    length = max(np.trace(products) / len(products), np.finfo(np.float32).tiny)
    fits = [
        _fit_dual(products * (variance / length) + _CONSTANT_VARIANCE, offset, labels == index, weights)
        for variance in _PRIOR_VARIANCES
    ]
    best = int(np.argmin([fit.loss for fit in fits]))
    dual = fits[best].dual
    change = (centred.T @ dual * (_PRIOR_VARIANCES[best] / length)).astype(np.float32)
    kernel, bias = head.kernel.copy(), head.bias.copy()
    kernel[:, index] += change
    bias[index] += np.float32(_CONSTANT_VARIANCE * dual.sum() - mean @ change)
    logits[:, index] += fits[best].left_out - offset
    return ChangedClass(Head(kernel, bias), logits)


@dataclass(frozen=True)
class _DualFit:
    """dual: (n,). left_out: each photo's logit against all other classes without it, (n,). loss: of these, in nats."""

    dual: np.ndarray
    left_out: np.ndarray
    loss: float


def _fit_dual(products: np.ndarray, offset: np.ndarray, own: np.ndarray, weights: np.ndarray) -> _DualFit:
    """products: the prior's covariance of the photos' logits, (n, n). own: which photos are of the class, (n,)."""
    truth = own.astype(np.float64)

    def loss_of(logits: np.ndarray) -> float:
        return float((weights * (np.logaddexp(0, logits) - truth * logits)).sum())

    def objective(dual: np.ndarray) -> float:
        change = products @ dual
        return loss_of(offset + change) + float(dual @ change) / 2

    dual = np.zeros(len(offset))
    now = objective(dual)
    for _ in range(_NEWTON_STEPS):
        residual, curvature = _derivatives(offset + products @ dual, truth, weights)
        target = products @ dual + residual / curvature
        step = np.linalg.solve(products + np.diag(1 / curvature), target) - dual
        shorter = ((dual + 0.5**halvings * step) for halvings in range(_MAX_HALVINGS))
        better = next((tried for tried in shorter if objective(tried) < now), None)
        if better is None:
            break
        before, now, dual = now, objective(better), better
        if before - now <= _TOLERANCE * max(1.0, abs(before)):
            break
    # Leaving a photo out, with the curvature as it is (as for kriging; Rad & Maleki 2020): no refit.
    logits = offset + products @ dual
    residual, curvature = _derivatives(logits, truth, weights)
    inverse = np.linalg.inv(products + np.diag(1 / curvature))
    left_out = logits + residual / curvature - dual / np.diag(inverse)
    return _DualFit(dual, left_out, loss_of(left_out))


def _derivatives(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The log likelihood's first derivative and its second's negative, by the photos' logits: both (n,)."""
    probabilities = 1 / (1 + np.exp(-np.clip(logits, -_MAX_LOGIT, _MAX_LOGIT)))
    return weights * (truth - probabilities), np.maximum(weights * probabilities * (1 - probabilities), 1e-8)


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """Of each row of (n, K): (n,)."""
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))
