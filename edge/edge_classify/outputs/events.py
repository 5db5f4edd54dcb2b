"""Changes of state as JSON, one object a line."""

from __future__ import annotations

import json

from ..pipeline.loop import Result
from . import Output
from .writer import Writer


class Events(Output):
    """Writes a line for each result whose state is another than the one before, and for the first."""

    def __init__(self, writer: Writer, model: str) -> None:
        self._writer = writer
        self._model = model

    def append(self, result: Result) -> None:
        change = result.change
        if change is None:
            return
        event = {
            "time": result.time,
            "frame": result.frame.number,
            "source": result.frame.name,
            "model": self._model,
            "state": change.state,
            "score": round(change.score, 4),
            "previous": change.previous,
            "previous_seconds": None if change.lasted is None else round(change.lasted, 3),
        }
        self._writer.write(json.dumps(event, ensure_ascii=False) + "\n")
