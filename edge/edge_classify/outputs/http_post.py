"""One HTTP request that hands over a few bytes, within a time, whatever the server does."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import quote, urlsplit

# Of the 4xx only these can change by waiting: Request Timeout, Too Early, Too Many Requests.
_WORTH_WAITING = (408, 425, 429)
_ADVICE = {
    401: "it wants a token (--webhook-token-file), or another one",
    403: "it does not allow this: check the token (--webhook-token-file) and the address",
    404: "it does not know this address",
    405: "this address takes no POST",
    413: "it takes no event of this size",
}
_CHECK_ADDRESS = "check the address"
# OpenSSL's X509_V_ERR numbers.
_CERTIFICATE_PROBLEMS = {
    9: "its certificate is not valid yet: check this machine's clock",
    10: "its certificate has expired, or this machine's clock is wrong",
    62: "its certificate is for another host: use the name that it was made for",
    64: "its certificate is for another host: use the name that it was made for",
}
_UNKNOWN_AUTHORITY = (
    "its certificate is signed by nobody that this machine knows: --webhook-ca FILE with the certificate to trust"
)


@dataclass(frozen=True)
class Failure:
    """Why a request was not accepted.

    kind: the same for what has the same reason.
    text: one line for the user, without the address.
    again: whether trying again may help; not before `seconds`, as far as the server says.
    """

    kind: object
    text: str
    again: bool
    seconds: float = 0.0


def post(
    url: str, body: bytes, headers: Mapping[str, str], context: ssl.SSLContext | None, time_limit: float
) -> Failure | None:
    """POST the body; None if the server has accepted it (2xx). Its answer is not read, and no redirect followed.

    context: for https.
    time_limit: in seconds, for all of it but the look-up of the name, whose time the system decides.
    """
    began = time.monotonic()
    try:
        return _judge(*_exchange(url, body, headers, context, time_limit))
    except (OSError, HTTPException, ValueError) as error:
        if time.monotonic() - began >= time_limit or isinstance(error, TimeoutError):
            return Failure("time", f"no answer within {time_limit:g} s", again=True)
        return Failure(*_explain(error), again=True)


def _explain(error: OSError | HTTPException | ValueError) -> tuple[object, str]:
    """The kind of the failure, and the text for the user."""
    match error:
        case ssl.SSLCertVerificationError():
            number = error.verify_code
            return ("certificate", number), _CERTIFICATE_PROBLEMS.get(number, _UNKNOWN_AUTHORITY)
        case ssl.SSLError():
            return "TLS", f"no secure connection ({error.reason or 'cut off'}): does it speak https?"
        case socket.gaierror():
            return "name", f"its name does not resolve ({error.strerror}): check it, and the network"
        case ConnectionRefusedError():
            return "refused", "connection refused: nothing listens there"
        case OSError():
            return error.errno, error.strerror or "the connection was cut off"
    return "no HTTP", f"its answer is not HTTP: {_CHECK_ADDRESS}"


def _exchange(
    url: str, body: bytes, headers: Mapping[str, str], context: ssl.SSLContext | None, time_limit: float
) -> tuple[int, HTTPResponse]:
    deadline = time.monotonic() + time_limit
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme.lower() == "https"
    connection = HTTPSConnection(host, parts.port, context=context) if secure else HTTPConnection(host, parts.port)
    with closing(connection):
        connection.sock = connected = _connect(host, connection.port, deadline)
        # A socket's own limit is for each part of an answer, which may come byte by byte.
        with connected.dup() as handle:
            end = threading.Timer(max(0.0, deadline - time.monotonic()), _shut_down, [handle])
            end.daemon = True
            end.start()
            try:
                if context is not None and secure:
                    connection.sock = context.wrap_socket(connected, server_hostname=host)
                target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
                query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?") if parts.query else ""
                connection.request("POST", target + query, body, {**headers, "Connection": "close"})
                answer = connection.getresponse()
                return answer.status, answer
            finally:
                end.cancel()
                end.join()


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    """Of a name with several addresses each gets its share of the time."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    problem: OSError = TimeoutError()
    for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        found = socket.socket(family, kind, protocol)
        found.settimeout(max(0.05, (deadline - time.monotonic()) / left))
        try:
            found.connect(address)
        except OSError as error:
            found.close()
            problem = error
            continue
        found.settimeout(max(0.05, deadline - time.monotonic()))
        return found
    raise problem


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _judge(status: int, answer: HTTPResponse) -> Failure | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        where = urlsplit(answer.getheader("Location") or "")
        to = f" to {where.scheme}://{where.hostname}" if where.hostname else ""
        return Failure(
            status, f"answers {status} and sends elsewhere{to}, which is not followed: {_CHECK_ADDRESS}", False
        )
    advice = f": {_ADVICE[status]}" if status in _ADVICE else ""
    again = status >= 500 or status in _WORTH_WAITING
    return Failure(status, f"answers {status}{advice}", again, _seconds(answer.getheader("Retry-After")))


def _seconds(retry_after: str | None) -> float:
    """From seconds or a date; 0 if it is neither."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0
