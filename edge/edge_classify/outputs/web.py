"""The page on the device: what the camera sees and the models make of it, in a browser."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import re
import threading
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import UsageError
from ..options import only_in_help_all
from ..system.packages import install_command
from .address import Address, address, listen, why_not
from .output import START_PAUSE_S

if TYPE_CHECKING:
    import socket
    import ssl

    from ..pipeline.loop import Result
    from ..web.server import Server
    from ..web.view import View
    from .destinations import Destinations

log = logging.getLogger(__name__)

TABLE = "web"

_DEFAULT_ADDRESS = Address("127.0.0.1", 8080)
_LISTEN_INTERVAL_S = 5.0
_HISTORY = 50
_JOIN_TIMEOUT_S = 1.0


class Web:
    """Hands each frame's results to a `View`. Its server is imported, and starts, after the first.

    token: what browsers must know; None: nothing. tls: for https. where: what is to be said once it listens; "" if it
        has been said.
    """

    # It reports on results, and is no reason to go on making them.
    gone = True

    def __init__(
        self,
        options: argparse.Namespace,
        token: str | None,
        tls: ssl.SSLContext | None,
        destinations: Destinations,
        where: str,
    ) -> None:
        self._options = options
        self._tls = tls
        self._ended = threading.Event()
        self._warned = False
        self._token = token
        self._where = where
        self._run = destinations.run
        self._say = destinations.standard_error.put
        self._results: list[Result] = []
        self._newest: list[Result] = []
        self._history: deque[dict[str, Any]] = deque(maxlen=_HISTORY)
        self._view: View | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._ended.set()
        if self._server is not None:
            self._server.stop()
        if self._thread is not None:
            self._thread.join(_JOIN_TIMEOUT_S)

    def append(self, result: Result) -> None:
        event = result.event()
        if event is not None:
            self._history.append(event)
        self._results.append(result)
        if not result.frame_done:
            return
        self._newest, self._results = self._results, []
        if self._view is not None:
            self._view.offer(self._newest)
        elif self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
            self._thread.start()

    def counts(self) -> dict[str, int]:
        return {}

    def _listen(self) -> socket.socket | None:
        """None if the address is another's, or not this machine's yet: it may be later, so that is no reason to end."""
        try:
            return listen(self._options.web_address)
        except OSError as error:
            if not self._warned:
                what, remedy = why_not(self._options.web_address, error)
                log.warning("page: %s: %s by --web-address (trying again)", what, remedy)
                self._warned = True
            return None

    def _serve(self) -> None:
        if self._ended.wait(START_PAUSE_S):
            return
        while (listener := self._listen()) is None:
            if self._ended.wait(_LISTEN_INTERVAL_S):
                return
        if self._where:
            self._say(self._where)
        from ..web.access import Access
        from ..web.actions import Actions
        from ..web.server import Server
        from ..web.view import View

        options = self._options
        access = Access(options.web_address.host, tuple(options.web_host), self._token, options.web_proxy)
        # A proxy's own site shows the page in a frame, under that site's name.
        frames = [*options.web_frame, *(["'self'"] if options.web_proxy else [])]
        view = View(self._run.source, self._run.models, self._history)
        view.offer(self._newest)
        actions = partial(Actions, options.collect, view, self._run.models, self._say) if options.web_actions else None
        self._server = Server(listener, view, access, frames, self._tls, actions)
        self._view = view
        self._server.run()


def add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--web", action="store_true", help="a page at http://127.0.0.1:8080/, or at --web-address")
    only_in_help_all(
        group.add_argument(
            "--web-address",
            type=address,
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
            type=_host,
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
    only_in_help_all(
        group.add_argument(
            "--web-proxy",
            type=_ip,
            metavar="IP",
            help="a proxy that lets only those through whom it knows: what it passes on needs no token",
        )
    )
    only_in_help_all(group.add_argument("--web-cert", type=Path, metavar="FILE", help="certificate, for https"))
    only_in_help_all(group.add_argument("--web-key", type=Path, metavar="FILE", help="the certificate's key"))
    only_in_help_all(
        group.add_argument(
            "--web-actions",
            action="store_true",
            help="let the page take photos, label those of --collect, and teach the model",
        )
    )
    only_in_help_all(
        group.add_argument("--web-insecure", action="store_true", help="ask nobody for a token, whatever the address")
    )


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]", text):
        raise argparse.ArgumentTypeError(f"expected a name such as pi.lan, found {text!r}")
    return text


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an address such as 172.30.32.2, found {text!r}") from None


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
        raise UsageError(f"--web needs the package aiohttp: {install_command('aiohttp')}")
    if (options.web_cert is None) != (options.web_key is None):
        raise UsageError("--web-cert and --web-key belong together: give both")
    _tls(options)


def open_output(options: argparse.Namespace, destinations: Destinations) -> Web | None:
    if not options.web:
        return None
    place: Address = options.web_address
    token = None
    name = os.uname().nodename
    # Nobody can open 0.0.0.0; this machine's own name works in the whole local network.
    host = str(place) if place.from_here == place else f"{name}{'' if '.' in name else '.local'}:{place.port}"
    said = f"page: {'https' if options.web_cert else 'http'}://{host}/"
    if options.web_insecure and not place.loopback:
        said += " for everybody who can reach this machine, without a token (--web-insecure)"
    elif place.loopback:
        said += f" on this machine; from another: ssh -L {place.port}:{place} {name}"
    else:
        token, said = _token(options, said)
    said += "\n"
    if _is_free(place):
        destinations.standard_error.put(said)
        said = ""
    return Web(options, token, _tls(options), destinations, said)


def _is_free(place: Address) -> bool:
    try:
        listen(place).close()
    except OSError:
        return False
    return True


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.web_cert is None:
        return None
    from ..system.tls import server_context

    return server_context("--web", options.web_cert, options.web_key)


def _token(options: argparse.Namespace, said: str) -> tuple[str, str]:
    """The token, and what is said about it: once what it is, then only where."""
    from ..web.token_file import default_path, read_or_make

    path = options.web_token_file or default_path()
    token, is_new = read_or_make(path)
    return token, f"{said} with the token {f'{token} ' if is_new else ''}in {path}"
