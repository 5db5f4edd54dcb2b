"""Pages of measurements show what benchmarks/results has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import charts
import make_measurements
from conftest import ROOT

PAGE = ROOT / "docs" / "page.md"
TABLE = "<!-- measured: loop\nrows: {rows}\ncolumns: {columns}\n{across}-->\n<!-- end -->\n"


def test_tables_and_csv_are_up_to_date() -> None:
    for path, text in make_measurements.files().items():
        assert path.is_file(), f"there is no {path.name} yet: python docs/make_measurements.py writes it"
        assert path.read_text() == text, f"{path.name}: run: python docs/make_measurements.py"


@pytest.mark.parametrize("chart", charts.CHARTS, ids=lambda chart: chart.picture.stem)
def test_charts_are_drawn_from_the_figures_as_they_are(chart: charts.Chart) -> None:
    assert chart.is_up_to_date(), "run: python docs/make_measurements.py"
    assert chart.picture.stat().st_size <= 100_000


@pytest.mark.parametrize("path", sorted(make_measurements.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_each_result_says_where_it_comes_from(path: Path) -> None:
    result = make_measurements.read(path.stem)
    assert {"program", "arguments", "date", "machine", "load", "commit", "notes", "rows"} == set(result)
    assert (ROOT / result["program"]).is_file()
    assert len({tuple(row) for row in result["rows"]}) == 1, "rows have different columns"


def test_every_result_is_on_a_page() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "docs").glob("**/*.md"))
    missing = [
        path.stem for path in make_measurements.RESULTS.glob("*.json") if f"measured: {path.stem}\n" not in pages
    ]
    assert missing == []


def test_the_page_of_benchmarks_has_every_program() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text()
    programs = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"common.py"}
    assert {name for name in programs if name not in page} == set()


def test_a_table_has_the_rows_and_columns_that_were_asked_for() -> None:
    wanted = TABLE.format(rows="compared = ours / bare", columns="cell; ratio", across="")
    text = make_measurements.render(wanted, PAGE)
    first = next(row for row in make_measurements.read("loop")["rows"] if row["compared"] == "ours / bare")
    assert f"| cell | ratio |\n| --- | ---: |\n| {first['cell']} | {first['ratio']:.3f} |\n" in text
    assert "benchmarks/loop.py" in text
    assert "(../benchmarks/results/loop.json)" in text
    assert make_measurements.render(text, PAGE) == text
    wide = TABLE.format(rows="compared = ours / bare", columns="compared; cell; ratio", across="across: cell\n")
    assert "| compared | 0.35@96 | 0.5@160 | 1.0@224 |" in make_measurements.render(wide, PAGE)


def test_a_table_of_nothing_is_refused() -> None:
    with pytest.raises(SystemExit, match="no rows"):
        make_measurements.render(TABLE.format(rows="cell = 9@9", columns="cell", across=""), PAGE)


def test_what_a_benchmark_writes_is_what_pages_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import common

    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setattr(common, "WORK", tmp_path)
    monkeypatch.setattr("sys.argv", ["loop.py", "--rounds", "2"])
    row = common.show({"cell": "0.35@96", "ratio": 1.5, "note": None})
    common.record("benchmarks/loop.py", [row], part="quick")
    assert capsys.readouterr().out.startswith("cell: 0.35@96, ratio: 1.5")
    result = json.loads((tmp_path / "results" / "loop-quick.json").read_text())
    assert set(result) == set(make_measurements.read("loop"))
    assert result["arguments"] == ["--rounds", "2"]
    assert result["rows"] == [row]
