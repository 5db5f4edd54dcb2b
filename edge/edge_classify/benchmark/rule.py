"""The rule by which a model file is chosen, wherever one is: docs/converting.md, "Which file to take".

Of the files that are as accurate as the best, the one that is fastest where it runs; of equally fast ones the smallest.
Files whose `unknown` lets much pass are left aside where others do not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from ..errors import ModelFileError
from ..model.answers import Answers, is_better, is_significant
from .candidates import Candidate, warn_of_different_photos

log = logging.getLogger(__name__)

# Costs that differ by no more than this fraction are equal: measured times vary as much from one run to the next.
SAME_COST = 0.1

# A file whose `unknown` gives a class's label to more of the negatives made to test it is passed over for one that does
# not: what it gains in speed it would lose in false labels, whatever it says of photos of the classes.
MAX_TAKEN_ACCEPTED = 0.12

# The instructions of each precision, relative to float32 in the same cell: medians of docs/arm.md.
# A Pi Zero 2 W has the processor of a Pi 3.
BOARDS: Mapping[str, Mapping[str, float]] = {
    "Pi 3 or Zero 2 W": {"float32": 1.0, "float16": 1.0, "dynamic": 0.86, "int8": 0.69},
    "Pi 4": {"float32": 1.0, "float16": 1.0, "dynamic": 0.98, "int8": 0.98},
    "Pi 5": {"float32": 1.0, "float16": 1.0, "dynamic": 0.81, "int8": 0.49},
}

T = TypeVar("T")


def comparable(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that can be chosen from: with an accuracy, not measurably worse than the float model they are made of, and
    with an `unknown` that lets little pass, if there is one.

    If they do not all tell which of the same validation photos they got right, they are returned without that, so that
    their held-out accuracies are compared. Raises ModelFileError if none has an accuracy, or if their labels differ.
    """
    known = []
    for candidate in candidates:
        if candidate.accuracy is None:
            log.warning("%s: ignored, because it does not say how accurate it is", candidate.path)
        else:
            known.append(candidate)
    if not known:
        raise ModelFileError(
            "none of these model files says how accurate it is: expected files that edge-convert wrote"
        )
    warn_of_different_photos(known)
    for candidate in known:
        if candidate.labels != known[0].labels:
            raise ModelFileError(
                f"{candidate.path}: its labels differ from those of {known[0].path}: "
                "expected files that were trained for the same classes"
            )
    return _with_comparable_answers(_without_lenient(_without_losses(known)))


def figure(candidate: Candidate) -> float:
    """The accuracy that files are ranked by, 0 to 1: of the validation photos, if they can be compared by these."""
    return candidate.validation.accuracy if candidate.validation else candidate.accuracy or 0.0


def is_more_accurate(candidate: Candidate, other: Candidate) -> bool:
    """Whether it is measurably more accurate; without answers to compare, whether its figure is higher."""
    if candidate.validation and other.validation:
        return is_better(candidate.validation, other.validation)
    return figure(candidate) > figure(other)


def best_of(candidates: Iterable[Candidate]) -> Candidate:
    """The one with the highest figure. Of equal figures, which one does not depend on the order of the files."""
    return max(candidates, key=lambda candidate: (figure(candidate), _bits(candidate.validation), candidate.name))


