"""How far a long piece of work has got, as people read it: "computing features: 3 of 40 photos", a bar, and times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def show_progress(doing: str, total: int | None, unit: str, *, disable: bool = False) -> tqdm[Any]:
    """A context manager whose `update(n)` says that n more are done. unit: the noun for one. total: None if unknown."""
    from tqdm import tqdm

    units = unit if total == 1 else f"{unit}s"
    if total is None:
        shown = f"{{desc}}: {{n_fmt}} {units}, {{elapsed}} so far"
    else:
        shown = f"{{desc}}: {{n_fmt}} of {{total_fmt}} {units} |{{bar}}| {{elapsed}} so far, {{remaining}} left"
    return tqdm(total=total, desc=doing, bar_format=shown, disable=disable)
