"""Photos that are alike: groups of near-duplicates, and which of them are the very same picture.

Groups have a leader, to whom each member is alike, so that they do not grow by chains; and what is alike is never
listed pair by pair where many photos are, as those of a camera that does not move.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...images.crop import Crop, cut
from ...images.preprocessing import Image
from .facts import THUMBNAIL_SIDE, PhotoFacts
from .photo_set import Elsewhere, read_picture

log = logging.getLogger(__name__)

# Two photos are near-duplicates if at most this many of their 256 hash bits differ, and their thumbnails correlate at
# least this much. Chosen on Alien vs Predator and TrashNet, whose pairs were looked at: all found were near-duplicates.
_MAX_DIFFERENT_BITS = 40
_MIN_CORRELATION = 0.93
# Groups of more photos are a scene: one place, seen again and again. Being alike is then no sign of a copy.
MAX_COPIES = 10
# Of at most so many photos each is compared with every other. Of more, only those that share 16 of the hash's bits in a
# row, and stand near each other where photos are sorted by these: of copies nearly all are found, of those that differ
# as much as near-duplicates may, about two thirds.
_MAX_COMPARED = 200_000
_BANDS = 16
_NEAR_IN_BAND = 32
# Hashes are compared in blocks of about this many pairs: memory stays bounded.
_PAIRS_PER_BLOCK = 1_000_000

# Two photos are the same picture if, one laid over the other and their brightness matched, they differ nowhere by more
# than this many of 255 levels, and most of each is in the other. The six pairs of Alien vs Predator that are differ by
# 3 at most; the nearest of its others, one with a caption, by 15; a small thing in a still scene makes 10 to 140.
_SAME_MAX_DIFFERENCE = 8.0
_SAME_MIN_OVERLAP = 0.7
_SAME_SIDE = 64
_ROWS_PER_READ = 4096
# Iterations and precision of the alignment.
_ALIGNMENT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-5)


@dataclass(frozen=True)
class NearDuplicates:
    """Which photos are alike.

    names: their sha256, sorted. first: for each photo the first in its group, int (n,); itself if nothing is alike.
    alike: those alike within groups of at most MAX_COPIES photos, by index.
    """

    names: Sequence[str]
    first: np.ndarray
    alike: Sequence[tuple[int, int]]

    @property
    def in_scene(self) -> np.ndarray:
        """Which photos are in larger groups, bool (n,)."""
        return np.bincount(self.first, minlength=len(self.first))[self.first] > MAX_COPIES

    @property
    def groups(self) -> dict[str, str]:
        """For each photo, by sha256, its group, named after the smallest sha256 in it."""
        return {name: self.names[first] for name, first in zip(self.names, self.first.tolist(), strict=True)}

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """As `alike`, by sha256."""
        return tuple((self.names[one], self.names[other]) for one, other in self.alike)

    @property
    def scenes(self) -> frozenset[str]:
        """The larger groups."""
        return frozenset(self.names[first] for first in np.unique(self.first[self.in_scene]).tolist())


def find_near_duplicates(
    names: Sequence[str],
    facts: Iterable[PhotoFacts],
    read_again: Callable[[Sequence[str]], Iterable[PhotoFacts]] | None = None,
) -> NearDuplicates:
    """Group photos by what they show. names: their sha256, sorted. facts: of each of them, in this order.

    read_again: the facts of some of them; with it, of very many photos not all are compared, nor kept in memory.
    """
    if read_again is not None and len(names) > _MAX_COMPARED:
        return _find_in_bands(names, facts, read_again)
    hashes = np.empty((len(names), 4), np.uint64)
    thumbnails = np.empty((len(names), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    for index, fact in enumerate(facts):
        hashes[index], thumbnails[index] = fact.difference_hash, fact.thumbnail
    shapes = _standardize(thumbnails)
    leaders = _group_by_leader(hashes, shapes)
    few = _in_small_groups(leaders)
    groups, pairs = _merge_small_groups(leaders, _find_pairs(hashes, shapes, few))
    return _name_groups(names, groups, pairs)


def _name_groups(names: Sequence[str], groups: np.ndarray, pairs: list[tuple[int, int]]) -> NearDuplicates:
    sizes = np.bincount(groups, minlength=len(names))
    alike = [(a, b) for a, b in pairs if sizes[groups[a]] <= MAX_COPIES and groups[a] == groups[b]]
    return NearDuplicates(names, groups.astype(np.int32), alike)


def _find_in_bands(
    names: Sequence[str], facts: Iterable[PhotoFacts], read_again: Callable[[Sequence[str]], Iterable[PhotoFacts]]
) -> NearDuplicates:
    """As `find_near_duplicates`, among the pairs that bands of the hash bring together.

    Time and memory stay in step with the number of photos.
    """
    log.warning(
        "%d photos are too many to compare each with every other: near-duplicates that differ much may be missed",
        len(names),
    )
    words = (word for fact in facts for word in fact.difference_hash)
    hashes = np.fromiter(words, np.uint64, 4 * len(names)).reshape(-1, 4)
    candidates = _pair_by_bands(hashes)
    alike = []
    for start in range(0, len(candidates), _ROWS_PER_READ):
        block = candidates[start : start + _ROWS_PER_READ]
        ends = [
            _standardize(np.array([fact.thumbnail for fact in read_again(own)], np.uint8))
            for own in ([names[index] for index in block[:, side]] for side in (0, 1))
        ]
        alike.append(block[(ends[0] * ends[1]).sum(axis=1) >= _MIN_CORRELATION])
    pairs = [(int(a), int(b)) for a, b in np.concatenate([np.empty((0, 2), np.intp), *alike])]
    leaders = np.arange(len(names))
    for first, second in pairs:  # in order: a leader's own comes before its members'
        if leaders[first] == first and leaders[second] == second:
            leaders[second] = first
    few = np.zeros(len(names), bool)
    few[_in_small_groups(leaders)] = True
    return _name_groups(names, *_merge_small_groups(leaders, ((a, b) for a, b in pairs if few[a] and few[b])))


def _pair_by_bands(hashes: np.ndarray) -> np.ndarray:
    """Pairs of photos that share a band and differ in few bits, (n, 2), the smaller first, in order."""
    found = []
    bands = hashes.view(np.uint16)
    for band in range(_BANDS):
        order = np.lexsort((hashes[:, 3], hashes[:, 2], hashes[:, 1], hashes[:, 0], bands[:, band]))
        for step in range(1, min(_NEAR_IN_BAND, len(order) - 1) + 1):
            one, other = order[:-step], order[step:]
            same = bands[one, band] == bands[other, band]
            one, other = one[same], other[same]
            near = np.bitwise_count(hashes[one] ^ hashes[other]).sum(axis=1) <= _MAX_DIFFERENT_BITS
            found.append(np.sort(np.stack([one[near], other[near]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _in_small_groups(leaders: np.ndarray) -> np.ndarray:
    """The photos whose groups have at most MAX_COPIES, by index."""
    return np.flatnonzero(np.bincount(leaders)[leaders] <= MAX_COPIES)


def _group_by_leader(hashes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """For each photo the index of its leader: the first that it is alike to, in order; its own if there is none."""
    leaders = np.full(len(hashes), -1)
    for index in range(len(hashes)):
        if leaders[index] < 0:
            rest = index + np.flatnonzero(leaders[index:] < 0)
            near = rest[_count_different_bits(hashes[index : index + 1], hashes[rest])[0] <= _MAX_DIFFERENT_BITS]
            leaders[near[shapes[near] @ shapes[index] >= _MIN_CORRELATION]] = index
            leaders[index] = index
    return leaders


def _merge_small_groups(
    leaders: np.ndarray, alike: Iterable[tuple[int, int]]
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Merge groups with members that are alike, as long as they have at most MAX_COPIES photos together.

    alike: pairs of photos in small groups.

    Returns the group of each photo, by the index of its first, and the pairs that are alike, in order.
    """
    sizes = np.bincount(leaders, minlength=len(leaders))
    parent = np.arange(len(leaders))

    def root(leader: int) -> int:
        while parent[leader] != leader:
            parent[leader] = parent[parent[leader]]
            leader = int(parent[leader])
        return leader

    pairs = []
    for first, second in alike:
        pairs.append((first, second))
        low, high = sorted((root(int(leaders[first])), root(int(leaders[second]))))
        if low != high and sizes[low] + sizes[high] <= MAX_COPIES:
            parent[high] = low
            sizes[low] += sizes[high]
    roots = parent[leaders]
    while (parent[roots] != roots).any():
        roots = parent[roots]
    return roots, pairs


