"""Parts of a report's HTML: one file that needs nothing else. edge-train and edge-convert share it.

Labels and file names are text of the page, never drawn into a picture: a browser has a font for every script.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from edge_classify.images.crop import Crop, cut
from edge_classify.images.preprocessing import Image

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1d2733; --faint: #5b6875; --line: #e3e8ee;
--right: #2e7d4f; --wrong: #b3261e; --few: #000 }
@media (prefers-color-scheme: dark) { :root { --back: #12181f; --ink: #e8edf3; --faint: #a3afbd; --line: #313b47;
--right: #6fcf97; --wrong: #ff9d94; --few: #fff } }
@media print { :root { color-scheme: light } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 66rem;
margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
h1, p, pre, td:first-child, figcaption { overflow-wrap: anywhere }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem } p.note { color: var(--faint); max-width: 46rem }
pre { white-space: pre-wrap } .wide { overflow-x: auto; max-width: 100% }
.long { max-height: 40rem; overflow-y: auto; max-width: 100% } @media print { .long { max-height: none } }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0 }
th, td { font-size: .9rem; padding: .25rem .7rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line) }
td { white-space: nowrap } th { font-weight: 600; color: var(--faint); vertical-align: bottom }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 6rem }
tr.best td { font-weight: 600 } img { max-width: 100%; height: auto }
img[src*="png"] { background: #fff; border-radius: .3rem } .wide > img { min-width: 42rem }
.row { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start } .row > * { min-width: 0 }
summary { cursor: pointer; font-weight: 600 } details { margin: 1rem 0 }
.matrix { line-height: 1.2 } .matrix caption { font-size: .8rem; color: var(--faint); text-align: left }
.matrix td, .matrix th { font-size: .8rem; border: 0; padding: .2rem; text-align: center; min-width: 1.5rem }
.matrix td { background: rgba(37, 99, 168, var(--share)); color: var(--few) } .matrix td.many { color: #fff }
.matrix th { font-weight: 400; color: inherit }
.matrix th:first-child { text-align: right; max-width: 12rem; min-width: 4rem; overflow-wrap: anywhere }
.matrix th.up div { writing-mode: vertical-rl; text-orientation: sideways; transform: rotate(180deg);
max-height: 10rem; overflow-wrap: anywhere; text-align: left; margin: auto }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem }
figure { margin: 0 } figure img { display: block; margin: auto; height: 7.5rem; object-fit: contain }
figcaption { font-size: .75rem; line-height: 1.3; text-align: center } figcaption div { color: var(--faint) }
.right { color: var(--right) } .wrong { color: var(--wrong) } .key { margin-right: 1.2rem; font-size: .85rem;
display: inline-block }
.key::before { content: ""; display: inline-block; width: .8rem; height: .2rem; margin: 0 .4rem .1rem .1rem;
background: var(--color); box-shadow: 0 0 0 .1rem #fff; vertical-align: middle }
"""
# From this share on, a confusion matrix's blue is dark enough for white figures (contrast 4.5 on either side).
_DARK_SHARE = 0.86
# Pictures are shrunk to this before they are put into a page: it has to load.
_TILE_PIXELS = 200
_TILE_QUALITY = 85
# Plots of more pixels across have figures too small for a phone's width.
_WIDE_PIXELS = 800
# Width of the picture that shows a crop, and how bright the rest of it is.
_CROP_PICTURE_PIXELS = 480
_CROP_REST = 0.35


def page(title: str, body: Iterable[str]) -> bytes:
    """A whole page, UTF-8. title: as text. body: its parts, as HTML."""
    text = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
    text += f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style>"
    text += f"<main>{''.join(body)}</main></html>\n"
    return text.encode(errors="backslashreplace")  # a file name may not be UTF-8


def table(columns: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]]) -> str:
    """columns: as text. rows: cells as text, and whether the row is in bold."""
    header = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join(
        f"<tr{' class=best' if best else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for cells, best in rows
    )
    return _scrollable(f"<table><tr>{header}</tr>{lines}</table>", "wide", ", ".join(columns))


def long(content: str, name: str) -> str:
    """What scrolls if it is long. content: HTML. name: what it shows, as text."""
    return _scrollable(content, "long", name)


