"""The pages and plots of reports: one HTML file that needs nothing else. The desktop's programs share it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

INK, BLUE, ORANGE, GREY, GREEN, RED = "#1d2733", "#2563a8", "#d97706", "#9aa5b1", "#2e7d4f", "#b3261e"
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
    """A whole page. body: its parts, as HTML."""
    text = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
    text += f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style>{''.join(body)}</html>\n"
    return text.encode()


def table(columns: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]]) -> str:
    """rows: cells, and whether the row stands out."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join(
        f"<tr{' class=best' if best else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for cells, best in rows
    )
    return f"<table><tr>{head}</tr>{lines}</table>"


def image(png: bytes) -> str:
    return f"<img alt='' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"


def escape(text: str) -> str:
    return html.escape(text)


def style_axes(axes: Any, x: str, y: str) -> None:
    """Label matplotlib axes, and draw them as all our plots are."""
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(which="both", labelsize=7)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def error_bars(shares: Sequence[float], intervals: Sequence[tuple[float, float]]) -> list[list[float]]:
    """For matplotlib's errorbar, in percent: how far the intervals reach below the shares, and above."""
    below = [max(0.0, 100 * (share - low)) for share, (low, _) in zip(shares, intervals, strict=True)]
    above = [max(0.0, 100 * (high - share)) for share, (_, high) in zip(shares, intervals, strict=True)]
    return [below, above]


def figure_png(figure: Any) -> bytes:
    """A matplotlib figure as PNG."""
    file = io.BytesIO()
    # No software version in the file: equal figures are equal bytes.
    figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()
