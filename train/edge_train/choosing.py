"""Which cell to take: by the photos that choices are made on, never by those held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_classify.benchmark.rule import MAX_TAKEN_ACCEPTED, cheapest
from edge_classify.learn.photos.made_negatives import MAX_MADE_ACCEPTED
from edge_classify.model.answers import Answers, decode, is_better


def best_cell(entries: Sequence[Mapping[str, Any]]) -> int:
    """The place of the cell to take: of those that are as accurate as the best in validation, the one with the fewest
    multiply-adds, or of about equally many the fewest parameters.

    entries: of run.json, of one run.
    """
    answers = {place: validation(entries[place]) for place in chosen_from(entries)}
    best = max(answers.values(), key=lambda each: (each.accuracy, each.correct))
    as_accurate = [place for place, each in answers.items() if not is_better(best, each)]
    return cheapest(
        as_accurate,
        cost=lambda place: entries[place]["multiply_adds"],
        size=lambda place: entries[place]["parameters"],
    )


def chosen_from(entries: Sequence[Mapping[str, Any]]) -> list[int]:
    """The places of the cells that the choice is between: those whose `unknown` lets little pass, or else those that
    edge-convert takes, or else all.
    """
    places = range(len(entries))
    for limit in (MAX_TAKEN_ACCEPTED, MAX_MADE_ACCEPTED):
        if within := [place for place in places if _accepted(entries[place]) <= limit]:
            return within
    return list(places)


def accepts_too_much(entry: Mapping[str, Any]) -> bool:
    """Whether its `unknown` lets more of the negatives made to test it pass than edge-convert takes.

    entry: of run.json.
    """
    return _accepted(entry) > MAX_MADE_ACCEPTED


def _accepted(entry: Mapping[str, Any]) -> float:
    """The share of the negatives made to test its `unknown` that it accepts; 0 without that output."""
    return float((entry["evaluation"].get("made_negatives") or {"accepted": 0.0})["accepted"])


def validation(entry: Mapping[str, Any]) -> Answers:
    """A cell's answers to the photos chosen on. entry: of run.json."""
    return decode(entry["decision"]["validation"])
