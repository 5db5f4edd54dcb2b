"""Whom a configuration talks to, and the addresses that the service's packet filter must let through for that."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..config.secrets import without_secret
from ..config.settings import Setting, file_in

# As in edge-classify.service.
LOCAL = ("link-local", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_LOCAL_NETWORKS = [
    ipaddress.ip_network(text)
    for text in (*LOCAL[1:], "169.254.0.0/16", "fe80::/10")  # the last two are what systemd calls link-local
]
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]*):(\d+)")
# In place of a host: whoever in the local network connects to a port of ours.
ANYBODY_NEAR = "*"


@dataclass(frozen=True)
class Peer:
    """Somebody to talk to. name: for people. host: a name, an address, or ANYBODY_NEAR."""

    name: str
    host: str


def peer_in(setting: Setting, word: str) -> Peer | None:
    """Whom a setting's value means: the host of an address, or whoever connects to the host:port that it listens on."""
    if setting.is_command or setting.is_flag:
        return None
    shown = f"{setting.key} {without_secret(word)}"
    if "://" in word:
        # A password may hold an @ or a slash; the host is behind the last @.
        scheme, _, rest = word.partition("://")
        return Peer(shown, urlsplit(f"{scheme}://{rest.rpartition('@')[2]}").hostname or "")
    if file_in(setting, word) is not None or setting.names_source:
        return None
    found = _HOST_AND_PORT.fullmatch(word)
    if found is None:
        return None
    host = found[1].strip("[]").lower()
    return Peer(shown, "localhost" if host in ("127.0.0.1", "::1", "localhost") else ANYBODY_NEAR)


def allowed_addresses(peers: Sequence[Peer]) -> tuple[list[str], list[str]]:
    """(what IPAddressAllow= must have for these peers, what the user should know about it)."""
    allowed: dict[str, None] = {}
    notes = []
    for peer in peers:
        addresses, note = _addresses(peer)
        allowed.update(dict.fromkeys(addresses))
        if note:
            notes.append(note)
    if "any" in allowed:
        return ["any"], notes
    return list(allowed), notes


def _addresses(peer: Peer) -> tuple[list[str], str]:
    if peer.host == ANYBODY_NEAR:
        return ["localhost", *LOCAL], ""
    try:
        return [str(ipaddress.ip_address(peer.host))], ""
    except ValueError:
        pass  # a name
    try:
        found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(peer.host, None)}
    except (OSError, UnicodeError):
        return ["any"], f"{peer.name}: the name does not resolve now, so every address is allowed: run this again later"
    near = [_near(ipaddress.ip_address(name)) for name in sorted(found)]
    if not all(near):
        return ["any"], f"{peer.name}: addresses of names change, so every address is allowed"
    servers = [address for server in _name_servers() for address in _near(server) or [str(server)]]
    return [*(address for addresses in near for address in addresses), *servers], ""


def _near(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[str]:
    """What to allow for a name's address, which may be another tomorrow; empty if that may be anywhere."""
    if address.is_loopback:
        return ["localhost"]
    return list(LOCAL) if any(address in network for network in _LOCAL_NETWORKS) else []


def _name_servers() -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        text = Path("/etc/resolv.conf").read_text()
    except OSError:
        return
    for name in re.findall(r"^nameserver\s+(\S+)", text, re.MULTILINE):
        try:
            yield ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            continue
