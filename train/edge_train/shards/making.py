"""Making shards of a folder of photos: tar files of one size, and an index of them."""

from __future__ import annotations

import json
from pathlib import Path

from edge_classify.errors import DataError
from edge_classify.images.formats import HEAD_BYTES, PICTURE_SUFFIXES, picture_format
from edge_classify.learn.photos.layout import read_layout
from edge_classify.learn.photos.photo_set import NEGATIVE, Photo, PhotoSet, find_photos
from edge_classify.model.labels import UNKNOWN
from edge_classify.system.atomic_write import atomic_file, write_atomic
from edge_classify.system.counted import counted

from ..folder_lock import hold_folder
from ..progress import show_progress
from .source import INDEX, INDEX_FORMAT, pattern
from .tar_shard import ShardWriter

_SUFFIXES = {"jpeg": ".jpg", "tiff": ".tif", "jpeg2000": ".jp2", "pnm": ".ppm"}
# What the tar format adds to each photo: six blocks, about.
_OVERHEAD_BYTES = 3584


def make_shards(root: Path, folder: Path, size: int) -> str:
    """Write all photos of `root`, as `find_photos` finds them, to shards of about `size` bytes in `folder`.

    They are in the order of their contents' hashes, so that each shard holds every class, and the same photos give the
    same bytes. Returns what to do with them, in words. Raises DataError, also if `folder` holds something else.
    """
    _check_output(root, folder)
    layout = read_layout(root, with_unknown=True)
    photos = find_photos(root, with_unknown=True)
    splits = {photo.path.parts[0] for photo in photos.photos} if len(layout.parts) > 1 else set()
    batches = _cut(root, photos, size)
    with hold_folder(folder):
        shards = _write_all(root, folder, photos, batches, splits)
        for path in folder.glob("shards-*.tar"):  # of an earlier, longer row
            if path.name not in {shard["name"] for shard in shards}:
                path.unlink()
        index = {
            "format": INDEX_FORMAT,
            "photos": len(photos.photos),
            "labels": photos.labels,
            "counts": _count(photos),
            "fingerprint": photos.fingerprint,
            "shards": shards,
        }
        write_atomic(folder / INDEX, json.dumps(index, indent=1, ensure_ascii=False))
    names = pattern([str(shard["name"]) for shard in shards])
    return (
        f"wrote {counted(len(photos.photos), 'photo')} of {len(photos.labels)} classes to "
        f"{counted(len(shards), 'shard')}, and {INDEX}; next: edge-train '{folder / names}'"
    )


def _check_output(root: Path, folder: Path) -> None:
    if folder.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{folder} is inside the folder of photos: write the shards elsewhere")
    if folder.is_dir():
        others = [path for path in folder.iterdir() if not (path.name == INDEX or path.match("shards-*.tar"))]
        others = [path for path in others if ".partial" not in path.name]
        if others:
            raise DataError(f"{folder}: contains files that are no shards ({others[0].name}): give another folder")
    elif folder.exists():
        raise DataError(f"{folder}: this is a file, not a folder: give another name")


def _cut(root: Path, photos: PhotoSet, size: int) -> list[list[Photo]]:
    batches: list[list[Photo]] = []
    filled = size
    for photo in sorted(photos.photos, key=lambda photo: (photo.sha256, photo.path)):
        needed = (root / photo.path).stat().st_size + _OVERHEAD_BYTES
        if filled + needed > size and (filled >= size or batches[-1]):
            batches.append([])
            filled = 0
        batches[-1].append(photo)
        filled += needed
    if len(batches) > 9999:
        raise DataError(f"{root}: {len(batches)} shards: make them larger, with --size")
    return batches


def _write_all(
    root: Path, folder: Path, photos: PhotoSet, batches: list[list[Photo]], splits: set[str]
) -> list[dict[str, object]]:
    """Write the shards; returns their lines of the index."""
    shards = []
    with show_progress("writing shards", len(photos.photos), "photo") as progress:
        first = 0
        for number, batch in enumerate(batches):
            shards.append(_write(root, folder / f"shards-{number:04d}.tar", batch, first, photos.labels, splits))
            first += len(batch)
            progress.update(len(batch))
    return shards


def _write(
    root: Path, path: Path, batch: list[Photo], first: int, labels: tuple[str, ...], splits: set[str]
) -> dict[str, object]:
    """Write one shard; returns its line of the index. splits: the folders of a split, if there is one."""
    with atomic_file(path) as file:
        writer = ShardWriter(file)
        for number, photo in enumerate(batch, first):
            data = (root / photo.path).read_bytes()
            label = UNKNOWN if photo.label == NEGATIVE else labels[photo.label]
            about = {"label": label, "path": photo.path.as_posix()}
            if splits:
                about["split"] = photo.path.parts[0]
            writer.add(f"{number:09d}", _suffix(photo.path, data), data, photo.label, about)
        size, sha256 = writer.close()
    return {"name": path.name, "photos": len(batch), "bytes": size, "sha256": sha256}


def _suffix(path: Path, data: bytes) -> str:
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return suffix
    kind = picture_format(data[:HEAD_BYTES])
    return _SUFFIXES.get(kind, f".{kind}" if kind else ".jpg")


def _count(photos: PhotoSet) -> dict[str, int]:
    counts = dict.fromkeys((*photos.labels, UNKNOWN), 0)
    for photo in photos.photos:
        counts[UNKNOWN if photo.label == NEGATIVE else photos.labels[photo.label]] += 1
    return {label: count for label, count in counts.items() if count}
