"""JSON as `json.dumps(content, indent=1)` writes it, but piece by piece: a long list is never in memory as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_classify.system.atomic_write import atomic_file


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """content: of whatever JSON knows, dataclasses, and sequences of these that make their items when asked."""
    with atomic_file(path) as file:
        for text in _pieces(content):
            file.write(text.encode(errors="backslashreplace"))  # as `write_atomic` does


def _pieces(content: Mapping[str, Any]) -> Iterator[str]:
    between = "{"
    for name, value in content.items():
        yield f"{between}\n {_as_json(name, 1)}: "
        between = ","
        if not isinstance(value, Sequence) or isinstance(value, str):
            yield _as_json(value, 1)
            continue
        number = -1
        for number, item in enumerate(value):
            yield ("," if number else "[") + "\n  " + _as_json(item, 2)
        yield "[]" if number < 0 else "\n ]"
    yield "\n}"


def _as_json(value: object, depth: int) -> str:
    text = json.dumps(value, indent=1, ensure_ascii=False, default=asdict)
    return text.replace("\n", "\n" + " " * depth)
