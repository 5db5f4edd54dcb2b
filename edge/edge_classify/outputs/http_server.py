"""A small HTTP server for what an output shows: WSGI applications by path, each request in a thread of its own.

Importing this takes 0.1 s: only from a thread, and after the first result.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from io import StringIO
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, TextIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

# Requests at once; a connection beyond them is closed. Each takes a thread.
_MAX_REQUESTS = 8
# A client that sends or reads nothing for so long is given up.
_CLIENT_TIMEOUT_S = 10.0


class HttpServer(ThreadingMixIn, WSGIServer):
    """Serves GET and HEAD of each path by its application, and 404 elsewhere.

    listener: a socket that listens; it is closed at the end.
    applications: each gives its whole answer at once, with a Content-Length, and calls `start_response` last.

    `run` serves until another thread calls `stop`.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, applications: Mapping[str, WSGIApplication]) -> None:
        # Not its own way to bind, which asks a name server for the host's name.
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()
        self.set_app(self._answer)
        self._applications = applications
        self._free = threading.BoundedSemaphore(_MAX_REQUESTS)
        self._stopping = False
        self._bug_told = False

    def run(self) -> None:
        while not self._stopping:
            self.handle_request()
        self.server_close()

    def stop(self) -> None:
        self._stopping = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # ends the wait for a connection
        except OSError:  # it has ended already
            return

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """A client that has gone is nothing to tell of; anything else is a bug of ours."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self._tell_bug(error)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """What the path's application gives, or why it does not; HEAD gets the headers alone."""
        application = self._applications.get(environ["PATH_INFO"])
        if application is None:
            application = _plain("404 Not Found", f"there is nothing here; see {', '.join(self._applications)}\n")
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            application = _plain("405 Method Not Allowed", "only GET and HEAD\n", ("Allow", "GET, HEAD"))
        try:
            body = application(environ, start_response)
        except Exception as error:
            self._tell_bug(error)
            body = _plain("500 Internal Server Error", "see the log of edge-classify\n")(environ, start_response)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    def _tell_bug(self, error: BaseException | None) -> None:
        if not self._bug_told:
            self._bug_told = True
            log.error("an HTTP request failed; more will not be told", exc_info=error)


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not worth a line."""

    def get_stderr(self) -> TextIO:
        return StringIO()


def _plain(status: str, text: str, *headers: tuple[str, str]) -> WSGIApplication:
    def application(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = text.encode()
        described = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response(status, [*described, *headers])
        return [body]

    return application
