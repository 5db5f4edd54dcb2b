"""Who may see the page: rules that every request meets before anything answers it.

A page on a device is attacked from other pages in its user's browser: by names that are pointed at it (DNS rebinding,
which the Host header shows), and by forms, pictures and sockets of other sites (which Origin and Sec-Fetch-Site show).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

COOKIE = "edge-classify"
# So many wrong tokens in a minute, from anywhere; each is answered after a pause.
_MAX_FAILURES = 20
_FAILURE_WINDOW_S = 60.0
_FAILURE_PAUSE_S = 1.0
_SAFE_METHODS = ("GET", "HEAD")


@dataclass(frozen=True)
class Refusal:
    """An HTTP status, and why, in one line."""

    status: int
    reason: str


@dataclass(frozen=True)
class Access:
    """The rules of one server.

    address: what it is bound to. names: further names by which it is called (--web-host).
    token: what a client must know; None: nothing, for a server that only its own machine reaches.
    proxy: the address of a proxy that lets only those through whom it knows, under whatever name it has; None: there is
        no such proxy.
    """

    address: str
    names: tuple[str, ...] = ()
    token: str | None = None
    proxy: str | None = None

    def is_proxy(self, client: str | None) -> bool:
        """Whether a request comes from the proxy. client: the address at the other end of its connection."""
        return self.proxy is not None and client == self.proxy

    def refusal(
        self, method: str, path: str, headers: Mapping[str, str], client: str | None = None, *, upgrade: bool = False
    ) -> Refusal | None:
        """Why a request is refused, whoever sends it. upgrade: it asks for a WebSocket."""
        host = headers.get("Host", "")
        if not self.is_proxy(client) and not self._is_ours(host):
            return Refusal(421, f"this device is not called {_shown(host)}: --web-host NAME adds a name")
        site = headers.get("Sec-Fetch-Site", "none")
        followed_link = method == "GET" and path == "/" and headers.get("Sec-Fetch-Mode") == "navigate"
        if site not in ("none", "same-origin") and not (followed_link and headers.get("Sec-Fetch-Dest") == "document"):
            return Refusal(403, "asked for by another site")
        if method not in _SAFE_METHODS or upgrade:
            origin = urlsplit(headers.get("Origin", ""))
            if origin.scheme not in ("http", "https") or origin.netloc.lower() != host.lower():
                return Refusal(403, "not asked for by this page")
        return None

    def knows_token(self, headers: Mapping[str, str], cookie: str | None) -> bool | None:
        """Whether the client has shown the token; None if it has shown none."""
        if self.token is None:
            return True
        if cookie is not None and hmac.compare_digest(cookie.encode(), self.cookie().encode()):
            return True
        scheme, _, value = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                value = base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                value = ""
        elif scheme.lower() != "bearer":
            return None
        return self.is_token(value)

    def is_token(self, text: str) -> bool:
        return self.token is None or hmac.compare_digest(text.encode(errors="replace"), self.token.encode())

    def cookie(self) -> str:
        """What a browser keeps instead of the token; it is void once the token is another."""
        return hmac.new((self.token or "").encode(), b"edge-classify page", hashlib.sha256).hexdigest()

    def _is_ours(self, host: str) -> bool:
        name = (urlsplit(f"//{host}").hostname or "") if _is_host(host) else ""
        own = socket.gethostname().lower()
        if name in {
            "localhost",
            self.address.lower(),
            own,
            f"{own.partition('.')[0]}.local",
            *map(str.lower, self.names),
        }:
            return bool(name)
        try:
            number = ipaddress.ip_address(name)
        except ValueError:
            return False
        # A number is what somebody typed: no other site can give its own name one.
        return number.is_loopback or ipaddress.ip_address(self.address).is_unspecified


class Failures:
    """Slows down and stops whoever guesses tokens."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_MAX_FAILURES)

    def too_many(self) -> bool:
        return len(self._times) == _MAX_FAILURES and time.monotonic() - self._times[0] < _FAILURE_WINDOW_S

    async def note(self) -> None:
        self._times.append(time.monotonic())
        await asyncio.sleep(_FAILURE_PAUSE_S)


def headers_for_all(frame_ancestors: Iterable[str] = ()) -> dict[str, str]:
    """What every answer says to the browser. frame_ancestors: origins whose pages may show this one in a frame."""
    ancestors = " ".join(frame_ancestors) or "'none'"
    return {
        "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; "
        f"form-action 'self'; frame-ancestors {ancestors}",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _is_host(host: str) -> bool:
    return bool(host) and not any(character in host for character in "/@?#\\ \t")


def _shown(host: str) -> str:
    return repr(host if len(host) <= 80 else f"{host[:77]}...")
