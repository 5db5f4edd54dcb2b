"""How far a long piece of work has got, as people read it: "computing features: 3 of 40 photos", a bar, and times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")
# Of photos that something is to be done with, so many are looked at in one go: memory stays bounded.
_BLOCK = 20_000


class Blocks:
    """Photos to work on, a block at a time, and how many of them are to do: all, until it is found that some are done.

    count: how many photos there are.
    """

    def __init__(self, count: int = 0) -> None:
        self._unknown = count
        self._missing = 0

    @property
    def to_do(self) -> int:
        return max(0, self._unknown) + self._missing

    def of(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """The items, in blocks."""
        items = iter(items)
        while block := list(islice(items, _BLOCK)):
            yield block

    def looked_at(self, photos: int, missing: int) -> None:
        """Of so many photos so many are to do."""
        self._unknown -= photos
        self._missing += missing


def show_progress(doing: str, total: int | None, unit: str, *, disable: bool = False) -> tqdm[Any]:
    """A context manager whose `update(n)` says that n more are done. unit: the noun for one. total: None if unknown."""
    from tqdm import tqdm

    units = unit if total == 1 else f"{unit}s"
    if total is None:
        shown = f"{{desc}}: {{n_fmt}} {units}, {{elapsed}} so far"
    else:
        shown = f"{{desc}}: {{n_fmt}} of {{total_fmt}} {units} |{{bar}}| {{elapsed}} so far, {{remaining}} left"
    return tqdm(total=total, desc=doing, bar_format=shown, disable=disable)
