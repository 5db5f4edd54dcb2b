"""Whether a Raspberry Pi slows its processor down, for heat or for too little power."""

from __future__ import annotations

import shutil
from collections.abc import Callable

# Of `vcgencmd get_throttled`: what is so now (undervoltage, frequency capped, throttled, soft temperature limit).
_NOW = 0xF


def throttle_reader() -> Callable[[], bool] | None:
    """What asks whether the processor is slowed down now; None where nothing can tell."""
    return is_throttled if shutil.which("vcgencmd") else None


def is_throttled(read: Callable[[], str] | None = None) -> bool:
    """read: gives what `vcgencmd get_throttled` prints; False where that cannot be had or understood."""
    try:
        return bool(int((read or _read)().partition("=")[2], 16) & _NOW)
    except (OSError, ValueError):
        return False


def _read() -> str:
    import subprocess  # 5 ms of every start, where there is nothing to ask

    return subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, check=False).stdout.strip()
