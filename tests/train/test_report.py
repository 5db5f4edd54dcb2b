"""The pages of reports: labels of any script, many classes, and pictures for those who do not see them."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import TRAINING, draw_photo
from edge_train.page import confusion_table, contact_sheet, isolate

SCRIPTS = ["猫", "いぬ", "강아지", "قطة", "😀", "a <b> & 'c'", "cost$5$"]


def test_a_contact_sheet_has_whole_names_and_words_as_text() -> None:
    name = "a_very_long_name_of_a_photo_that_someone_exported_from_a_database_0001.jpg"
    sheet = contact_sheet([(np.zeros((30, 40, 3), np.uint8), name, isolate("قطة") + " 87%")])
    assert f"<bdi>قطة</bdi> 87%<div>{name}</div>" in sheet
    assert f"alt='{name}'" in sheet


def test_a_confusion_matrix_says_how_many_of_the_labels_it_shows() -> None:
    labels = [f"class {index}" for index in range(30)]
    counts = np.diag(np.full(30, 5))
    counts[3, 29] = counts[29, 7] = 2
    shown = confusion_table(counts, labels, 3)
    assert "Of 30 labels, the 3 most often confused." in shown
    assert re.findall(r"<tr><th>([^<]+)</th>", shown) == ["class 3", "class 7", "class 29"]
    assert re.findall(r"<td[^>]*>(\d*)</td>", shown) == ["5", "", "2", "", "5", "", "", "2", "5"]
    assert "Of" not in confusion_table(counts, labels, 30)


@pytest.mark.slow
def test_labels_of_points_cover_neither_points_nor_each_other() -> None:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from edge_train.plots import label_points

    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(1, 4, 24))
    points = list(zip(x.tolist(), np.sort(rng.uniform(80, 83, 24)).tolist(), strict=True))
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True), "o")
    label_points(axes, [(str(96 + index), *point) for index, point in enumerate(points)], points)
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == 24
    dots = [Bbox.from_bounds(x - 2, y - 2, 4, 4) for x, y in axes.transData.transform(points)]
    assert not [box for index, box in enumerate(boxes) if any(map(box.overlaps, [*dots, *boxes[index + 1 :]]))]


@pytest.mark.slow
def test_the_report_of_many_classes_of_any_script_leaves_none_out(tmp_path: Path, command) -> None:
    rng = np.random.default_rng(0)
    labels = [*SCRIPTS, *(f"class_{index}_with_a_long_name_that_ends_in_{index}" for index in range(20))]
    for label in labels:
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(4):
            _, png = cv2.imencode(".png", draw_photo("disc", rng) + rng.integers(0, 20, 3, dtype=np.uint8))
            (tmp_path / "photos" / label / f"{number}.png").write_bytes(png.tobytes())
    done = command("edge-train", tmp_path / "photos", "-o", tmp_path / "run", *TRAINING)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    page = (tmp_path / "run" / "report.html").read_text()
    table = page[page.index("<h3>Classes</h3>") : page.index("class=matrix")]
    for label in labels:
        assert f"<td>{label.replace('&', '&amp;').replace('<b>', '&lt;b&gt;').replace(chr(39), '&#x27;')}</td>" in table
    assert all(re.findall(r"<img alt='([^']*)'", page))
    assert page.count("<img ") == len(re.findall(r"<img alt='[^']+'", page))
