"""Memory that stays flat for weeks."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# From malloc.h.
_M_ARENA_MAX = -8


def use_one_heap() -> None:
    """Make all threads allocate from one heap; to be called before there are threads.

    glibc gives each thread a heap of its own, which keeps room for the largest frames it ever held: with every new
    thread that reads a camera the program would grow by megabytes. Does nothing without glibc.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
