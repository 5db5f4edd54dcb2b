"""Results as JSON, one object a line."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self

from ..pipeline import Result
from .writer import Writer


class JsonLines:
    """Writes each result, at once, so that a program behind a pipe sees it."""

    def __init__(self, writer: Writer, model: str) -> None:
        self._writer = writer
        self._model = model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def append(self, result: Result) -> None:
        self._writer.write(json.dumps(result.as_dict(self._model), ensure_ascii=False) + "\n")
