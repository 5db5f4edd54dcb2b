"""Certificates of encrypted connections, from the files that options name.

`option` is what these options begin with: --web for --web-cert and --web-key, --mqtt for these and --mqtt-ca.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from ..errors import DataError


def client_context(option: str, ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """A context that verifies the server, and shows it a certificate. Raises DataError for files of no use.

    ca: as of `trust`. cert, key: the client's own; the key may be in the same file.
    """
    context = trust(f"{option}-ca", ca)
    if cert is not None:
        _load_certificate(context, option, cert, key)
    return context


def trust(name: str, ca: Path | None) -> ssl.SSLContext:
    """A context that verifies the server. Raises DataError for a file of no use.

    ca: certificates of the authorities to trust, instead of the system's. name: of the option that gives this file.
    """
    if ca is None:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = "no certificate (PEM) in it" if isinstance(error, ssl.SSLError) else _reason(error)
        raise DataError(f"{name} {ca}: {why}") from None
    # Python 3.13 and later refuse authorities as they are made at home, without all of RFC 5280's fields.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def server_context(option: str, cert: Path, key: Path) -> ssl.SSLContext:
    """A context with the server's certificate. Raises DataError for files of no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_certificate(context, option, cert, key)
    return context


def _load_certificate(context: ssl.SSLContext, option: str, cert: Path, key: Path | None) -> None:
    encrypted = False

    def password() -> str:
        nonlocal encrypted
        encrypted = True
        return ""

    contents = _read(f"{option}-cert", cert), b"" if key is None else _read(f"{option}-key", key)
    try:
        # With a function in its place, OpenSSL does not ask for a passphrase on the terminal.
        context.load_cert_chain(cert, key, password=password)
    except (OSError, ValueError) as error:
        raise DataError(_why_no_pair(option, cert, key, contents, encrypted=encrypted)) from error


def _why_no_pair(option: str, cert: Path, key: Path | None, contents: tuple[bytes, bytes], *, encrypted: bool) -> str:
    certificate, own_key = contents
    with_key = f"{option}-cert {cert}" if key is None else f"{option}-key {key}"
    if encrypted:
        return (
            f"{with_key}: {'its key ' if key is None else ''}is encrypted with a passphrase, which nobody could type "
            f"at boot: openssl rsa -in {key or cert} -out key.pem, and chmod 600 key.pem"
        )
    if b"CERTIFICATE-----" not in certificate:
        return f"{option}-cert {cert}: no certificate (PEM) in it: is it the key?"
    if b"PRIVATE KEY-----" not in (certificate if key is None else own_key):
        hint = f"give it by {option}-key FILE" if key is None else "is it the certificate?"
        return f"{with_key}: no key (PEM) in it: {hint}"
    return f"{with_key}: is not the key of {option}-cert {cert}, or one is damaged"


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{option} {path}: {_reason(error)}") from error


def _reason(error: OSError | ValueError) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
