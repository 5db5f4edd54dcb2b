"""Writes the tables and charts of the pages of measurements, from benchmarks/results: python docs/make_measurements.py

A page has a table between two comments, the first of which says what it shows:

    <!-- measured: peers             the file, benchmarks/results/peers.json
    rows: precision = int8           of its rows those; several conditions with ;
    columns: runtime; to ours        of its columns those, in this order
    across: cell                     a column whose values become columns
    -->
    <!-- end -->

Below the table stand machine, date, commit and program. Each chart has its figures beside it, as CSV. A test says if
something is out of date.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import charts

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

Row = Mapping[str, Any]

_TABLE = re.compile(r"(<!-- measured: ([\w-]+)\n(.*?)-->\n).*?(<!-- end -->)", re.DOTALL)


def files() -> dict[Path, str]:
    """The text of every page that has a table, and of each chart's CSV."""
    pages = [*(ROOT / "docs").glob("**/*.md"), ROOT / "benchmarks" / "README.md"]
    texts = {path: path.read_text() for path in sorted(pages)}
    rendered = {path: render(text, path) for path, text in texts.items() if _TABLE.search(text)}
    tables = {chart.picture.with_suffix(".csv"): as_csv(read(chart.result)["rows"]) for chart in charts.CHARTS}
    return {**rendered, **tables}


def read(name: str) -> dict[str, Any]:
    """A result file: program, arguments, date, machine, load, commit, notes and rows."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def render(text: str, page: Path) -> str:
    """The page's text with its tables as they are now."""

    def table(match: re.Match[str]) -> str:
        start, name, what, end = match.groups()
        wanted = dict(re.findall(r"^(\w+): (.+)$", what, re.MULTILINE))
        if others := set(wanted) - {"rows", "columns", "across"}:
            raise SystemExit(f"{page}: {name}: no {', '.join(sorted(others))} in such a comment")
        result = read(name)
        rows = select(result["rows"], wanted)
        if not rows:
            raise SystemExit(f"{page}: {name}: no rows: {what}")
        return f"{start}\n{as_markdown(rows)}\n{source(result, name, page)}\n\n{end}"

    return _TABLE.sub(table, text)


def select(rows: Sequence[Row], wanted: Mapping[str, str]) -> list[Row]:
    """Rows and columns as a comment wants them."""
    for condition in filter(None, wanted.get("rows", "").split("; ")):
        name, value = condition.split(" = ")
        rows = [row for row in rows if str(row[name]) == value]
    columns = wanted["columns"].split("; ") if "columns" in wanted else list(rows[0] if rows else ())
    across = wanted.get("across")
    if across is None:
        return [{name: row[name] for name in columns} for row in rows]
    key, *values = [name for name in columns if name != across]
    wide: dict[Any, dict[str, Any]] = {}
    for row in rows:
        for value in values:
            heading = str(row[across]) if len(values) == 1 else f"{row[across]}: {value}"
            cells = wide.setdefault(row[key], {key: row[key]})
            if heading in cells:
                raise SystemExit(f"two rows have the same {key} and {across}, {row[key]} and {row[across]}: choose one")
            cells[heading] = row[value]
    return list(wide.values())


def as_markdown(rows: Sequence[Row]) -> str:
    """A column has as many decimals as its figures need; text is on the left."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = {name: column([row.get(name) for row in rows]) for name in names}
    sides = ["---:" if any(isinstance(row.get(name), int | float) for row in rows) else "---" for name in names]
    lines = [names, sides, *zip(*cells.values(), strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def column(values: Sequence[Any]) -> list[str]:
    decimals = max((len(str(value).partition(".")[2]) for value in values if isinstance(value, float)), default=0)
    return [
        "" if value is None else f"{value:.{decimals}f}" if isinstance(value, float) else str(value).replace("|", "\\|")
        for value in values
    ]


def source(result: Mapping[str, Any], name: str, page: Path) -> str:
    """Where figures come from: program, date, machine, commit; notes."""
    words = " ".join([result["program"], *result["arguments"]])
    load = f", load {result['load']}" if result["load"] is not None else ""
    link = os.path.relpath(RESULTS / f"{name}.json", page.parent)
    notes = f" {result['notes']}" if result["notes"] else ""
    commit = f"commit {result['commit']}" if result["commit"] else "commit not recorded"
    text = f"`{words}`, {result['date']}, {result['machine']}{load}, {commit}.{notes} [Data]({link})."
    return f"*Measured by* {text}"


def as_csv(rows: Sequence[Row]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def main() -> None:
    for path, text in files().items():
        path.write_text(text)
    for chart in charts.CHARTS:
        if not chart.is_up_to_date():
            chart.draw()


if __name__ == "__main__":
    main()
