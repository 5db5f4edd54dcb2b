"""Tells systemd that results keep coming: readiness, watchdog and status, by sd_notify's protocol."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import argparse

    from ..pipeline.loop import Result
    from .destinations import Destinations

TABLE = "output"

_STATUS_INTERVAL_S = 10.0


class Service:
    """Sends to the socket `address` (`@name` is an abstract one) what sd_notify(3) describes.

    READY=1 goes with the first frame's last result. WATCHDOG=1 and STATUS= go with a frame's last result too, at most
    twice in `watchdog_seconds`, and never without one: a program whose results have stopped should be restarted,
    whatever else it may still be doing. STOPPING=1 goes at the end.
    """

    # It reports on results, and is no reason to go on making them.
    gone = True

    def __init__(self, address: str, watchdog_seconds: float | None = None) -> None:
        import socket  # only services need it

        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = watchdog_seconds / 2 if watchdog_seconds else _STATUS_INTERVAL_S
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._sent_at: float | None = None
        self._states: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._send("STOPPING=1")
        self._socket.close()

    def append(self, result: Result) -> None:
        self._states[result.model] = result.state
        if not result.frame_done:
            return
        states, self._states = self._states, {}
        first = self._sent_at is None
        if self._sent_at is not None and result.finished_at - self._sent_at < self._interval:
            return
        shown = ", ".join(f"{model}: {state}" for model, state in states.items()) if len(states) > 1 else result.state
        status = f"STATUS={shown}, frame {result.frame.number}"
        if self._send(("READY=1\n" if first else "") + f"WATCHDOG=1\n{status}"):
            self._sent_at = result.finished_at

    def counts(self) -> dict[str, int]:
        return {}

    def _send(self, message: str) -> bool:
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:  # a full queue, or systemd restarting itself: the next result tries again
            return False
        return True


def add_options(group: argparse._ArgumentGroup) -> None:
    """None: systemd sets the environment."""


def check(options: argparse.Namespace, *, stream: bool) -> None:
    """Nothing can be wrong."""


def open_output(_options: argparse.Namespace, _destinations: Destinations) -> Service | None:
    """Follows NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return None
    watchdog = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return Service(address, int(watchdog) / 1e6 if watchdog.isdecimal() and ours else None)
