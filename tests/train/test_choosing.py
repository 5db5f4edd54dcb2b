"""Which cell edge-train recommends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_classify.model.answers import decode, pack


def cell(wrong: set[int], multiply_adds: int, held_out: float, accepted: float = 0.0) -> dict[str, Any]:
    made = {"pictures": 100, "accepted": accepted}
    return {
        "multiply_adds": multiply_adds,
        "parameters": multiply_adds,
        "decision": {"validation": pack("photos", (photo not in wrong for photo in range(100))).encode()},
        "evaluation": {"accuracy": held_out, "accuracy_with_unknown": held_out, "made_negatives": made},
    }


def test_the_cell_to_take_is_the_cheapest_of_the_best_in_validation_whatever_was_held_out() -> None:
    from edge_train.choosing import best_cell

    best, as_good, worse = cell({1}, 300, 0.9), cell({2, 3}, 50, 0.8), cell(set(range(8)), 10, 0.99)
    assert best_cell([worse, as_good, best]) == 1
    assert best_cell([worse, best]) == 1


def test_a_cell_that_will_be_refused_is_not_the_one_to_take() -> None:
    from edge_train.choosing import best_cell

    refused, sound = cell({1}, 10, 0.9, accepted=0.5), cell({2, 3, 4, 5, 6, 7, 8, 9}, 50, 0.8)
    assert best_cell([refused, sound]) == 1
    assert best_cell([refused]) == 0


def test_a_cell_whose_unknown_lets_much_pass_gives_way_to_one_that_does_not() -> None:
    from edge_train.choosing import best_cell

    lenient, strict = cell({1}, 10, 0.9, accepted=0.18), cell({1, 2}, 50, 0.9, accepted=0.01)
    assert best_cell([lenient, strict]) == 1
    assert best_cell([lenient, cell({1}, 50, 0.9, accepted=0.2)]) == 0


@pytest.mark.parametrize(("least", "said"), [(0.69, True), (0.97, False)])
def test_lookalikes_that_get_a_label_are_spoken_of_where_drawn_negatives_do_not(least: float, said: bool) -> None:
    from edge_train.training import results_table

    entry = cell({1}, 300, 0.9) | {"alpha": 0.5, "resolution": 160, "seconds": 1.0}
    entry["evaluation"] |= {"photos": 36, "held_out": "a fifth", "strangers": {}}
    entry["evaluation"]["left_out_classes"] = {"daisy": 0.99, "tulips": least}
    table = results_table([entry])
    assert "`accepted`: of 100 negatives made" in table
    assert ("tulips has AUROC 0.69 of 1): put photos of such things into unknown/" in table) == said
    assert ("resembles your classes" in table) == said


def test_a_run_says_which_photos_its_cell_gets_right_in_cross_validation(run_folder: Path) -> None:
    index = json.loads((run_folder / "run.json").read_text())
    (entry,) = index["cells"]
    answers = decode(entry["decision"]["validation"])
    assert answers.photos == index["photos"]["training"] == entry["decision"]["chosen_on"]
    # The classes are easy, and three.
    assert 0.5 < answers.accuracy < 1
    assert np.isclose(entry["decision"]["validation"]["accuracy"], answers.accuracy, atol=1e-6)
