"""Which cell to take: by the photos that choices are made on, never by those held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_classify.benchmark.rule import cheapest
from edge_classify.model.answers import Answers, decode, is_better


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
