"""A HEIC photo as phones make them: tiles of 512 × 512 that a grid item puts together, and a rotation beside it."""

from __future__ import annotations

import io
import struct

import pillow_heif
from PIL import Image

TILE = 512


def heic_photo(picture: Image.Image, columns: int, rows: int, *, quarter_turns: int = 0) -> bytes:
    """The file's bytes.

    picture: RGB, of columns × rows tiles.
    quarter_turns: how far it is rotated to be shown, anticlockwise.
    """
    tiles = [
        _tile(picture.crop((column * TILE, row * TILE, (column + 1) * TILE, (row + 1) * TILE)))
        for row in range(rows)
        for column in range(columns)
    ]
    count, grid_id = len(tiles), len(tiles) + 1
    size = struct.pack(">HH", TILE * columns, TILE * rows)
    grid = struct.pack(">BBBB", 0, 0, rows - 1, columns - 1) + size
    infos = [_info(index + 1, b"hvc1", hidden=1) for index in range(count)] + [_info(grid_id, b"grid", hidden=0)]
    item_infos = _box(b"iinf", struct.pack(">H", count + 1), *infos, version=0)
    tile_ids = struct.pack(f">HH{count}H", grid_id, count, *range(1, count + 1))
    references = _box(b"iref", _box(b"dimg", tile_ids), version=0)
    properties = _box(
        b"ipco",
        tiles[0][0],
        _box(b"ispe", struct.pack(">II", TILE, TILE), version=0),
        _box(b"ispe", struct.pack(">II", TILE * columns, TILE * rows), version=0),
        _box(b"irot", bytes([quarter_turns])),
    )
    associations = _box(
        b"ipma",
        struct.pack(">I", count + 1),
        *[struct.pack(">HBBB", index + 1, 2, 0x81, 2) for index in range(count)],
        struct.pack(">HBBB", grid_id, 2, 3, 0x84),
        version=0,
    )
    head = _box(b"ftyp", b"heic", struct.pack(">I", 0), b"mif1heic")
    handler = _box(b"hdlr", struct.pack(">I4s12s", 0, b"pict", b""), b"\0", version=0)
    primary = _box(b"pitm", struct.pack(">H", grid_id), version=0)
    contents = [data for _, data in tiles] + [grid]

    def meta(start: int) -> bytes:
        items = []
        for index, data in enumerate(contents):
            items.append(struct.pack(">HHHHII", index + 1, 0, 0, 1, start, len(data)))
            start += len(data)
        places = _box(b"iloc", struct.pack(">BBH", 0x44, 0, count + 1), *items, version=1)
        item_properties = _box(b"iprp", properties, associations)
        return _box(b"meta", handler, primary, places, item_infos, references, item_properties, version=0)

    return head + meta(len(head) + len(meta(0)) + 8) + _box(b"mdat", *contents)


def _box(kind: bytes, *parts: bytes, version: int | None = None) -> bytes:
    body = b"".join(parts)
    if version is not None:
        body = struct.pack(">I", version << 24) + body
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _info(item: int, kind: bytes, *, hidden: int) -> bytes:
    body = struct.pack(">I", 2 << 24 | hidden) + struct.pack(">HH4s", item, 0, kind) + b"\0"
    return _box(b"infe", body)


def _tile(picture: Image.Image) -> tuple[bytes, bytes]:
    """The decoder's configuration and the picture's data of one tile."""
    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file, quality=60)
    data = file.getvalue()
    configuration = _find(data, [b"meta", b"iprp", b"ipco", b"hvcC"], 0, len(data))
    return configuration, _find(data, [b"mdat"], 0, len(data))[8:]


def _find(data: bytes, path: list[bytes], start: int, end: int) -> bytes:
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if kind == path[0]:
            if len(path) == 1:
                return data[start : start + size]
            return _find(data, path[1:], start + 8 + (4 if kind == b"meta" else 0), start + size)
        start += size
    raise LookupError(path[0])
