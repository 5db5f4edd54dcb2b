"""Heads compared on the same features: by Adam, in closed form, with a middle layer beside the features, with votes.

    python benchmarks/heads.py                                       # everything, an hour
    python benchmarks/heads.py --shots 20 --draws 2 --cell 0.35@96   # parts of it

The photos of each set are drawn into two halves of each class, near-duplicates on one side; a split that comes with a
set is ignored. Heads are fitted on so many photos of each class of one half, with edge-train's three views, and
measured on the other half, which is larger than what a run holds out. `unknown` is tried on the two other sets, photos
of a camera that does not move, digits, and frames of videos. Features are those of edge-train's cache.

adam: `learn.head`. ridge: regression of the classes on standardised features, whose strength is the one of a few with
the lowest cross-entropy of photos left out, each with its views. middle: the mean of the middle layer, which `unknown`
reads, beside the features; for Adam its numbers are spread three times as far. votes: `learn.votes`; alone: no head.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

# Before numpy: times are of one core.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from common import DATA, Row, machine, record, show
from unknown import SETS, accepted, stranger_folders

from edge_classify.images.folder import list_pictures
from edge_classify.learn.head import (
    Examples,
    Head,
    HeadSettings,
    accuracy,
    calibrated_loss,
    cross_entropy,
    fit_head,
    fit_temperature,
    softmax,
)
from edge_classify.learn.metrics import auroc, calibration_error
from edge_classify.learn.open_set import KEEP, FeatureSpace, fit_feature_space, fit_open_set, with_unknown
from edge_classify.learn.photos.bursts import join_bursts
from edge_classify.learn.photos.folds import FOLDS
from edge_classify.learn.photos.made_negatives import BLANKS
from edge_classify.learn.photos.photo_set import Photo
from edge_classify.learn.rows import Rows
from edge_classify.learn.votes import fit_votes
from edge_classify.system.checksum import file_sha256
from edge_train.cache import open_cache
from edge_train.features import compute_features, gather_features, read_cost
from edge_train.settings import Settings
from edge_train.training import find_backbones, sort_photos

STRENGTHS = 10.0 ** np.arange(-2, 2.5, 0.5)
MIDDLE_SPREAD = 3.0
_Rows = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """rows: (n, views, row). labels, groups of near-duplicates: (n,)."""

    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Features:
    """Of one cell: the sets, the strangers as they are, and what shows nothing. features: the head's part of a row."""

    features: int
    sets: Mapping[str, Pictures]
    strangers: _Rows
    blanks: np.ndarray


@dataclass(frozen=True)
class Draw:
    """Photos to fit on, in folds, and those held out, which no head sees."""

    examples: Examples
    folds: Sequence[tuple[np.ndarray, np.ndarray]]
    held_out: np.ndarray
    truth: np.ndarray
    features: int

    def rows(self, photos: np.ndarray) -> np.ndarray:
        return self.examples.read(photos)

    @property
    def order(self) -> np.ndarray:
        """All photos to fit on, as the folds have them to choose on."""
        return np.concatenate([chosen_on for _, chosen_on in self.folds])


@dataclass(frozen=True)
class Logits:
    """Of the photos to choose on, each by what was fitted without it; and of any rows, by what was fitted on all."""

    chosen_on: np.ndarray
    of: Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cells = ["0.35@96", "0.5@160", "0.75@128", "1.0@224"]
    parser.add_argument("--cell", nargs="+", default=cells, help="width@resolution")
    parser.add_argument("--shots", nargs="+", type=int, default=[5, 20, 50, 0], help="photos of a class; 0: all")
    parser.add_argument("--draws", type=int, default=5, help="how many halves")
    options = parser.parse_args()
    print(machine())
    figures: dict[int, dict[str, list[list[np.ndarray]]]] = {shots: {} for shots in options.shots}
    for cell in options.cell:
        features = read_features(cell)
        for shots in options.shots:
            for title in SETS:
                draws = [compare(draw(features, title, shots, seed), features, title) for seed in range(options.draws)]
                print(f"{cell} {title}, {shots or 'all'}: held out, cross-entropy")
                for name in draws[0]:
                    rows = [measured[name] for measured in draws]
                    figures[shots].setdefault(name, []).append(rows)
                    print(f"  {name:22} {100 * np.mean(rows, axis=0)[1]:5.1f}  {np.mean(rows, axis=0)[2]:.3f}")
    record(__file__, [row for shots, measured in figures.items() for row in table(shots, measured)])