def as_accurate_as(best: Candidate, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those than which the best is not measurably more accurate."""
    return [candidate for candidate in candidates if not is_more_accurate(best, candidate)]


def cheapest(items: Sequence[T], cost: Callable[[T], float], size: Callable[[T], float]) -> T:
    """Of the items that cost about as little as the cheapest, the smallest; of equally small ones the cheapest."""
    limit = min(map(cost, items)) * (1 + SAME_COST)
    return min((item for item in items if cost(item) <= limit), key=lambda item: (size(item), cost(item)))


@dataclass(frozen=True)
class BoardChoice:
    """The file to copy to these boards, and why, in one line."""

    boards: tuple[str, ...]
    candidate: Candidate
    reason: str


def choose_for_boards(candidates: Sequence[Candidate]) -> list[BoardChoice]:
    """What to copy to each of `BOARDS`, where nothing was measured, the newest board's last.

    candidates: as from `comparable`.
    A file's cost is estimated: multiply-adds, times the share of instructions that the board needs in that precision.
    """
    best = best_of(candidates)
    rivals = as_accurate_as(best, candidates)
    boards: dict[Candidate, list[str]] = {}
    for board, shares in BOARDS.items():
        chosen = cheapest(rivals, partial(_estimated_cost, shares), lambda candidate: candidate.bytes)
        boards.setdefault(chosen, []).append(board)
    cost = "by multiply-adds and counted instructions"
    return [
        BoardChoice(tuple(names), chosen, explain(chosen, best, len(rivals), "", cost))
        for chosen, names in sorted(boards.items(), key=lambda item: item[1][-1])
    ]


def _estimated_cost(shares: Mapping[str, float], candidate: Candidate) -> float:
    return (candidate.multiply_adds or 0) * shares.get(candidate.precision or "", 1.0)


def describe_figure(candidate: Candidate) -> str:
    """What a file is ranked by, in words."""
    where = "among the classes in validation" if candidate.validation else "of the held-out photos"
    return f"{100 * figure(candidate):.1f}% {where}"


def explain(chosen: Candidate, best: Candidate, rivals: int, within: str, cost: str) -> str:
    """Which file is taken and why, in one line.

    rivals: how many files are as accurate, the chosen one among them. within: what limited them, such as
    " within 30 ms". cost: what is known of the chosen one's speed.
    """
    words = f"{chosen.name}, {describe_figure(chosen)}: "
    if rivals == 1:
        return words + f"no other file{within} is as accurate ({cost})"
    words += f"the fastest of {rivals} equally accurate files{within} ("
    if figure(best) > figure(chosen):
        words += f"{best.name} has {100 * figure(best):.1f}%, no measurable difference; "
    return words + f"{cost})"


def _without_losses(candidates: list[Candidate]) -> list[Candidate]:
    """Without those that lose measurably against their own float model, unless all do."""
    sound = [candidate for candidate in candidates if not is_significant(won=candidate.lost, lost=candidate.gained)]
    if not sound:
        return candidates
    for candidate in candidates:
        if candidate not in sound:
            log.warning(
                "%s: not chosen, because it is measurably less accurate than before conversion: of the held-out "
                "photos it loses %d and gains %d",
                candidate.path,
                candidate.lost,
                candidate.gained,
            )
    return sound


def _without_lenient(candidates: list[Candidate]) -> list[Candidate]:
    """Without those whose `unknown` accepts more than `MAX_TAKEN_ACCEPTED` of these negatives, unless all do."""
    strict = [candidate for candidate in candidates if (candidate.accepted or 0) <= MAX_TAKEN_ACCEPTED]
    lenient = [candidate for candidate in candidates if candidate not in strict]
    if not strict or not lenient:
        return candidates
    names = ", ".join(f"{candidate.name} ({candidate.accepted:.0%})" for candidate in lenient)
    log.warning(
        "not chosen, because unknown gives a class's label to more than %.0f%% of the negatives made to test it: %s",
        100 * MAX_TAKEN_ACCEPTED,
        names,
    )
    return strict


def _with_comparable_answers(candidates: list[Candidate]) -> list[Candidate]:
    """With their answers to validation photos, if all have some of the same photos; otherwise without."""
    sets = {candidate.validation.fingerprint if candidate.validation else None for candidate in candidates}
    if None not in sets and len(sets) == 1:
        return candidates
    if len(candidates) > 1:
        log.warning(
            "chosen by held-out accuracy alone, because not all of these files say which of the same validation photos "
            "they get right: convert them again, from one run"
        )
    return [replace(candidate, validation=None) for candidate in candidates]


def _bits(answers: Answers | None) -> int:
    return answers.correct if answers else 0
