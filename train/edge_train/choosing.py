"""Which cell to take: by the photos that choices are made on, never by those held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_classify.benchmark.rule import cheapest
from edge_classify.learn.photos.made_negatives import MAX_MADE_ACCEPTED
from edge_classify.model.answers import Answers, decode, is_better


def best_cell(entries: Sequence[Mapping[str, Any]]) -> int:
    """The place of the cell to take: of those that are as accurate as the best in validation, the one with the fewest
    multiply-adds, or of about equally many the fewest parameters. Cells that edge-convert refuses are left aside,
    unless it refuses all.

    entries: of run.json, of one run.
    """
    sound = [place for place, entry in enumerate(entries) if not accepts_too_much(entry)]
    answers = {place: validation(entries[place]) for place in sound or range(len(entries))}
    best = max(answers.values(), key=lambda each: (each.accuracy, each.correct))
    as_accurate = [place for place, each in answers.items() if not is_better(best, each)]
    return cheapest(
        as_accurate,
        cost=lambda place: entries[place]["multiply_adds"],
        size=lambda place: entries[place]["parameters"],
    )


def accepts_too_much(entry: Mapping[str, Any]) -> bool:
    """Whether its `unknown` lets more of the negatives made to test it pass than edge-convert takes.

    entry: of run.json.
    """
    made = entry["evaluation"].get("made_negatives")
    return bool(made and made["accepted"] > MAX_MADE_ACCEPTED)


def validation(entry: Mapping[str, Any]) -> Answers:
    """A cell's answers to the photos chosen on. entry: of run.json."""
    return decode(entry["decision"]["validation"])