def _find_pairs(hashes: np.ndarray, shapes: np.ndarray, chosen: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of the chosen photos that are alike, by index, the smaller first."""
    rows = max(1, _PAIRS_PER_BLOCK // max(1, len(chosen)))
    for start in range(0, len(chosen), rows):
        block, others = chosen[start : start + rows], chosen[start:]
        for row, column in np.argwhere(_count_different_bits(hashes[block], hashes[others]) <= _MAX_DIFFERENT_BITS):
            first, second = int(block[row]), int(others[column])
            if column > row and shapes[first] @ shapes[second] >= _MIN_CORRELATION:
                yield first, second


def _count_different_bits(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """uint16 (n, m), for uint64 hashes (n, 4) and (m, 4)."""
    different = np.zeros((len(hashes), len(others)), np.uint16)
    for word in range(4):
        different += np.bitwise_count(hashes[:, None, word] ^ others[None, :, word])
    return different


def _standardize(thumbnails: np.ndarray) -> np.ndarray:
    """Rows whose dot product is the correlation, float32 (n, pixels); zeros for a flat picture."""
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows


def are_same_picture(one: Path | Elsewhere, other: Path | Elsewhere, crop: Crop | None = None) -> bool:
    """Whether two photos are one picture, rescaled, recompressed, cut by a little or of another brightness.

    Unlike near-duplicates they show no thing, mask or caption that the other does not. crop: the part to compare.
    Raises DataError.
    """
    first, second = (_shrink(cut(read_picture(photo), crop)) for photo in (one, other))
    matrix = np.eye(2, 3, dtype=np.float32)
    greys = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (first, second)]
    try:
        _, found = cv2.findTransformECC(greys[0], greys[1], matrix, cv2.MOTION_AFFINE, _ALIGNMENT)
    except cv2.error:  # it does not converge: the two have nothing in common
        return False
    size, flags = (_SAME_SIDE, _SAME_SIDE), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = np.asarray(found, np.float32)
    laid_over = cv2.warpAffine(second, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpAffine(np.full(size, 255, np.uint8), matrix, size, flags=flags)
    inside = cv2.erode(covered, np.ones((3, 3)), borderValue=255) == 255
    if inside.mean() < _SAME_MIN_OVERLAP:
        return False
    a, b = first[inside].astype(np.float32), laid_over[inside].astype(np.float32)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    gain = float((a * b).sum() / max(float((b * b).sum()), 1e-6))
    return bool(np.abs(a - gain * b).max() <= _SAME_MAX_DIFFERENCE)


def _shrink(picture: Image) -> Image:
    small = cv2.resize(picture, (_SAME_SIDE, _SAME_SIDE), interpolation=cv2.INTER_AREA)
    # Noise and the edges of compressed blocks are no difference.
    return np.asarray(cv2.GaussianBlur(small, (0, 0), 1.0), np.uint8)
