"""Whether there are enough photos: what a learning curve is drawn from, of heads on a backbone's features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .cross_validation import Fold, fit_without_fold
from .head import Examples, Head, HeadSettings, head_logits
from .learning_curve import Trials

# Heads without a fold in turn are fitted on parts of the photos until so many photos are judged: drawing the curve must
# not take long beside computing the features.
_PHOTOS = 600


def make_trials(
    examples: Examples,
    fits: Sequence[tuple[Fold, Head]],
    groups: np.ndarray,
    features: int,
    settings: HeadSettings,
    seed: int,
) -> Trials:
    """Of heads fitted on parts of the folds' photos, as those of `fits` were on all of them; without votes.

    fits: folds, each with the head that was fitted without it.
    groups: of all photos, the same for those that are alike, (n,), of any type that sorts.
    features, settings, seed: as those heads were fitted.
    """
    counts = np.cumsum([len(fold.chosen_on) for fold, _ in fits])
    fits = fits[: int(np.searchsorted(counts, _PHOTOS)) + 1]

    def answer(fitted: np.ndarray, tried: np.ndarray) -> np.ndarray:
        head, _ = fit_without_fold(examples, Fold(fitted, tried), features, settings, seed)
        return head_logits(head, examples, tried).argmax(axis=1)

    return Trials(
        examples.labels,
        np.unique(groups, return_inverse=True)[1],
        [(fold.fitted, fold.chosen_on) for fold, _ in fits],
        answer,
        seed,
        np.concatenate([head_logits(head, examples, fold.chosen_on).argmax(axis=1) for fold, head in fits]),
    )