def _scrollable(content: str, kind: str, name: str) -> str:
    """Without a mouse it is scrolled by the arrow keys once it has the focus, and then its name is read out."""
    return f"<div class={kind} tabindex=0 role=group aria-label='{escape(name)}'>{content}</div>"


def plot(png: bytes, text: str) -> str:
    """A picture inside the page; a wide one scrolls on a phone. text: what it shows, for those who do not see it."""
    width = int.from_bytes(png[16:20])  # as the format has it
    image = _image("png", png, text)
    return _scrollable(image, "wide", "plot") if width > _WIDE_PIXELS else image


def contact_sheet(tiles: Iterable[tuple[Image, str, str]]) -> str:
    """Pictures (uint8 BGR), each with its file's name, as text, and what is said of it, as HTML."""
    figures = []
    for picture, name, words in tiles:
        scale = min(1.0, _TILE_PIXELS / max(picture.shape[:2]))
        size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _TILE_QUALITY])
        tile = _image("jpeg", jpeg.tobytes(), name)
        figures.append(f"<figure>{tile}<figcaption>{words}<div>{escape(name)}</div></figcaption></figure>")
    return f"<div class=sheet>{''.join(figures)}</div>"


def crop_picture(picture: Image, crop: Crop) -> str:
    """A picture (uint8 BGR) in which all but this part is dark, with a frame around the part."""
    scale = _CROP_PICTURE_PIXELS / picture.shape[1]
    small = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    shown = (small * _CROP_REST).astype(np.uint8)
    part = cut(shown, crop)
    part[:] = cut(small, crop)
    height, width = part.shape[:2]
    cv2.rectangle(part, (0, 0), (width - 1, height - 1), (255, 255, 255), 2)
    cv2.rectangle(part, (2, 2), (width - 3, height - 3), (0, 0, 0), 1)
    _, png = cv2.imencode(".png", shown)
    return plot(png.tobytes(), f"a photo, in which the part {crop} is bright and the rest dark")


def confusion_table(counts: np.ndarray, labels: Sequence[str], most: int) -> str:
    """counts: (K, K), one row per true class; a label without photos has no row.

    Of more than `most` labels, those most often confused are shown.
    """
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    shown = np.sort(np.argsort(-wrong, kind="stable")[:most])
    sums = counts.sum(axis=1)
    head = "".join(f"<th class=up><div>{escape(labels[column])}</div></th>" for column in shown)
    rows = []
    for row in shown[sums[shown] > 0]:
        cells = "".join(_matrix_cell(int(counts[row, column]), counts[row, column] / sums[row]) for column in shown)
        rows.append(f"<tr><th>{escape(labels[row])}</th>{cells}</tr>")
    words = "Rows: true class; columns: predicted."
    if len(labels) > len(shown):
        words += f" Of {len(labels)} labels, the {len(shown)} most often confused."
    matrix = f"<table class=matrix><caption>{words}</caption><tr><th></th>{head}</tr>{''.join(rows)}</table>"
    return _scrollable(matrix, "wide", "confusion matrix")


def _matrix_cell(count: int, share: float) -> str:
    if not count:
        return "<td></td>"
    many = " class=many" if share >= _DARK_SHARE else ""
    return f"<td style='--share: {0.06 + 0.94 * share:.2f}'{many}>{count}</td>"


def legend(names: Iterable[str], colors: Iterable[str]) -> str:
    """What each line's colour means. names: as text."""
    keys = (
        f"<span class=key style='--color: {color}'>{escape(name)}</span>"
        for name, color in zip(names, colors, strict=False)
    )
    return f"<div>{''.join(keys)}</div>"


def isolate(text: str) -> str:
    """Text as HTML that keeps its own direction, so that what follows an Arabic label stays behind it."""
    return f"<bdi>{escape(text)}</bdi>"


def escape(text: str) -> str:
    """Text as HTML, also within an attribute."""
    return html.escape(text)


def _image(kind: str, data: bytes, text: str) -> str:
    return f"<img alt='{escape(text)}' src='data:image/{kind};base64,{base64.b64encode(data).decode()}'>"
