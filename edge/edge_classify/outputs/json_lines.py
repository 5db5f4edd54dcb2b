"""Results as JSON, one object a line."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self, TextIO

from ..pipeline import Result


class JsonLines:
    """Writes each result to `stream`, flushed, so that a program behind a pipe sees it at once."""

    def __init__(self, stream: TextIO, model: str) -> None:
        self._stream = stream
        self._model = model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def append(self, result: Result) -> None:
        print(json.dumps(result.as_dict(self._model), ensure_ascii=False), file=self._stream, flush=True)
