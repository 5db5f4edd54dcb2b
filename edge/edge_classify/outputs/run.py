"""What an output may want to know of the run besides its results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..pipeline.models import Models
    from ..sources.source import Source
    from .output import Output


@dataclass(frozen=True)
class Run:
    """The run that outputs are opened for. Any thread may read it.

    source: what the frames come from, with what it has lost so far.
    models: each with its name, its labels and its model file. An output that keeps something of a model has itself told
        of those that are exchanged (`Models.tell`).
    outputs: those that have been opened, by the names of their modules.
    """

    source: Source
    models: Models
    outputs: dict[str, Output] = field(default_factory=dict)
