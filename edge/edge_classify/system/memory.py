"""How the C library gives memory out and takes it back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# From malloc.h.
_M_ARENA_MAX, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -8, -1, -3
# The largest that glibc takes.
_LARGEST_KEPT = 32 * 2**20


def use_one_heap() -> None:
    """Make all threads allocate from one heap; to be called before there are threads.

    glibc gives each thread a heap of its own, which keeps room for the largest frames it ever held: with every new
    thread that reads a camera the program would grow by megabytes. Does nothing without glibc.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Let freed arrays serve the next ones, for a command that makes many of a megabyte or so, and ends soon.

    glibc would give each back to the kernel, and every page of the next one would have to be mapped and cleared again:
    a sixth of the time of edge-teach. Does nothing without glibc.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT)
