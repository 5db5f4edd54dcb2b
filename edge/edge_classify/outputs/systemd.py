"""Tells systemd that results come: readiness, watchdog and status, by sd_notify's protocol."""

from __future__ import annotations

import os
import socket

from ..pipeline.loop import Result
from . import Output

_STATUS_SECONDS = 10.0


class Service(Output):
    """Sends to the socket `address` (`@name` is an abstract one) what sd_notify(3) describes; does nothing without one.

    READY=1 goes with the first result. WATCHDOG=1 and STATUS= go with a result too, at most twice in
    `watchdog_seconds`, and never without one: a program whose results have stopped is to be restarted,
    whatever it may still be doing. STOPPING=1 goes at the end.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._interval = watchdog_seconds / 2 if watchdog_seconds else _STATUS_SECONDS
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        self._sent_at: float | None = None

    @classmethod
    def from_environment(cls) -> Service:
        """After NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, which systemd sets."""
        watchdog = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        seconds = int(watchdog) / 1e6 if watchdog.isdecimal() and ours else None
        return cls(os.environ.get("NOTIFY_SOCKET"), seconds)

    def __exit__(self, *_: object) -> None:
        self._send("STOPPING=1")
        if self._socket is not None:
            self._socket.close()

    def append(self, result: Result) -> None:
        first = self._sent_at is None
        if self._sent_at is not None and result.finished_at - self._sent_at < self._interval:
            return
        status = f"STATUS={result.state}, frame {result.frame.number}"
        if self._send(("READY=1\n" if first else "") + f"WATCHDOG=1\n{status}"):
            self._sent_at = result.finished_at

    def _send(self, message: str) -> bool:
        if self._socket is None or self._address is None:
            return True
        try:
            self._socket.sendto(message.encode(), socket.MSG_DONTWAIT, self._address)
        except OSError:  # a full queue, or systemd restarting itself: with the next result
            return False
        return True
