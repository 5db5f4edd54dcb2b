"""Addresses of this machine that an output serves at."""

from __future__ import annotations

import argparse
import errno
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket


class Address(NamedTuple):
    """host: an IP address, of version 4 or 6; 0.0.0.0 and :: mean all of this machine's."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only programs on this machine reach it."""
        return self.host == "::1" or self.host.startswith("127.")

    @property
    def from_here(self) -> Address:
        """Where a program on this machine reaches it."""
        return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)


def address(text: str) -> Address:
    """From HOST:PORT or [HOST]:PORT. Raises argparse.ArgumentTypeError."""
    found = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^:]*)):(\d{1,5})", text, re.ASCII)
    if found is None:
        port_alone = text.isdecimal() and text.isascii() and 1 <= int(text) <= 65535
        example = f"127.0.0.1:{text if port_alone else 8080}"
        raise argparse.ArgumentTypeError(f"expected an address and a port such as {example}, found {text!r}")
    host, port = found[1] or found[2] or "", int(found[3])
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port of 1 to 65535, found {port}")
    host = "127.0.0.1" if host == "localhost" else host
    if not _is_ip_address(host):
        raise argparse.ArgumentTypeError(
            f"{host!r} is no IP address: give one of this machine, 127.0.0.1 for programs on it alone, or 0.0.0.0 for "
            "the whole network"
        )
    return Address(host, port)


def listen(address: Address) -> socket.socket:
    """A socket that listens there; connections wait until somebody accepts them. Raises OSError."""
    import socket  # only outputs that serve need it

    listener = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A program that has just ended leaves connections behind, which would block its port for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def why_not(address: Address, error: OSError) -> tuple[str, str]:
    """Why nothing can listen there, and what to do, in words."""
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use by another program", "stop that, or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address}: this machine has no such address now", "choose one that ip address shows, or 0.0.0.0"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{address}: this user may not serve at port {address.port}", "choose one of 1024 or more"
    return f"{address}: {error.strerror or error}", "choose another address"


def _is_ip_address(host: str) -> bool:
    if ":" not in host:
        parts = host.split(".")
        return len(parts) == 4 and all(part in map(str, range(256)) for part in parts)
    import socket

    try:
        socket.inet_pton(socket.AF_INET6, host)
    except (OSError, ValueError):
        return False
    return True
