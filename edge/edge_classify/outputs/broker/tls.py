"""The certificates of an encrypted connection, from the files that the options name."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import DataError


def tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """A context that verifies the broker; see `Broker` for the files. Raises DataError for those of no use."""
    context = ssl.create_default_context()
    if ca is not None:
        context = _load(lambda: ssl.create_default_context(cafile=ca), f"--mqtt-ca {ca}", "it is no certificate (PEM)")
        # Python 3.13 and later refuse authorities as they are made at home, without all of RFC 5280's fields.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cert is not None:
        what = f"--mqtt-cert {cert}" + (f", --mqtt-key {key}" if key else "")
        # A key that is encrypted must not make OpenSSL ask for its password on the terminal.
        _load(lambda: context.load_cert_chain(cert, key, password=lambda: b""), what, lambda: _why_no_pair(cert, key))
    return context


def _load(load: Callable[[], Any], what: str, why: str | Callable[[], str]) -> Any:
    try:
        return load()
    except ssl.SSLError:
        raise DataError(f"{what} cannot be used: {why if isinstance(why, str) else why()}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{what} cannot be used: {reason}") from None


def _why_no_pair(cert: Path, key: Path | None) -> str:
    content = (key or cert).read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in cert.read_bytes():
        return "there is no certificate (PEM) in it"
    if b"PRIVATE KEY-----" not in content:
        return "it needs --mqtt-key FILE, for no key is in it" if key is None else "there is no key (PEM) in the latter"
    if b"ENCRYPTED" in content:
        return "the key has a password, which nobody could enter: store it without, readable by its owner alone"
    return "damaged, or the key is not that of the certificate"
