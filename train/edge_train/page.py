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
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 66rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
h1, pre, td:first-child, figcaption { overflow-wrap: anywhere }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem } p.note { color: #5b6875; max-width: 46rem }
pre { white-space: pre-wrap } .wide { overflow-x: auto }
.long { max-height: 40rem; overflow-y: auto } @media print { .long { max-height: none } }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0 }
th, td { font-size: .9rem; padding: .25rem .7rem .25rem 0; text-align: right; border-bottom: 1px solid #e3e8ee }
td { white-space: nowrap } th { font-weight: 600; color: #5b6875; vertical-align: bottom }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 6rem }
tr.best td { font-weight: 600 } img { max-width: 100%; height: auto }
.row { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start }
summary { cursor: pointer; font-weight: 600 } details { margin: 1rem 0 }
.matrix { line-height: 1.2 } .matrix caption { font-size: .8rem; color: #5b6875; text-align: left }
.matrix td, .matrix th { font-size: .8rem; border: 0; padding: .2rem; text-align: center; min-width: 1.5rem }
.matrix th { font-weight: 400; color: inherit }
.matrix th:first-child { text-align: right; max-width: 12rem; min-width: 4rem; overflow-wrap: anywhere }
.matrix th.up div { writing-mode: vertical-rl; text-orientation: sideways; transform: rotate(180deg);
max-height: 10rem; overflow-wrap: anywhere; text-align: left; margin: auto }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem }
figure { margin: 0 } figure img { display: block; margin: auto; height: 7.5rem; object-fit: contain }
figcaption { font-size: .75rem; line-height: 1.3; text-align: center } figcaption div { color: #5b6875 }
.right { color: #2e7d4f } .wrong { color: #b3261e } .key { margin-right: 1.2rem; font-size: .85rem }
.key::before { content: ""; display: inline-block; width: .8rem; height: .2rem; margin-right: .4rem;
background: var(--color); vertical-align: middle }
"""
# Pictures are shrunk to this before they are put into a page: it has to load.
_TILE_PIXELS = 200
_TILE_QUALITY = 85
# Width of the picture that shows a crop, and how bright the rest of it is.
_CROP_PICTURE_PIXELS = 480
_CROP_REST = 0.35


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
    return f"<div class=wide><table><tr>{header}</tr>{lines}</table></div>"


def plot(png: bytes, text: str) -> str:
    """A picture inside the page. text: what it shows, for those who do not see it."""
    return _image("png", png, text)


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
    return (
        f"<div class=wide><table class=matrix><caption>{words}</caption><tr><th></th>{head}</tr>"
        f"{''.join(rows)}</table></div>"
    )


def _matrix_cell(count: int, share: float) -> str:
    if not count:
        return "<td></td>"
    ink = "white" if share > 0.55 else "inherit"
    return f"<td style='background: rgba(37, 99, 168, {0.06 + 0.94 * share:.2f}); color: {ink}'>{count}</td>"


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
