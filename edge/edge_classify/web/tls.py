"""The certificate of a page that is served by https."""

from __future__ import annotations

import ssl
from pathlib import Path

from ..errors import DataError


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For a server. Raises DataError if the files are not a certificate and its key, both in PEM format."""
    for option, path in (("--web-cert", certificate), ("--web-key", key)):
        if not path.is_file():
            raise DataError(f"{option} {path}: there is no such file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encrypted = False

    def password() -> str:
        nonlocal encrypted
        encrypted = True
        return ""

    try:
        # With a function in its place, OpenSSL does not ask for a passphrase on the terminal.
        context.load_cert_chain(certificate, key, password=password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        if encrypted:
            raise DataError(
                f"--web-key {key}: is encrypted with a passphrase, which nobody could type at boot: "
                f"openssl rsa -in {key} -out key.pem, and chmod 600 key.pem"
            ) from error
        if b"CERTIFICATE-----" not in _content(certificate):
            raise DataError(f"--web-cert {certificate}: no certificate (PEM) in it: is it the key?") from error
        if b"PRIVATE KEY-----" not in _content(key):
            raise DataError(f"--web-key {key}: no key (PEM) in it: is it the certificate?") from error
        raise DataError(f"--web-key {key}: is not the key of --web-cert {certificate}, or one is damaged") from error
    return context


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
