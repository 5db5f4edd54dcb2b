"""What is wrong with a broker, in words: the end of a line that begins with its name."""

from __future__ import annotations

import socket
import ssl
import time

from ...errors import first_line
from .address import PORT, TLS_PORT, Address, Means

# OpenSSL's numbers of what is wrong with a certificate.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_ISSUER = {2, 18, 19, 20, 21}
_OTHER_NAME = {62, 64}


class Trouble(Exception):  # noqa: N818
    """Why there is no connection: what, and what to do.

    passing: it may be over at any moment, as when a broker restarts; nobody has to change anything.
    """

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


def not_connected(error: Exception, broker: Address, means: Means) -> Trouble:
    """For an error that was raised before the broker could say anything."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Trouble(_certificate(error, broker, means))
    if broker.tls and isinstance(error, (ssl.SSLEOFError, ConnectionResetError)):
        hint = f"does port {broker.port} speak TLS? mqtt:// is without"
        return Trouble(f"closes the connection instead of encrypting it: {hint}", passing=True)
    if isinstance(error, ssl.SSLError):
        return Trouble(_tls(error, broker, means))
    if isinstance(error, socket.gaierror):
        return Trouble(f"is not found ({error.strerror}): check the name {broker.host}, or give its IP address")
    if isinstance(error, ConnectionRefusedError):
        return Trouble(f"refuses connections: does it run, and does it listen on port {broker.port}?", passing=True)
    if isinstance(error, TimeoutError):
        return no_answer()
    if isinstance(error, UnicodeError):  # what Python makes of names that cannot be names
        return Trouble(f"is not found: {broker.host} cannot be the name of a computer")
    if isinstance(error, OSError) and error.errno is not None:
        return Trouble(f"cannot be reached ({error.strerror}): check the network", passing=True)
    return Trouble(f"cannot be reached ({first_line(error)})")


def no_answer() -> Trouble:
    return Trouble("does not answer: is it switched on, and does a firewall let its port through?", passing=True)


def refused(reason: str, broker: Address, means: Means, *, with_password: bool) -> Trouble:
    """For a CONNACK whose code is called so by paho."""
    reason = reason.lower()
    if "password" in reason or "authorized" in reason:
        if broker.user is None:
            return Trouble(f"wants a user name: mqtt://USER@... and {means.password}")
        if not with_password:
            return Trouble(f"refuses the user {broker.user}: no password was given: {means.password}")
        return Trouble(f"refuses the user {broker.user}: check the name and the password")
    if "version" in reason:
        return wrong_protocol()
    if "identifier" in reason:
        return Trouble(f"refuses this device's name: give another with {means.device}")
    return Trouble(f"refuses to connect ({reason})", passing=True)


def wrong_protocol() -> Trouble:
    return Trouble("refuses MQTT 3.1.1: is it an MQTT broker, with this protocol version switched on?")


def closed_early(broker: Address, means: Means) -> Trouble:
    """For a broker that has closed the connection instead of a CONNACK. One that is just starting or ending does so."""
    if broker.tls:
        return Trouble(
            f"closes the connection at once: does it want a client certificate ({means.certificate})?", passing=True
        )
    hint = f"is it an MQTT broker, and does it want TLS (mqtts://, port {TLS_PORT})?"
    return Trouble(f"closes the connection at once: {hint}", passing=True)


def _certificate(error: ssl.SSLCertVerificationError, broker: Address, means: Means) -> str:
    today = time.strftime("%Y-%m-%d")
    if error.verify_code == _EXPIRED:
        return f"has a certificate that has expired: renew it (this machine's clock says {today})"
    if error.verify_code == _NOT_YET_VALID:
        return f"has a certificate that is not valid yet: set this machine's clock, which says {today}"
    if error.verify_code in _UNKNOWN_ISSUER:
        return f"has a certificate of an unknown authority: give that authority's certificate with {means.authority}"
    if error.verify_code in _OTHER_NAME:
        return f"has a certificate for another name than {broker.host}: use the name that is in it"
    return f"has a certificate that is not accepted ({error.verify_message})"


def _tls(error: ssl.SSLError, broker: Address, means: Means) -> str:
    reason = (error.reason or first_line(error)).lower().replace("_", " ")
    if "wrong version number" in reason or "record layer failure" in reason:
        return f"does not speak TLS on port {broker.port}: use mqtt:// (usually port {PORT}), or its TLS port"
    if "certificate required" in reason or "handshake failure" in reason:
        return f"wants a client certificate: {means.certificate}"
    return f"fails in TLS ({reason})"
