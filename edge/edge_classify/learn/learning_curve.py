"""The learning curve: how much better a head gets with more photos, and of which class more would help.

Measured by cross-validation on parts of the photos. Needs numpy only, so that a device can draw one too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from ..model.answers import is_significant
from .metrics import wilson_interval

# The shares of the photos that heads are fitted on.
SHARES = (0.25, 0.5, 0.75, 1.0)
_HALF = SHARES.index(0.5)
# A gain is believed if chance would give it, for any of the classes, less often than once in so many cases.
_ONCE_IN = 20
# Classes named in one sentence.
_MOST_NAMED = 3
# A smaller gain than this need not be seen for photos to be called enough.
_SMALL_GAIN = 0.05
# Photos that cannot show a gain of even this say nothing.
_LARGE_GAIN = 0.5


@dataclass(frozen=True)
class Growth:
    """How the share recognised of some photos, that heads were not fitted on, grows with those they were fitted on.

    photos: of these classes fitted on, at each of `SHARES`, on average over folds.
    recognised: the share whose best class is the true one, at each. intervals: its 95 % intervals.
    groups: of photos alike that were tried.
    won, lost: for each share but the last, in how many groups more are recognised with all photos, and fewer.
    """

    photos: Sequence[int]
    recognised: Sequence[float]
    intervals: Sequence[Sequence[float]]
    groups: int
    won: Sequence[int]
    lost: Sequence[int]

    def still_grows(self, comparisons: int) -> bool:
        """Whether all photos are better than half of them by more than chance, and still than three quarters.

        They must also be better than a quarter: else that half of them was an unlucky one.
        comparisons: how many such questions are asked together.
        """
        halves = list(zip(self.won, self.lost, strict=True))[: _HALF + 1]
        return self.recognised[-1] > self.recognised[-2] and all(_is_gain(*half, comparisons) for half in halves)


@dataclass(frozen=True)
class LearningCurve:
    """whole: of all photos. classes: of each class's own, by label."""

    whole: Growth
    classes: Mapping[str, Growth]

    def encode(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def decode(cls, entry: Mapping[str, Any]) -> Self:
        """The inverse of `encode`."""
        return cls(Growth(**entry["whole"]), {label: Growth(**growth) for label, growth in entry["classes"].items()})

    def fastest(self) -> list[str]:
        """The classes, the one that the second half of the photos brought most first."""
        return sorted(self.classes, key=lambda label: -_gain(self.classes[label]))

    def growing(self) -> list[str]:
        """The classes that would gain from more photos, the one that gained most first."""
        return [label for label in self.fastest() if self.classes[label].still_grows(len(self.classes))]

    def advice(self) -> str | None:
        """That more photos would help, and of which classes, if the curve says so."""
        named = self.growing()[:_MOST_NAMED]
        if named:
            rises = " and ".join(f"{_rise(self.classes[label])} of {label}" for label in named)
            return (
                f"more photos of {_join(named)} would help: with all photos instead of half of them, {rises} are "
                "recognised"
            )
        if self.whole.still_grows(1):
            return (
                f"more photos would help, of each class: with all photos instead of half of them, {_rise(self.whole)} "
                "are recognised; no class stands out"
            )
        return None

    def sentence(self) -> str:
        """What the curve says about taking more photos."""
        if advice := self.advice():
            return advice
        none = "the second half of the photos brought no clear gain"
        least = self._least_seen()
        room = max(1 - growth.recognised[-1] for growth in self.classes.values())
        if min(least, room) <= _SMALL_GAIN:
            return f"more such photos would hardly help: {none}"
        if least > _LARGE_GAIN:
            return "these are too few photos to tell what more would bring: 50 of each class would show it"
        return f"{none}; with so few, a class's gain of less than {least:.0%} cannot be told from chance: more may help"

    def _least_seen(self) -> float:
        """The smallest gain, as a share of a class's photos, that would be told from chance in each class."""
        # So many groups must win, and none lose.
        needed = math.ceil(math.log2(_ONCE_IN * len(self.classes)))
        return min(1.0, needed / min(growth.groups for growth in self.classes.values()))


class Trials:
    """What heads recognise that are fitted on shares of the photos, each share when it is first asked for.

    labels: class indices of all photos, (n,). groups: integers, the same for photos that are alike, such as those of
        one burst, (n,): they are fitted on together or not at all, and count as one where chance is judged.
    folds: for each, the photos to fit on and those to try the head on, indices.
    answer: of a head fitted on its first argument, the classes it finds for the second: indices, and class indices.
    whole: those answers for fits on all photos of each fold, one after another, if they are known.
    """

    def __init__(
        self,
        labels: np.ndarray,
        groups: np.ndarray,
        folds: Iterable[tuple[np.ndarray, np.ndarray]],
        answer: Callable[[np.ndarray, np.ndarray], np.ndarray],
        seed: int,
        whole: np.ndarray | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        self._folds = [(fitted, _places(labels[fitted], groups[fitted], rng), chosen_on) for fitted, chosen_on in folds]
        self._labels, self._answer = labels, answer
        tried = np.concatenate([chosen_on for _, _, chosen_on in self._folds])
        self.truth, self.groups = labels[tried], groups[tried]
        self._right = {} if whole is None else {1.0: whole == self.truth}

    def right(self, share: float) -> np.ndarray:
        """Whether each photo tried is recognised, bool, (n of the folds,), if this share of the others is fitted on."""
        if share not in self._right:
            answers = [self._answer(fitted[places < share], chosen_on) for fitted, places, chosen_on in self._folds]
            self._right[share] = np.concatenate(answers) == self.truth
        return self._right[share]

    def fitted_on(self, share: float, classes: int) -> np.ndarray:
        """How many photos of each class are fitted on, on average over the folds, (K,)."""
        parts = [self._labels[fitted[places < share]] for fitted, places, _ in self._folds]
        return np.asarray(np.mean([np.bincount(part, minlength=classes) for part in parts], axis=0))


def draw_learning_curve(trials: Trials, names: Sequence[str]) -> LearningCurve:
    """The learning curve of some way to fit a head. names: of the classes."""
    right = np.stack([trials.right(share) for share in SHARES])
    fitted_on = np.stack([trials.fitted_on(share, len(names)) for share in SHARES])
    return LearningCurve(
        _growth(right, trials.groups, fitted_on.sum(axis=1)),
        {
            name: _growth(right[:, own], trials.groups[own], fitted_on[:, index])
            for index, name in enumerate(names)
            if (own := trials.truth == index).any()
        },
    )


def advise(trials: Trials, names: Sequence[str]) -> str | None:
    """`LearningCurve.advice`, with no more fits than that needs: that most curves do not rise, half of them shows."""
    gains = trials.right(1.0).astype(float) - trials.right(SHARES[_HALF])
    classes = [trials.truth == index for index in np.unique(trials.truth)]
    asked = [(np.ones(len(gains), bool), 1), *((own, len(classes)) for own in classes)]
    changes = [(_changes(gains[own], trials.groups[own]), comparisons) for own, comparisons in asked]
    if not any(_is_gain(int((each > 0).sum()), int((each < 0).sum()), comparisons) for each, comparisons in changes):
        return None
    return draw_learning_curve(trials, names).advice()


def _changes(gains: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The sum of the gains in each group."""
    return np.bincount(np.unique(groups, return_inverse=True)[1], gains)


def _is_gain(won: int, lost: int, comparisons: int) -> bool:
    return is_significant(won, lost, once_in=_ONCE_IN * comparisons)


def _places(labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A place for each photo, 0 to below 1, (n,), the same for a group: of each class, a share s is below s.

    The first group of each class is at 0, so that no share is without the class.
    """
    places = np.zeros(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        _, group, sizes = np.unique(groups[members], return_inverse=True, return_counts=True)
        order = rng.permutation(len(sizes))
        middles = np.cumsum(sizes[order]) - sizes[order] / 2
        middles[0] = 0
        place = np.empty(len(sizes))
        place[order] = middles / len(members)
        places[members] = place[group]
    return places


def _growth(right: np.ndarray, groups: np.ndarray, photos: np.ndarray) -> Growth:
    """right: bool, (shares, n). groups: (n,). photos: fitted on at each share, (shares,)."""
    _, group = np.unique(groups, return_inverse=True)
    changes = np.stack([_changes(right[-1].astype(float) - row, groups) for row in right[:-1]])
    return Growth(
        [round(float(count)) for count in photos],
        [round(float(row.mean()), 6) for row in right],
        [[round(bound, 6) for bound in _interval(row, group)] for row in right],
        groups=changes.shape[1],
        won=(changes > 0).sum(axis=1).tolist(),
        lost=(changes < 0).sum(axis=1).tolist(),
    )


def _interval(right: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """Of the share that is right, bool (n,): as of so many independent photos as vary as much as these groups do."""
    share = float(right.mean())
    variance = float((np.bincount(group, right - share) ** 2).sum()) / len(right) ** 2
    single = share * (1 - share) / len(right)
    count = len(right) * min(1, single / variance) if variance else group.max() + 1
    return wilson_interval(share, max(1, round(float(count))))


def _gain(growth: Growth) -> float:
    return growth.recognised[-1] - growth.recognised[_HALF]


def _rise(growth: Growth) -> str:
    return f"{growth.recognised[-1]:.0%} instead of {growth.recognised[_HALF]:.0%}"


def _join(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
