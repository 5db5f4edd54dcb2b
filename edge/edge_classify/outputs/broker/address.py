"""The address of a broker: mqtts://user@host:8883/prefix; and what goes with it, as messages call it."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

PORT, TLS_PORT = 1883, 8883
PREFIX = "edge-classify"

_ADDRESS = re.compile(r"(mqtts?)://(?:([^@/]*)@)?(\[[^\]/@]+\]|[^/:\[\]@]+)(?::(\d{1,5}))?(?:/(.*))?", re.IGNORECASE)
_EXAMPLE = "mqtt://host or mqtts://user@host:8883/prefix"


@dataclass(frozen=True)
class Means:
    """How messages ask for what is missing, besides the address, in words that whoever gave the address can use."""

    password: str
    authority: str
    certificate: str
    device: str


OPTIONS = Means(
    password="--mqtt-password-file FILE",
    authority="--mqtt-ca FILE",
    certificate="--mqtt-cert FILE and --mqtt-key FILE",
    device="--mqtt-device",
)
ARGUMENTS = Means(
    password="password=",
    authority="authority=",
    certificate="which only the command edge-classify has, with --mqtt-cert",
    device="device=",
)


@dataclass(frozen=True)
class Address:
    """Where a broker is, and the prefix of all topics there. It never holds a password."""

    host: str
    port: int
    tls: bool
    user: str | None
    prefix: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.user is None else f"{self.user}@"
        return f"{'mqtts' if self.tls else 'mqtt'}://{user}{host}:{self.port}/{self.prefix}"


def address(text: str, means: Means = OPTIONS) -> Address:
    """For `type=`. A password is refused without repeating it."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        shown = "" if "@" in text else f", found {text!r}"
        hint = f": did you mean mqtt://{text}?" if re.fullmatch(r"[\w.-]+(:\d+)?(/[\w/-]*)?", text) else ""
        raise argparse.ArgumentTypeError(f"expected {_EXAMPLE}{shown}{hint}")
    scheme, user, host, port, path = found.groups()
    if user is not None and ":" in user:
        raise argparse.ArgumentTypeError(
            f"a password in the address is shown to everybody who can see it in use: give it by {means.password}"
        )
    tls = scheme.lower() == "mqtts"
    number = int(port) if port else TLS_PORT if tls else PORT
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"there is no port {number}: expected 1 to 65535")
    prefix = topic(path.rstrip("/")) if path and path.rstrip("/") else PREFIX
    return Address(host.strip("[]"), number, tls, _unquote(user) or None, prefix)


def topic(text: str) -> str:
    """For `type=`: one or more levels that topics can begin with."""
    if set(text) & set("+#"):
        raise argparse.ArgumentTypeError(
            f"the prefix {text!r} has a wildcard (+ or #), which no message can be sent to"
        )
    if not text or not all(text.split("/")) or text.startswith("$") or not text.isprintable() or len(text) > 200:
        raise argparse.ArgumentTypeError(f"the prefix {text!r} cannot begin a topic: expected words such as home/hall")
    return text


def _unquote(user: str | None) -> str | None:
    if user is None or "%" not in user:
        return user
    from urllib.parse import unquote  # hardly anybody needs it

    return unquote(user)
