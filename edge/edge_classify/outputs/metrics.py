"""Metrics for Prometheus: served over HTTP, or written to a file for its node exporter."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from ..errors import DataError, FolderError, UsageError
from ..options import is_folder, writes_file
from ..system.atomic_write import atomic_file
from ..system.packages import install_command
from .address import Address, address, listen, why_not
from .metric_counts import ModelCounts
from .output import START_PAUSE_S

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from ..pipeline.loop import Model, Result
    from .destinations import Destinations
    from .http_server import HttpServer
    from .metric_families import Families
    from .run import Run

log = logging.getLogger(__name__)

TABLE = "metrics"
PATH = "/metrics"

WRITE_INTERVAL_S = 15.0
_LISTEN_INTERVAL_S = 5.0
# From here on any user may serve.
_FREE_PORTS = 1024
_WARN_INTERVAL_S = 60.0
# The end of a run waits so long for the publisher; if no camera was its source, for a file with all counts.
_END_TIMEOUT_S = 0.3
_FILE_END_TIMEOUT_S = 10.0


class Publisher(Protocol):
    """Where metrics go. serves: somebody asks for them over HTTP. lost: how often they could not be written."""

    serves: bool
    lost: int

    def run(self, families: Families) -> None:
        """Publish them until `stop` is called by another thread."""

    def stop(self) -> None: ...


class Metrics:
    """Counts results, and has them published by a thread, which begins with the first of them."""

    # It reports on results, and is no reason to go on making them.
    gone = True

    def __init__(self, run: Run, publisher: Publisher) -> None:
        self._run = run
        self._publisher = publisher
        self._counts = {model.name: ModelCounts(model.classifier.labels) for model in run.models}
        run.models.tell(self._begin_anew)
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._ended.set()
        self._publisher.stop()
        if self._thread is not None:
            patient = not (self._run.source.live or self._publisher.serves)
            self._thread.join(_FILE_END_TIMEOUT_S if patient else _END_TIMEOUT_S)
            if self._thread.is_alive() and not self._publisher.serves:
                self._publisher.lost += 1

    def append(self, result: Result) -> None:
        self._counts[result.model].append(result)
        if self._thread is None:
            self._thread = threading.Thread(target=self._publish, name="metrics", daemon=True)
            self._thread.start()

    def counts(self) -> dict[str, int]:
        return {"metrics not written": self._publisher.lost}

    def _begin_anew(self, model: Model) -> None:
        """Another model's counts are not this one's: Prometheus takes it for a restart."""
        self._counts = {**self._counts, model.name: ModelCounts(model.classifier.labels)}

    def _publish(self) -> None:
        self._ended.wait(START_PAUSE_S)
        try:
            from .metric_families import Families

            families = Families(self._run, lambda: self._counts, self._ended, process=self._publisher.serves)
            self._publisher.run(families)
        except Exception:
            log.exception("metrics: failed, and are not published any more; classification goes on")


class MetricsServer:
    """Serves metrics at an address; while something else has it, tries again.

    say: takes a line for the user once they are served.
    """

    serves = True
    lost = 0

    def __init__(self, address: Address, say: Callable[[str], object]) -> None:
        self._address = address
        self._say = say
        self._ended = threading.Event()
        self._warned = False
        # Whether `run` or `stop` comes first.
        self._handover = threading.Lock()
        self._server: HttpServer | None = None

    def run(self, families: Families) -> None:
        from .http_server import HttpServer

        while (listener := self._listen()) is None:
            if self._ended.wait(_LISTEN_INTERVAL_S):
                return
        with self._handover:
            if self._ended.is_set():
                listener.close()
                return
            self._server = HttpServer(listener, {PATH: _application(families)})
        self._server.run()

    def stop(self) -> None:
        with self._handover:
            self._ended.set()
            if self._server is not None:
                self._server.stop()

    def _listen(self) -> socket.socket | None:
        try:
            listener = listen(self._address)
        except OSError as error:
            if not self._warned:
                self._warned = True
                what, remedy = why_not(self._address, error)
                log.warning(
                    "metrics: %s: %s; going on without, trying again every %g s", what, remedy, _LISTEN_INTERVAL_S
                )
            return None
        who = "" if self._address.loopback else ", for anybody in the network to read"
        self._say(f"metrics at http://{self._address}{PATH}{who}\n")
        return listener


class MetricsFile:
    """Writes metrics to a file by rename, every 15 s and at the end; a disk that is full is tried again."""

    serves = False

    def __init__(self, path: Path) -> None:
        self.lost = 0
        self._path = path
        self._ended = threading.Event()
        self._warned_at = float("-inf")

    def run(self, families: Families) -> None:
        from prometheus_client import generate_latest

        ended = False
        while not ended:
            self._write(generate_latest(families))
            ended = self._ended.wait(WRITE_INTERVAL_S)
        self._write(generate_latest(families))

    def stop(self) -> None:
        self._ended.set()

    def _write(self, content: bytes) -> None:
        try:
            with atomic_file(self._path) as file:
                # The node exporter is another user, and a service may create only files of its own.
                os.fchmod(file.fileno(), 0o644)
                file.write(content)
        except OSError as error:
            self.lost += 1
            now = time.monotonic()
            if now - self._warned_at >= _WARN_INTERVAL_S:
                self._warned_at = now
                why = error.strerror or error
                log.warning("metrics: %s: %s: trying again every %g s", self._path, why, WRITE_INTERVAL_S)


def _application(families: Families) -> WSGIApplication:
    """Answers in the format that the client asks for."""
    import gzip

    from prometheus_client.exposition import choose_encoder

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        except (TypeError, ValueError):  # it asks for a version that is no number
            encode, content_type = choose_encoder("")
        body = encode(families)
        headers = [("Content-Type", content_type)]
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body, compresslevel=1)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]

    return application


def destination(text: str) -> Address | Path:
    """For `type=`: an address to serve at, or a file to write."""
    if text.endswith(".prom"):
        return Path(text)
    if ":" not in text:
        raise argparse.ArgumentTypeError(
            f"expected an address such as 127.0.0.1:9464, or a file whose name ends in .prom, found {text!r}"
        )
    return address(text)


def add_options(group: argparse._ArgumentGroup) -> None:
    writes_file(
        group.add_argument(
            "--metrics",
            type=destination,
            metavar="PLACE",
            help="for Prometheus, at 127.0.0.1:9464 or into a FILE.prom",
        )
    )


def check(options: argparse.Namespace, *, stream: bool) -> None:  # noqa: ARG001
    if options.metrics is None:
        return
    from importlib.util import find_spec

    if find_spec("prometheus_client") is None:
        raise UsageError(f"--metrics needs a package that is not installed: {install_command('prometheus-client')}")
    if isinstance(options.metrics, Address):
        _check_port(options.metrics)
    else:
        check_file(options.metrics)


def _check_port(address: Address) -> None:
    """Refuse what will not get better by itself."""
    if address.port >= _FREE_PORTS:
        return
    try:
        listen(address).close()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UsageError(f"--metrics {': '.join(why_not(address, error))}") from None


def check_file(path: Path) -> None:
    """Raise DataError if this file cannot be written."""
    if is_folder(path):
        raise DataError(f"--metrics {path}: expected a file, found a folder")
    if not is_folder(path.parent):
        raise FolderError(f"--metrics {path}: there is no folder {path.parent}: create it first", path.parent)
    if not os.access(path.parent, os.W_OK):
        raise FolderError(f"--metrics {path}: cannot write into the folder {path.parent}: give another", path.parent)


def open_output(options: argparse.Namespace, destinations: Destinations) -> Metrics | None:
    if options.metrics is None:
        return None
    if isinstance(options.metrics, Address):
        return Metrics(destinations.run, MetricsServer(options.metrics, destinations.standard_error.put))
    return Metrics(destinations.run, MetricsFile(options.metrics))
