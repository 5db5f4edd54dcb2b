"""Keys as they are pressed, without Enter, while a terminal is at hand."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import Any, Self

_END = b"\x04"  # Ctrl-D


class Keyboard:
    """Standard input, if it is a terminal; otherwise no key is ever pressed. Ctrl-C works as always."""

    def __init__(self) -> None:
        self.is_there = sys.stdin is not None and sys.stdin.isatty()
        self._descriptor = sys.stdin.fileno() if self.is_there else -1
        self._before: Any = None

    def __enter__(self) -> Self:
        if self.is_there:
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_there:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def pressed(self) -> set[str]:
        """The keys pressed since it was last asked; a terminal that has gone is a pressed q."""
        keys: set[str] = set()
        while self.is_there and select.select([self._descriptor], [], [], 0)[0]:
            data = os.read(self._descriptor, 64)
            if not data or _END in data:
                return {"q"}
            keys.update(data.decode(errors="replace").lower())
        return keys
