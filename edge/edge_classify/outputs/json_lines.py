"""Results as JSON, one object a line."""

from __future__ import annotations

import json

from ..pipeline.loop import Result
from . import Output
from .writer import Writer


class JsonLines(Output):
    """Writes each result, at once, so that a program behind a pipe sees it."""

    def __init__(self, writer: Writer, model: str) -> None:
        self._writer = writer
        self._model = model

    def append(self, result: Result) -> None:
        self._writer.write(json.dumps(result.as_dict(self._model), ensure_ascii=False) + "\n")
