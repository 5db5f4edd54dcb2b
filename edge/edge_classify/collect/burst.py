"""Which photos belong together because they were taken one right after another."""

from __future__ import annotations

from .record import iso_time

# Photos no further apart are of one burst, up to so long after its first.
_GAP_S = 2.0
_LENGTH_S = 10.0


class Bursts:
    """Names the burst of each photo, in the order in which they are taken."""

    def __init__(self) -> None:
        self._name = ""
        self._first = self._last = 0.0

    def at(self, taken: float) -> str:
        """The burst of a photo that was taken now, in Unix seconds."""
        goes_on = 0 <= taken - self._last <= _GAP_S and taken - self._first <= _LENGTH_S
        if not (self._name and goes_on):
            self._name, self._first = iso_time(taken), taken
        self._last = taken
        return self._name
