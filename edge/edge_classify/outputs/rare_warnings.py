"""Warnings that do not fill a log, however often their reason returns."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable

log = logging.getLogger(__name__)

_INTERVAL_S = 60.0


class RareWarnings:
    """Warns at most once a minute of the same kind, and then says how often it was."""

    def __init__(self) -> None:
        # Of each kind, when it was last told, and how often it has been kept back since.
        self._told: dict[Hashable, tuple[float, int]] = {}

    def warn(self, kind: Hashable, text: str) -> None:
        """kind: what counts as the same; of so few that all can be remembered, unlike the text."""
        now = time.monotonic()
        told_at, kept_back = self._told.get(kind, (float("-inf"), 0))
        if now - told_at < _INTERVAL_S:
            self._told[kind] = (told_at, kept_back + 1)
            return
        self._told[kind] = (now, 0)
        log.warning("%s%s", text, f" (and {kept_back} times before that)" if kept_back else "")
