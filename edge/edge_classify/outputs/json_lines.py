"""Results as JSON, one object per line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .lines import LineOutput

if TYPE_CHECKING:
    import argparse

    from ..pipeline.loop import Result
    from .destinations import Destinations

TABLE = "output"


class JsonLines(LineOutput):
    """Writes each result as `Result.as_dict` gives it, at once, so that a program behind a pipe sees it.

    with JsonLines("out.jsonl") as out:
        for result in classify_frames(open_source(0), Classifier("model.tflite")):
            out.append(result)
    """

    def append(self, result: Result) -> None:
        self._queue.put(json.dumps(result.as_dict(), ensure_ascii=False) + "\n")


def add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", action="store_true", help="print results as JSON, one object per line")


def check(options: argparse.Namespace, *, stream: bool) -> None:
    """Nothing can be wrong."""


def open_output(options: argparse.Namespace, destinations: Destinations) -> JsonLines | None:
    return JsonLines(destinations.claim_standard_output()) if options.json else None
