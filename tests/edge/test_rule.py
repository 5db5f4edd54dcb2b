"""The rule by which a file is chosen: what is as accurate as the best, what is equally fast, and older files."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_classify.benchmark.candidates import Candidate
from edge_classify.benchmark.rule import BOARDS, as_accurate_as, best_of, cheapest, choose_for_boards, comparable
from edge_classify.model.answers import Answers, decode, is_better, is_significant, pack

ROOT = Path(__file__).parent.parent.parent


def answers(wrong: set[int], photos: int = 100, fingerprint: str = "photos") -> Answers:
    return pack(fingerprint, (photo not in wrong for photo in range(photos)))


def file(name: str, wrong: set[int], multiply_adds: int = 100, precision: str = "int8", size: int = 9) -> Candidate:
    return Candidate(
        path=Path(f"{name}.tflite"),
        sha256=name,
        bytes=size,
        alpha=1.0,
        resolution=96,
        precision=precision,
        multiply_adds=multiply_adds,
        accuracy=0.9,
        photos=50,
        labels=("cup", "unknown"),
        data_fingerprint="photos",
        validation=answers(wrong),
    )


def test_three_photos_won_and_none_lost_is_a_difference_and_two_may_be_chance() -> None:
    assert is_better(answers(set()), answers({1, 2, 3}))
    assert not is_better(answers(set()), answers({1, 2}))
    assert not is_better(answers({1, 2, 3}), answers(set()))
    assert not is_better(answers({1}), answers({1}))


def test_photos_that_both_answer_alike_do_not_count() -> None:
    # 95 and 92 of 100: the intervals overlap by far, but one is right wherever the other is.
    both = set(range(50, 55))
    assert is_better(answers(both), answers(both | {1, 2, 3}))
    # The same two accuracies, by different photos.
    assert not is_better(answers(set(range(5))), answers(set(range(20, 28))))


def test_a_difference_is_a_lead_of_one_standard_error() -> None:
    for count in (40, 200, 1300):
        lead = math.sqrt(count)
        for won, expected in ((count / 2 + 0.4 * lead, False), (count / 2 + 0.6 * lead, True)):
            assert is_significant(round(won), count - round(won)) == expected, (count, won)


def test_answers_survive_their_json_and_damaged_ones_are_refused() -> None:
    correct = np.random.default_rng(0).random(1203) < 0.9
    packed = pack("photos", correct)
    assert decode(packed.encode()) == packed
    assert packed.accuracy == pytest.approx(correct.mean())
    assert len(packed.encode()["correct"]) < 210
    for change in ({"photos": 900}, {"photos": 0}, {"photos": 2.5}, {"correct": "?"}, {"correct": None}):
        with pytest.raises(ValueError):  # noqa: PT011 - whoever reads the file names it
            decode(packed.encode() | change)


def test_of_equally_accurate_files_the_fastest_is_taken_and_of_equally_fast_ones_the_smallest() -> None:
    best, equal, worse = file("best", {1}), file("equal", {1, 2, 3}), file("worse", set(range(10)))
    assert as_accurate_as(best_of([worse, equal, best]), [best, equal, worse]) == [best, equal]
    sizes = {best: 5, equal: 4}
    for times, expected in (((10, 5), equal), ((5, 10), best), ((10.0, 10.5), equal), ((10.5, 10.0), equal)):
        cost = dict(zip((best, equal), times, strict=True))
        assert cheapest([best, equal], cost.__getitem__, sizes.__getitem__) == expected


def test_a_board_gets_the_precision_that_is_least_work_for_it() -> None:
    sizes = {"float32": 40, "float16": 20, "dynamic": 14, "int8": 15}
    files = [file(name, {1}, precision=name, size=size) for name, size in sizes.items()]
    # A Pi 4 computes all four about equally fast: the smallest.
    assert chosen(files) == {"Pi 3 or Zero 2 W": "int8", "Pi 4": "dynamic", "Pi 5": "int8"}
    smaller_cell = file("small", {1, 2}, multiply_adds=40, precision="float32", size=30)
    assert set(chosen([*files, smaller_cell]).values()) == {"small"}
    too_small = file("tiny", set(range(20)), multiply_adds=10)
    assert chosen([*files, too_small]) == chosen(files)


def chosen(files: list[Candidate]) -> dict[str, str]:
    return {board: choice.candidate.name for choice in choose_for_boards(files) for board in choice.boards}


def test_a_file_that_lost_measurably_in_conversion_is_not_chosen(caplog: pytest.LogCaptureFixture) -> None:
    sound, lossy = file("float16", {1}, precision="float16"), replace(file("int8", {1}), lost=3, gained=0)
    assert comparable([sound, lossy]) == [sound]
    assert "int8.tflite: not chosen, because it is measurably less accurate than before conversion" in caplog.text
    assert comparable([sound, replace(lossy, lost=3, gained=1)]) == [sound, replace(lossy, lost=3, gained=1)]
    assert comparable([lossy]) == [lossy]


def test_a_file_whose_unknown_lets_much_pass_gives_way_to_one_that_does_not(caplog: pytest.LogCaptureFixture) -> None:
    lenient, strict = replace(file("quick", {1}), accepted=0.18), replace(file("slow", {1}), accepted=0.01)
    assert comparable([lenient, strict]) == [strict]
    assert "more than 12% of the negatives made to test it: quick (18%)" in caplog.text
    assert comparable([lenient]) == [lenient]
    # Files of edge-convert imagenet and of --no-unknown say nothing of it.
    assert comparable([file("silent", {1}), lenient]) == [file("silent", {1})]


def test_files_without_answers_to_the_same_photos_are_compared_by_held_out_accuracy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    older = replace(file("older", set()), validation=None, accuracy=0.95)
    others = [
        replace(file("new", set()), accuracy=0.9),
        replace(file("elsewhere", set()), validation=answers(set(), fingerprint="other"), accuracy=0.9),
    ]
    for other in others:
        compared = comparable([file("new too", set()), older, other])
        assert best_of(compared).name == "older"
        assert [each.name for each in as_accurate_as(best_of(compared), compared)] == ["older"]
    assert "chosen by held-out accuracy alone" in caplog.text


def test_the_boards_shares_are_those_of_the_counted_instructions() -> None:
    text = (ROOT / "docs" / "arm.md").read_text()
    for board, shares in BOARDS.items():
        row = f"| Raspberry {board.partition(' or ')[0]} | "
        line = next(line for line in text.splitlines() if line.startswith(row) and " to " in line)
        ranges = re.findall(r"(\d\.\d+) to (\d\.\d+)", line)
        for precision, (low, high) in zip(("float16", "dynamic", "int8"), ranges, strict=True):
            assert float(low) <= shares[precision] <= float(high)
