"""Each change of state as an HTTP POST."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from .. import __version__
from ..errors import DataError, UsageError
from ..options import only_in_help_all
from ..system.secret_file import read_secret, why_not_secret
from .queue import BoundedQueue
from .rare_warnings import RareWarnings

if TYPE_CHECKING:
    import argparse
    import ssl

    from ..pipeline.loop import Result
    from .destinations import Destinations

TABLE = "hooks"

log = logging.getLogger(__name__)

_TIME_LIMIT_S = 10.0
# Between the tries for one event, each half to one and a half times as long; a server may ask for more.
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_MAX_PAUSE_S = 300.0
# Between two events of a camera: states that flicker at each frame still get through, and take little time from frames.
_REST_S = 0.02
# When the program ends, what waits has so long.
_MOMENT_S = 0.25


class Webhook:
    """POSTs each change of state to an address, as JSON: see docs/hooks.md. A context manager.

        with Webhook("https://example.org/changes", live=True) as webhook:
            for result in classify_frames(open_source(0), classifier, Decision(classifier.labels)):
                webhook.append(result)

    url: http:// or https://.
    authority: a PEM file with the certificates to trust in place of this machine's.
    token: sent as `Authorization: Bearer`.
    live: drop the oldest changes rather than wait while the server is slow or away, as a camera needs it.
    destinations: of the command's run; programs of your own leave it out.

    Raises UsageError for an address that cannot be used.
    """

    gone = False

    def __init__(
        self,
        url: str,
        *,
        authority: str | None = None,
        token: str | None = None,
        live: bool = False,
        destinations: Destinations | None = None,
    ) -> None:
        self._url, self._authority = url, authority
        self._name = f"webhook {check_address(url)}"
        self._headers = {"Content-Type": "application/json", "User-Agent": f"edge-classify/{__version__}"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._context: ssl.SSLContext | None = None
        self._warnings = RareWarnings()
        self._stop = threading.Event()
        self._lost = 0
        self._queue: BoundedQueue[dict[str, Any]]
        if destinations is None:
            self._queue = BoundedQueue(self._deliver, self._name, live=live)
        else:
            self._queue = destinations.queue(self._deliver, self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Send what waits; if `live`, or after an error, give up soon."""
        try:
            self._queue.drain(_MOMENT_S if self._queue.live or error is not None else None)
        finally:
            self._stop.set()
            self._queue.drain(_MOMENT_S / 5)
            self._queue.close()

    def append(self, result: Result) -> None:
        event = result.event()
        if event is not None:
            self._queue.put(event)

    def counts(self) -> dict[str, int]:
        """What the summary reports, if it is not 0."""
        return {"changes not sent to the webhook": self._lost + self._queue.dropped}

    def _deliver(self, event: dict[str, Any]) -> None:
        if self._stop.is_set():
            self._lost += 1
            return
        # Here, in the queue's own thread: they take 40 ms.
        import random
        from uuid import uuid4

        from .http_post import post

        context = self._trusted()
        if context is None and self._secure():
            self._lost += 1
            return
        body = json.dumps(event, ensure_ascii=False).encode("utf-8", "backslashreplace")
        # The same for each try, so that a server whose answer was lost can tell that it has the event already.
        headers = {**self._headers, "Idempotency-Key": str(uuid4())}
        for pause in (*_PAUSES_S, None):
            failure = post(self._url, body, headers, context, _TIME_LIMIT_S)
            if failure is None:
                if self._queue.live:
                    self._stop.wait(_REST_S)
                return
            given_up = pause is None or not failure.again
            what = "this change is lost" if given_up else "trying again"
            self._warnings.warn((failure.kind, given_up), f"{self._name}: {failure.text}; {what}")
            if pause is None or given_up:
                break
            wanted = max(pause * random.uniform(0.5, 1.5), failure.seconds)
            if self._stop.wait(min(wanted, _MAX_PAUSE_S)):
                break
        self._lost += 1

    def _secure(self) -> bool:
        return self._url[:6].lower() == "https:"

    def _trusted(self) -> ssl.SSLContext | None:
        """The context for https, made once."""
        if self._context is None and self._secure():
            try:
                self._context = _trust(self._authority)
            except DataError as error:
                self._warnings.warn("authority", f"{self._name}: {error}; changes are lost")
        return self._context


def check_address(url: str) -> str:
    """The part of the address that is no secret: scheme, host and port. Raises UsageError, which shows no more."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError("--webhook: its host or port cannot be read: expected https://HOST[:PORT]/PATH") from None
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise UsageError("--webhook: expected an address such as https://example.org/changes")
    if "@" in parts.netloc:
        raise UsageError("--webhook: an address with a password is seen by all: put a token into --webhook-token-file")
    if not url.isprintable() or " " in url:
        raise UsageError("--webhook: an address holds neither spaces nor control characters")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme.lower()}://{shown}" + (f":{port}" if port else "")


def add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--webhook", metavar="URL", help="POST each change of state to URL as JSON")
    only_in_help_all(
        group.add_argument(
            "--webhook-ca",
            metavar="FILE",
            help="certificates (PEM) to trust for https, such as your own (default: this machine's)",
        )
    )
    only_in_help_all(
        group.add_argument(
            "--webhook-token-file", metavar="FILE", help="send the token in FILE as Authorization: Bearer"
        )
    )


def check(options: argparse.Namespace, *, stream: bool) -> None:
    url, authority, token_file = options.webhook, options.webhook_ca, options.webhook_token_file
    if url is None:
        return
    if not stream:
        raise UsageError("--webhook needs a camera or a video; still pictures have no state that could change")
    shown = check_address(url)
    if authority is not None:
        if not shown.startswith("https:"):
            raise UsageError("--webhook-ca is for an https:// address")
        _trust(authority)
    if token_file is not None:
        _read_token(token_file)


def _trust(authority: str | None) -> ssl.SSLContext:
    from ..system.tls import trust  # most have no https, and ssl takes 20 ms

    return trust("--webhook-ca", None if authority is None else Path(authority))


def _read_token(path: str) -> str:
    token = read_secret(Path(path), "--webhook-token-file")
    if not token.isascii() or " " in token:
        raise DataError(f"--webhook-token-file {path}: a token is one word of ASCII letters, without Bearer before it")
    return token


def open_output(options: argparse.Namespace, destinations: Destinations) -> Webhook | None:
    if options.webhook is None:
        return None
    token = None
    if options.webhook_token_file is not None:
        token = _read_token(options.webhook_token_file)
        if why := why_not_secret(Path(options.webhook_token_file)):
            log.warning("--webhook-token-file %s", why)
        if options.webhook[:5].lower() == "http:":
            log.warning("--webhook-token-file: over http:// everybody on the way can read the token: use https://")
    return Webhook(options.webhook, authority=options.webhook_ca, token=token, destinations=destinations)
