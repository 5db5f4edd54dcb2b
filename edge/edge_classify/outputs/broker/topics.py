"""The topics of one device."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

# Discovery messages name their parts so, and brokers tell clients apart by it.
_MAX_SLUG = 64


def slug(text: str) -> str:
    """Lower case, of a-z, 0-9, _ and - alone, as Home Assistant wants identifiers; "" if nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-")[:_MAX_SLUG]


def distinct(names: Iterable[str], otherwise: str) -> list[str]:
    """The names, each made different from those before it; an empty one becomes `otherwise`."""
    made: list[str] = []
    for name in names:
        base, number = name or otherwise, 1
        candidate = base
        while candidate in made:
            number += 1
            candidate = f"{base}-{number}"
        made.append(candidate)
    return made


@dataclass(frozen=True)
class Topics:
    """All below `root`, which is prefix/device."""

    root: str

    @property
    def availability(self) -> str:
        return f"{self.root}/availability"

    @property
    def problem(self) -> str:
        return f"{self.root}/problem"

    @property
    def event(self) -> str:
        return f"{self.root}/event"

    @property
    def attributes(self) -> str:
        return f"{self.root}/attributes"

    @property
    def image(self) -> str:
        return f"{self.root}/image"

    def classification(self, model: str) -> str:
        """`model` may be "+", for those of all models."""
        return f"{self.root}/classification/{model}"


def levels(models: Iterable[str]) -> dict[str, str]:
    """For each model the level of its topic: its name, where a topic can hold that."""
    names = list(models)
    safe = [re.sub(r"[/+#\x00-\x1f\x7f]", "_", name)[:_MAX_SLUG] for name in names]
    return dict(zip(names, distinct(safe, "model"), strict=True))


def discovery_topic(prefix: str, device: str) -> str:
    return f"{prefix}/device/edge_classify_{device}/config"


def birth_topic(prefix: str) -> str:
    """Where Home Assistant says that it has started."""
    return f"{prefix}/status"
