"""Parts of a report's HTML: one file that needs nothing else. edge-train and edge-convert share it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem } p.note { color: #5b6875; max-width: 46rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0 }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid #e3e8ee }
td { white-space: nowrap } th { font-weight: 600; color: #5b6875 } th:first-child, td:first-child { text-align: left }
tr.best td { font-weight: 600 } img { max-width: 100%; height: auto } .row { display: flex; flex-wrap: wrap; gap: 1rem }
summary { cursor: pointer; font-weight: 600 } details { margin: 1rem 0 }
"""


def page(title: str, body: Iterable[str]) -> bytes:
    """A whole page, UTF-8. title: as text. body: its parts, as HTML."""
    text = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
    text += f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style>{''.join(body)}</html>\n"
    return text.encode(errors="backslashreplace")  # a file name may not be UTF-8


def table(columns: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]]) -> str:
    """columns: as text. rows: cells as text, and whether the row is in bold."""
    header = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join(
        f"<tr{' class=best' if best else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for cells, best in rows
    )
    return f"<table><tr>{header}</tr>{lines}</table>"


def image(png: bytes) -> str:
    """The picture, inside the page."""
    return f"<img alt='' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"


def escape(text: str) -> str:
    """Text as HTML."""
    return html.escape(text)
