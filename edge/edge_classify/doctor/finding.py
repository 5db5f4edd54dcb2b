"""What edge-doctor reports: one finding per thing that it looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import EdgeClassifyError

Level = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    level: green is fine; yellow works, but not as well as it could; red means that edge-classify does not work with
        its default options, or not for long.
    check: what was looked at, in a word or two. text: what was found. remedy: how to fix or improve it.
    exit_code: that edge-doctor ends with if this is the first red finding.
    figures: the numbers behind `text`, for programs.
    """

    level: Level
    check: str
    text: str
    remedy: str = ""
    exit_code: int = EdgeClassifyError.exit_code
    figures: Mapping[str, Any] = field(default_factory=dict)
