"""How many there are of something, in English."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """ "1 photo", "2 photos"; plural: if it is not the noun with an s."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