def table(shots: int, measured: Mapping[str, list[list[np.ndarray]]]) -> list[Row]:
    """measured: by head, field and draw, what `measure` gives. A field is one cell and set."""
    means = {name: np.array([np.mean(draws, axis=0) for draws in fields]) for name, fields in measured.items()}
    rows: list[Row] = []
    for name, figures in means.items():
        gains = 100 * (figures - means["adam"])[:, :2]
        error = gains.std(axis=0, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.zeros(2)
        _, held_out, loss, calibration, kept, auroc_, share, seconds = figures.mean(axis=0).tolist()
        row: Row = {
            "photos of a class": shots or "all",
            "head": name,
            "fields": len(gains),
            "gain in cross-validation (points)": f"{gains[:, 0].mean():+.1f} ± {error[0]:.1f}",
            "gain held out (points)": f"{gains[:, 1].mean():+.1f} ± {error[1]:.1f}",
            "better in": int((gains[:, 1] > 0).sum()),
            "held out (%)": round(100 * held_out, 1),
            "cross-entropy": round(loss, 3),
            "calibration error": round(calibration, 3),
            "kept (%)": round(100 * kept, 1),
            "strangers: AUROC": round(auroc_, 4),
            "strangers accepted (%)": round(100 * share, 1),
            "seconds": round(seconds, 2),
        }
        rows.append(show(row))
    return rows


def read_features(cell: str) -> Features:
    """All views of all photos of the sets, from edge-train's cache, which is filled where it lacks some."""
    alpha, _, resolution = cell.partition("@")
    settings = Settings(weights=str(DATA / "weights"))
    views = settings.augmentation.keys()
    with open_cache() as database, tempfile.TemporaryDirectory() as work:
        (backbone,) = find_backbones([(float(alpha), int(resolution))], settings)

        def rows(root: Path, photos: Sequence[Photo], views: Sequence[str] = ("",)) -> np.ndarray:
            compute_features(database, root, ((photo, views) for photo in photos), [backbone])
            gathered = gather_features(database, backbone, photos, views)
            return gathered.read(range(len(gathered))).reshape(len(photos), len(views), -1)

        sets, strangers = {}, {}
        for title, name in SETS.items():
            root = DATA / "data" / name
            found, near_duplicates = sort_photos(database, root, settings)
            photos = list({photo.sha256: photo for photo in found.photos}.values())
            groups = join_bursts(root, photos, near_duplicates.groups)
            numbers = np.unique([groups[photo.sha256] for photo in photos], return_inverse=True)[1]
            sets[title] = Pictures(rows(root, photos, views), np.array([photo.label for photo in photos]), numbers)
        for title, folder in stranger_folders(Path(work)).items():
            pictures = [Photo(path.absolute(), 0, file_sha256(path)) for path in list_pictures(folder)]
            strangers[title] = rows(Path(), pictures)[:, 0]
        return Features(read_cost(database, backbone).features, sets, strangers, rows(Path(), BLANKS)[:, 0])


def draw(features: Features, title: str, shots: int, seed: int) -> Draw:
    """Half of each class, or so many photos of that half, to fit on, and the other half held out."""
    pictures, rng = features.sets[title], np.random.default_rng([seed, 1])
    labels, groups = pictures.labels, pictures.groups
    half = halve(labels, groups, rng)
    chosen = np.flatnonzero(half)
    if shots:
        mixed = rng.permutation(chosen)
        chosen = np.sort(np.concatenate([mixed[labels[mixed] == label][:shots] for label in np.unique(labels)]))
    own = labels[chosen]
    folds = deal(own, groups[chosen], rng)
    counts = np.bincount(own)
    rows = pictures.rows[chosen]
    weights = (len(own) / (len(counts) * counts)).astype(np.float32)
    examples = Examples(in_rows(rows.reshape(-1, rows.shape[2])), rows.shape[1], np.arange(len(own)), own, weights)
    parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
    return Draw(examples, parts, pictures.rows[~half, 0], labels[~half], features.features)


def halve(labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether each photo is in the first half, (n,), of each class half, groups together."""
    first = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = mixed_groups(labels, groups, label, rng)
        size = sum(map(len, own)) / 2
        count = 0
        for members in own:
            if count < size:
                first[members] = True
                count += len(members)
    return first


def deal(labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The fold of each photo, (n,), equally many of each class, groups together."""
    folds = np.zeros(len(labels), int)
    for label in np.unique(labels):
        counts = np.zeros(FOLDS)
        for members in sorted(mixed_groups(labels, groups, label, rng), key=len, reverse=True):
            folds[members] = fewest = int(counts.argmin())
            counts[fewest] += len(members)
    return folds


def mixed_groups(labels: np.ndarray, groups: np.ndarray, label: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The members, indices, of each group whose first is of this class."""
    members = [np.flatnonzero(groups == group) for group in rng.permutation(np.unique(groups))]
    return [group for group in members if labels[group[0]] == label]


def in_rows(array: np.ndarray) -> Rows:
    rows = Rows(Path(tempfile.gettempdir()), array.shape[1:], np.float32)
    for row in array:
        rows.append(row)
    return rows


def compare(drawn: Draw, features: Features, title: str) -> dict[str, np.ndarray]:
    """What `measure` gives for each head."""
    strangers = {name: rows for name, rows in features.strangers.items() if name != title}
    began = time.process_time()
    spaces = [fit_space(drawn, fitted, features.blanks) for fitted, _ in drawn.folds]
    space = fit_space(drawn, drawn.examples.photos, features.blanks)
    classes = len(drawn.examples.weights)
    votes = [partial(part.answers, classes=classes) for part in spaces]
    answers = Logits(by_fold(drawn, votes), partial(space.answers, classes=classes))
    scores = by_fold(drawn, [part.scores for part in spaces])
    spaces_took = time.process_time() - began
    labels, results = drawn.examples.labels[drawn.order], {}
    heads = {
        "adam": partial(by_adam, drawn, middle=False),
        "adam, middle": partial(by_adam, drawn, middle=True),
        "ridge": partial(by_ridge, drawn, middle=False),
        "ridge, middle": partial(by_ridge, drawn, middle=True),
    }
    for name, fit in heads.items():
        began = time.process_time()
        logits = fit()
        took = time.process_time() - began
        results[name] = measure(drawn, at_best(logits, labels), space, scores, strangers, took)
        with_votes = mix(logits, answers, labels)
        results[f"{name}, votes"] = measure(drawn, with_votes, space, scores, strangers, took)
    results["votes alone"] = measure(drawn, at_best(answers, labels), space, scores, strangers, spaces_took)
    return results


def fit_space(drawn: Draw, photos: np.ndarray, blanks: np.ndarray) -> FeatureSpace:
    examples = drawn.examples
    rows, labels = examples.read_views(photos), examples.labels[photos]
    return fit_feature_space(rows, labels, drawn.features, 0, examples.views, blanks)


def by_fold(drawn: Draw, fits: Sequence[Callable[[np.ndarray], np.ndarray]]) -> np.ndarray:
    """What each fold's fit says of the fold's photos."""
    parts = zip(fits, drawn.folds, strict=True)
    return np.concatenate([fit(drawn.rows(chosen_on)) for fit, (_, chosen_on) in parts])


def by_adam(drawn: Draw, *, middle: bool) -> Logits:
    """As edge-train does: for as many epochs as were best without a fold."""
    features, settings, examples = drawn.features, HeadSettings(), drawn.examples
    scale = np.ones(drawn.held_out.shape[1] if middle else features, np.float32)
    if middle:
        variances = drawn.rows(examples.photos).var(axis=0)
        scale[features:] = MIDDLE_SPREAD * np.sqrt(variances[:features].mean() / variances[features:].mean())
    shown = examples.read_views(examples.photos)[:, : len(scale)] * scale
    scaled = replace(examples, rows=in_rows(shown))
    fits = [
        fit_head(replace(scaled, photos=fitted), replace(scaled, photos=chosen_on), len(scale), settings, 0)
        for fitted, chosen_on in drawn.folds
    ]
    epochs = max(1, round(float(np.mean([best for _, best in fits]))))
    whole, _ = fit_head(scaled, None, len(scale), settings, 0, epochs)

    def unscaled(head: Head) -> Callable[[np.ndarray], np.ndarray]:
        return Head(head.kernel * scale[:, None], head.bias).logits

    return Logits(by_fold(drawn, [unscaled(head) for head, _ in fits]), unscaled(whole))


def by_ridge(drawn: Draw, *, middle: bool) -> Logits:
    """The strength is chosen once, with all photos."""
    length = drawn.held_out.shape[1] if middle else drawn.features
    examples = drawn.examples
    labels = examples.labels
    whole = Ridge(examples, length)
    strength = min(STRENGTHS, key=lambda strength: calibrated_loss(whole.left_out(strength), labels))
    heads = [Ridge(replace(examples, photos=fitted), length).head(strength) for fitted, _ in drawn.folds]
    return Logits(by_fold(drawn, [head.logits for head in heads]), whole.head(strength).logits)


class Ridge:
    """Ridge regression of the classes on standardised rows, at any strength."""

    def __init__(self, examples: Examples, length: int) -> None:
        labels, views = examples.labels[examples.photos], examples.views
        rows = examples.read_views(examples.photos)[:, :length].astype(np.float64)
        weights = np.repeat(examples.weights[labels], views)[:, None].astype(np.float64)
        targets = np.eye(len(examples.weights))[np.repeat(labels, views)]
        deviation = rows.std(axis=0)
        self._deviation = deviation + 0.1 * deviation.mean()
        self._mean, self._target = (np.average(part, axis=0, weights=weights[:, 0]) for part in (rows, targets))
        self._views, self._root = views, np.sqrt(weights)
        standard = (rows - self._mean) / self._deviation * self._root
        self._targets = (targets - self._target) * self._root
        self._left, self._lengths, self._right = decompose(standard)
        self._along = self._left.T @ self._targets

    def _shrinkage(self, strength: float) -> np.ndarray:
        squares = self._lengths**2
        return squares / (squares + strength * squares.mean())

    def head(self, strength: float) -> Head:
        kernel = self._right.T @ ((self._shrinkage(strength) / self._lengths)[:, None] * self._along)
        kernel /= self._deviation[:, None]
        return Head(kernel.astype(np.float32), (self._target - self._mean @ kernel).astype(np.float32))

    def left_out(self, strength: float) -> np.ndarray:
        """What each photo, as it is, gets from a fit without all its views: (n, K)."""
        shrinkage, views = self._shrinkage(strength), self._views
        left = self._left.reshape(-1, views, self._left.shape[1])
        root = self._root.reshape(-1, views, 1)
        hat = (left * shrinkage) @ left.transpose(0, 2, 1) + root @ root.transpose(0, 2, 1) / (self._root**2).sum()
        targets = self._targets.reshape(-1, views, self._targets.shape[1])
        fitted = (self._left @ (shrinkage[:, None] * self._along)).reshape(targets.shape)
        without = targets - np.linalg.solve(np.eye(views) - hat, targets - fitted)
        return np.asarray(without[:, 0] / root[:, 0] + self._target)


def decompose(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `np.linalg.svd`, in less time and less exactly: from the eigenvectors of the smaller product."""
    wide = len(matrix) <= matrix.shape[1]
    squares, vectors = np.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    lengths = np.sqrt(np.maximum(squares, squares.max() * 1e-12))
    if wide:
        return vectors, lengths, (vectors / lengths).T @ matrix
    return matrix @ (vectors / lengths), lengths, vectors.T


def at_best(logits: Logits, labels: np.ndarray) -> Logits:
    """At the temperature that is best for the photos to choose on."""
    temperature = fit_temperature(logits.chosen_on, labels)
    return Logits(logits.chosen_on / temperature, lambda rows: logits.of(rows) / temperature)


def mix(logits: Logits, answers: Logits, labels: np.ndarray) -> Logits:
    temperature, weight = fit_votes(logits.chosen_on, answers.chosen_on, labels)
    return Logits(
        logits.chosen_on / temperature + weight * answers.chosen_on,
        lambda rows: logits.of(rows) / temperature + weight * answers.of(rows),
    )


def measure(
    drawn: Draw, logits: Logits, space: FeatureSpace, scores: np.ndarray, strangers: _Rows, seconds: float
) -> np.ndarray:
    """Accuracy of the photos chosen on, and of those held out; of these cross-entropy, calibration error, share kept;
    of strangers AUROC and accepted share, mean of their sets; seconds."""
    confidences = softmax(logits.chosen_on).max(axis=1)
    open_set = fit_open_set(space, scores, confidences, KEEP)
    probabilities = softmax(logits.of(drawn.held_out))
    own = with_unknown(probabilities, open_set.known(drawn.held_out))
    outputs = [with_unknown(softmax(logits.of(rows)), open_set.known(rows)) for rows in strangers.values()]
    right = probabilities.argmax(axis=1) == drawn.truth
    return np.array(
        [
            accuracy(logits.chosen_on, drawn.examples.labels[drawn.order]),
            accuracy(probabilities, drawn.truth),
            cross_entropy(probabilities, drawn.truth),
            calibration_error(probabilities.max(axis=1), right),
            accepted(own),
            np.mean([auroc(1 - own[:, -1], 1 - part[:, -1]) for part in outputs]),
            np.mean([accepted(part) for part in outputs]),
            seconds,
        ]
    )


if __name__ == "__main__":
    main()
