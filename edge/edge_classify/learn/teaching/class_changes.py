"""What may be changed of a model file's classes, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ClassChanges:
    """What to change, in this order.

    rename: new names by old ones.
    remove: classes, by their new names.
    add: folders of photos by class; photos of a class that there is are added to it, those of `unknown` to what is
        none of the classes.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    remove: Sequence[str] = ()
    add: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Changed:
    """What was made.

    path: the new file. labels: its classes, without `unknown`. notes: what is worth knowing, a line each.
    """

    path: Path
    labels: tuple[str, ...]
    notes: tuple[str, ...]
