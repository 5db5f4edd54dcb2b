"""Whom a configuration talks to, and the addresses that the service's packet filter must let through for that."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..config.settings import Setting, file_in
from ..sources.network import without_password

# As in edge-classify.service.
LOCAL = ("link-local", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_LOCAL_NETWORKS = [
    ipaddress.ip_network(text)
    for text in (*LOCAL[1:], "169.254.0.0/16", "fe80::/10")  # the last two are what systemd calls link-local
]
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]*):(\d+)")
_ADDRESS_METAVAR = re.compile(r"URL|ADDRESS|HOST|BROKER")


@dataclass(frozen=True)
class Peer:
    """Somebody to talk to. name: for people. host: a name, an address, empty for all of this machine's addresses, or
    "local network"."""

    name: str
    host: str


def peer_in(setting: Setting, word: str) -> Peer | None:
    """Whom a setting's value names by an address or as host:port."""
    if setting.is_command or setting.is_flag:
        return None
    shown = f"{setting.key} {without_password(word)}"
    if "://" in word:
        # A password may hold an @ or a slash; the host is behind the last @.
        scheme, _, rest = word.partition("://")
        return Peer(shown, urlsplit(f"{scheme}://{rest.rpartition('@')[2]}").hostname or "")
    if file_in(setting, word) is not None or setting.names_source:
        return None
    found = _HOST_AND_PORT.fullmatch(word)
    if found:
        return Peer(shown, found[1].strip("[]"))
    if _ADDRESS_METAVAR.search(str(setting.action.metavar)):
        return Peer(shown, word.split("/")[0])
    return None


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
    if peer.host in ("", "local network", "0.0.0.0", "::"):
        return ["localhost", *LOCAL], ""
    try:
        return _of_literal(ipaddress.ip_address(peer.host)), ""
    except ValueError:
        pass  # a name
    try:
        found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(peer.host, None)}
    except (OSError, UnicodeError):
        return ["any"], f"{peer.name}: the name does not resolve now, so every address is allowed: run this again later"
    servers = [address for server in _name_servers() for address in _of_literal(server)]
    reached = [address for name in sorted(found) for address in _of_literal(ipaddress.ip_address(name))]
    if any(address not in ("localhost", *LOCAL) for address in reached):
        return ["any"], f"{peer.name}: addresses of names change, so every address is allowed"
    return [*reached, *servers], ""


def _of_literal(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[str]:
    if address.is_loopback:
        return ["localhost"]
    if any(address in network for network in _LOCAL_NETWORKS):
        return list(LOCAL)
    return [str(address)]


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
