"""Which cell to take: by the photos that choices are made on, never by those held out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_classify.benchmark.rule import cheapest
from edge_classify.model.answers import Answers, decode, is_better, pack

from .fitting import Calibration, Fit
from .photos import TRAINING, VALIDATION
from .training_run import CellJob

# A part of a SHA-256 that no two runs on one machine share by chance.
_FINGERPRINT_DIGITS = 16


def validate(job: CellJob, fit: Fit, calibration: Calibration) -> Answers:
    """Which of the photos chosen on get their class, each from a head that was fitted without it.

    `unknown` is left aside: its limits are such that every cell keeps the same share of these photos, so it would add
    the same number of mistakes to all cells, but to others of the photos, and hide which cell is better.

    With fine-tuning these are the first fold's photos in every cell, also where the backbone stayed frozen: a network
    is fine-tuned once, without that fold.
    """
    order = np.concatenate([fold.chosen_on for fold in (fit.folds[:1] if job.run.settings.fine_tune else fit.folds)])
    labels = fit.examples.labels[order]
    photos = job.run.photos.of(TRAINING, VALIDATION)
    contents = "\n".join(f"{photos[index].sha256} {photos[index].label}" for index in order)
    fingerprint = hashlib.sha256(contents.encode()).hexdigest()[:_FINGERPRINT_DIGITS]
    return pack(fingerprint, calibration.probabilities[: len(order)].argmax(axis=1) == labels)


def best_cell(entries: Sequence[Mapping[str, Any]]) -> int:
    """The place of the cell to take: of those that are as accurate as the best in validation, the one with the fewest
    multiply-adds, or of about equally many the fewest parameters.

    entries: of run.json, of one run.
    """
    answers = [validation(entry) for entry in entries]
    best = max(answers, key=lambda each: (each.accuracy, each.correct))
    as_accurate = [place for place, each in enumerate(answers) if not is_better(best, each)]
    return cheapest(
        as_accurate,
        cost=lambda place: entries[place]["multiply_adds"],
        size=lambda place: entries[place]["parameters"],
    )


def validation(entry: Mapping[str, Any]) -> Answers:
    """A cell's answers to the photos chosen on. entry: of run.json."""
    return decode(entry["decision"]["validation"])
