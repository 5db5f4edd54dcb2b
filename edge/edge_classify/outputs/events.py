"""Changes of state as JSON, one object per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FolderError, UsageError
from ..options import is_folder, writes_file
from .lines import LineOutput

if TYPE_CHECKING:
    import argparse

    from ..pipeline.loop import Result
    from .destinations import Destinations

TABLE = "output"


class Events(LineOutput):
    """Writes a line for each result that changes the state, the first one included.

    Results need a state that can change: give `classify_frames` a `Decision`.
    """

    def append(self, result: Result) -> None:
        event = result.event()
        if event is not None:
            self._queue.put(json.dumps(event, ensure_ascii=False) + "\n")


def add_options(group: argparse._ArgumentGroup) -> None:
    writes_file(
        group.add_argument(
            "--events",
            metavar="FILE",
            help="append each change of state to FILE; - prints them",
        )
    )


def check(options: argparse.Namespace, *, stream: bool) -> None:
    path = options.events
    if path is None:
        return
    if not stream:
        raise UsageError("--events needs a camera or a video; still pictures have no state that could change")
    if path == "-" and options.json:
        raise UsageError("--events - and --json both need standard output: give --events a file")
    if path != "-" and not is_folder(Path(path).parent):
        raise FolderError(
            f"--events {path}: there is no folder {Path(path).parent}: create it first", Path(path).parent
        )


def open_output(options: argparse.Namespace, destinations: Destinations) -> Events | None:
    return Events(destinations.file(options.events)) if options.events else None
