"""How much the photos kept on a device may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a store may hold and write.

    photos, total_bytes: unlabelled ones; the oldest of the least useful reason make room for new ones.
    photos_per_day, bytes_per_day: written from midnight (UTC) to midnight; an SD card wears out.
    free_bytes: must be left on the disk.
    days: how long an unlabelled photo is kept; None: as long as there is room.
    """

    photos: int = 500
    total_bytes: int = 200_000_000
    photos_per_day: int = 200
    bytes_per_day: int = 20_000_000
    free_bytes: int = 1_000_000_000
    days: float | None = None


DEFAULT_LIMITS = Limits()
