"""Memory that stays flat for weeks."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # of malloc.h


def use_one_heap() -> None:
    """Have all threads allocate from one heap; to be called before there are threads.

    glibc gives threads heaps of their own, each of which keeps room for the largest frames that it ever held: with
    every thread that reads a camera anew the program would grow by megabytes. Does nothing where glibc is not used.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
