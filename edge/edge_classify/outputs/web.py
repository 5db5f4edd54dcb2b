"""The page on the device: what the camera sees and the models make of it, in a browser."""

from __future__ import annotations

import argparse
import re
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ..errors import DataError, UsageError
from ..options import only_in_help_all

if TYPE_CHECKING:
    import socket

    from ..pipeline.loop import Result
    from ..web.server import Server
    from ..web.view import View
    from .destinations import Destinations

TABLE = "web"

_DEFAULT_ADDRESS = "127.0.0.1:8080"
_HISTORY = 50
_JOIN_TIMEOUT_S = 1.0
_MISSING = "--web needs aiohttp: pip install aiohttp"


class Address(NamedTuple):
    """Where the page is: an IP address, and a port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        import ipaddress  # only a page needs it

        return ipaddress.ip_address(self.host).is_loopback

    def url(self, scheme: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/"


class Web:
    """Hands each frame's results to a `View`. Its server is imported, and starts, after the first.

    listening: the socket that browsers connect to. token: what they must know; None: nothing.
    """

    # It reports on results, and is no reason to go on making them.
    gone = True

    def __init__(
        self, listening: socket.socket, options: argparse.Namespace, token: str | None, destinations: Destinations
    ) -> None:
        self._socket = listening
        self._options = options
        self._token = token
        self._run = destinations.run
        self._results: list[Result] = []
        self._history: deque[dict[str, Any]] = deque(maxlen=_HISTORY)
        self._view: View | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._server is not None:
            self._server.stop()
        if self._thread is not None:
            self._thread.join(_JOIN_TIMEOUT_S)
        self._socket.close()

    def append(self, result: Result) -> None:
        event = result.event()
        if event is not None:
            self._history.append(event)
        self._results.append(result)
        if not result.frame_done:
            return
        results, self._results = self._results, []
        if self._view is not None:
            self._view.offer(results)
        elif self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
            self._thread.start()

    def counts(self) -> dict[str, int]:
        return {}

    def _serve(self) -> None:
        from ..web.access import Access
        from ..web.server import Server, tls_context
        from ..web.view import View

        options = self._options
        access = Access(options.web_address.host, tuple(options.web_host), self._token)
        view = View(self._run.source, self._run.models, self._history)
        tls = tls_context(options.web_cert, options.web_key) if options.web_cert else None
        actions = options.collect if options.web_actions else None
        self._server = Server(self._socket, view, access, options.web_frame, tls, actions)
        self._view = view
        self._server.run()


def add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--web", action="store_true", help="show it on a page, at http://127.0.0.1:8080/")
    only_in_help_all(
        group.add_argument(
            "--web-address",
            type=_address,
            default=_DEFAULT_ADDRESS,
            metavar="IP:PORT",
            help="where the page is; for other machines 0.0.0.0:8080, with a token",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--web-token-file",
            type=Path,
            metavar="FILE",
            help="the page's token, for addresses that others can reach (default: made at the first start)",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--web-host",
            action="append",
            default=[],
            metavar="NAME",
            help="a name by which browsers may call this machine, besides its own; repeat it for several",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--web-frame",
            action="append",
            type=_origin,
            default=[],
            metavar="ORIGIN",
            help="a site that may show the page in a frame, such as http://homeassistant.local:8123",
        )
    )
    only_in_help_all(group.add_argument("--web-cert", type=Path, metavar="FILE", help="certificate, for https"))
    only_in_help_all(group.add_argument("--web-key", type=Path, metavar="FILE", help="the certificate's key"))
    only_in_help_all(
        group.add_argument(
            "--web-actions",
            action="store_true",
            help="let the page take photos, and label those of --collect",
        )
    )
    only_in_help_all(
        group.add_argument("--web-insecure", action="store_true", help="ask nobody for a token, whatever the address")
    )


def _address(text: str) -> Address:
    """IP:PORT, with brackets around an IPv6 address."""
    if text == _DEFAULT_ADDRESS:
        return Address("127.0.0.1", 8080)
    import ipaddress

    found = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:]+)\]|(?P<four>[^:\[\]]+)):(?P<port>\d{1,5})", text)
    try:
        if found is None or not 0 < int(found["port"]) < 65536:
            raise ValueError
        host = found["six"] or found["four"]
        address = "127.0.0.1" if host == "localhost" else str(ipaddress.ip_address(host))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected an IP address and a port such as 127.0.0.1:8080 or [::1]:8080, found {text!r}"
        ) from None
    return Address(address, int(found["port"]))


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", text):
        raise argparse.ArgumentTypeError(f"expected a site such as http://homeassistant.local:8123, found {text!r}")
    return text


def check(options: argparse.Namespace, *, stream: bool) -> None:
    if not options.web:
        return
    if not stream:
        raise UsageError("--web needs a camera or a video; pictures can be looked at as they are")
    if options.web_actions and options.collect is None:
        raise UsageError("--web-actions needs a folder for the photos: --collect FOLDER")
    import importlib.util

    if importlib.util.find_spec("aiohttp") is None:
        raise UsageError(_MISSING)
    if (options.web_cert is None) != (options.web_key is None):
        raise UsageError("--web-cert and --web-key belong together: give both")
    for path in (options.web_cert, options.web_key):
        if path is not None and not path.is_file():
            raise DataError(f"{path}: there is no such file")


def open_output(options: argparse.Namespace, destinations: Destinations) -> Web | None:
    if not options.web:
        return None
    import socket

    address: Address = options.web_address
    listening = _listen(address)
    token = None
    said = f"page: {address.url('https' if options.web_cert else 'http')}"
    if options.web_insecure and not address.is_loopback:
        said += " for everybody who can reach this machine, without a token (--web-insecure)"
    elif address.is_loopback:
        there = f"{address.port}:{address.host}:{address.port} {socket.gethostname()}"
        said += f" on this machine; from another: ssh -L {there}"
    else:
        token, said = _token(options, said)
    destinations.standard_error.put(f"{said}\n")
    return Web(listening, options, token, destinations)


def _token(options: argparse.Namespace, said: str) -> tuple[str, str]:
    """The token, and what is said about it: once what it is, then only where."""
    from ..web.token_file import default_path, read_or_make

    path = options.web_token_file or default_path()
    token, is_new = read_or_make(path)
    return token, f"{said} with the token {f'{token} ' if is_new else ''}in {path}"


def _listen(address: Address) -> socket.socket:
    """Raises DataError if the port is taken, or the address is not this machine's."""
    import socket

    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(16)
    except OSError as error:
        listening.close()
        raise DataError(
            f"--web-address {address.host}:{address.port}: {error.strerror}: give another address or port"
        ) from error
    return listening
