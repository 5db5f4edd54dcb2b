"""The server of the page: its routes, and the rules that each request meets first."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from aiohttp import WSMsgType, web

from .access import COOKIE, Access, Failures, Refusal, headers_for_all
from .actions import Actions
from .view import STALLED_S, Picture, TooManyViewersError, View

log = logging.getLogger(__name__)

_STATIC = Path(__file__).with_name("static")
_FILES = {
    "/": "page.html",
    "/page.css": "page.css",
    "/device.js": "device.js",
    "/page.js": "page.js",
    "/login.js": "login.js",
}
_ACTION_FILES = {
    "/photos": "photos.html",
    "/photos.js": "photos.js",
    "/take.js": "take.js",
    "/teaching": "teach.html",
    "/teach.js": "teach.js",
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Seen without a token: what a browser needs to ask for one.
_OPEN = ("/login", "/page.css", "/login.js", "/favicon.ico")
_MAX_BODY_BYTES = 64 * 1024
_BOUNDARY = "picture"
# What may be on its way to a viewer of /stream.mjpg: more would be old when it arrives.
_SEND_BUFFER_BYTES = 64 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves a view on a listening socket, in the thread that calls `run`."""

    def __init__(
        self,
        listening: socket.socket,
        view: View,
        access: Access,
        frame_ancestors: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
        actions: Callable[[Mapping[str, str]], Actions] | None = None,
    ) -> None:
        """actions: makes, for the headers of every answer, what the page may do; None: it only looks."""
        self._socket = listening
        self._view = view
        self._access = access
        self._tls = tls
        self._headers = headers_for_all(frame_ancestors)
        self._failures = Failures()
        self._actions = None if actions is None else actions(self._headers)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None

    def run(self) -> None:
        """Serve until `stop`. What goes wrong is logged: the page is no reason to stop classifying."""
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("the page has stopped; classification goes on")

    def stop(self) -> None:
        """May be called from any thread."""
        loop, ended = self._loop, self._ended
        if loop is not None and ended is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(ended.set)

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._view.open()
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.SockSite(runner, self._socket, ssl_context=self._tls).start()
            await self._ended.wait()
        finally:
            self._view.close()
            if self._actions is not None:
                self._actions.stop()
            await runner.cleanup()

    def application(self) -> web.Application:
        """All routes, behind the rules of `access`."""
        application = web.Application(middlewares=[self._guard], client_max_size=_MAX_BODY_BYTES)
        application.router.add_routes(
            [
                *(web.get(path, self._file) for path in _FILES),
                web.get("/login", self._login_page),
                web.get("/favicon.ico", self._no_icon),
                web.post("/login", self._login),
                web.get("/state.json", self._state),
                web.get("/facts.json", self._facts),
                web.get("/snapshot.jpg", self._snapshot),
                web.get("/stream.mjpg", self._stream),
                web.get("/live", self._live),
            ]
        )
        if self._actions is not None:
            application.router.add_routes([*(web.get(path, self._file) for path in _ACTION_FILES)])
            application.router.add_routes(self._actions.routes())
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = await self._refusal(request)
        if refusal is not None:
            response: web.StreamResponse = web.Response(status=refusal.status, text=f"{refusal.reason}\n")
            if refusal.status == 401:
                if request.path == "/" and "Authorization" not in request.headers:
                    response = web.Response(status=303, headers={"Location": "login"})
                else:
                    response.headers["WWW-Authenticate"] = 'Basic realm="edge-classify", charset="UTF-8"'
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=f"{error.reason}\n")
            except TooManyViewersError:
                response = web.Response(
                    status=503, text="too many are looking already\n", headers={"Retry-After": "10"}
                )
        if not response.prepared:
            response.headers.update(self._headers)
        return response

    async def _refusal(self, request: web.Request) -> Refusal | None:
        upgrade = "upgrade" in request.headers.get("Connection", "").lower() or "Upgrade" in request.headers
        refusal = self._access.refusal(request.method, request.path, request.headers, request.remote, upgrade=upgrade)
        if refusal is not None or request.path in _OPEN or self._access.is_proxy(request.remote):
            return refusal
        known = self._access.knows_token(request.headers, request.cookies.get(COOKIE))
        if known:
            return None
        if known is None:
            return Refusal(401, "a token is needed")
        return await self._wrong_token()

    async def _wrong_token(self) -> Refusal:
        if self._failures.too_many():
            return Refusal(429, "too many wrong tokens: wait a minute")
        await self._failures.note()
        return Refusal(401, "not the token")

    async def _file(self, request: web.Request) -> web.Response:
        return _static({**_FILES, **_ACTION_FILES}[request.path])

    async def _no_icon(self, _request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _login_page(self, _request: web.Request) -> web.Response:
        return _static("login.html")

    async def _login(self, request: web.Request) -> web.Response:
        form = await request.post()
        if self._failures.too_many() or not self._access.is_token(str(form.get("token", "")).strip()):
            refusal = await self._wrong_token()
            return web.Response(status=refusal.status, text=f"{refusal.reason}\n")
        response = web.Response(status=303, headers={"Location": "./"})
        response.set_cookie(COOKIE, self._access.cookie(), httponly=True, samesite="Strict", secure=request.secure)
        return response

    async def _state(self, _request: web.Request) -> web.Response:
        return web.json_response(self._view.state())

    async def _facts(self, _request: web.Request) -> web.Response:
        return web.json_response({**self._view.facts(), "actions": self._actions is not None})

    async def _snapshot(self, _request: web.Request) -> web.Response:
        async with self._view.watch() as old:
            picture = await self._view.next(old)
        return web.Response(body=picture.jpeg, content_type="image/jpeg")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """The pictures one after another, as cameras on a network give them."""
        async with self._view.watch() as number:
            response = web.StreamResponse(headers=self._headers)
            response.content_type = "multipart/x-mixed-replace"
            response.headers["Content-Type"] += f"; boundary={_BOUNDARY}"
            await response.prepare(request)
            transport = request.transport
            if transport is not None:
                transport.set_write_buffer_limits(high=0)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            with suppress(ConnectionError, TimeoutError):
                while True:
                    picture = await self._view.next(number)
                    number = picture.number
                    await asyncio.wait_for(response.write(_part(picture)), STALLED_S)
            return response

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """A picture with its facts for each time that the page says it has shown the one before."""
        async with self._view.watch() as number:
            live = web.WebSocketResponse(max_msg_size=1024, heartbeat=None)
            await live.prepare(request)
            with suppress(ConnectionError, TimeoutError):
                while True:
                    message = await asyncio.wait_for(live.receive(), STALLED_S)
                    if message.type != WSMsgType.TEXT:
                        break
                    asked = time.perf_counter()
                    picture = await self._view.next(number)
                    number = picture.number
                    await asyncio.wait_for(live.send_bytes(_together(picture, asked)), STALLED_S)
            await live.close()
            return live


def _static(name: str) -> web.Response:
    path = _STATIC / name
    return web.Response(body=path.read_bytes(), content_type=_TYPES[path.suffix], charset="utf-8")


def _part(picture: Picture) -> bytes:
    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n"
    return head.encode() + picture.jpeg + b"\r\n"


def _together(picture: Picture, asked: float) -> bytes:
    """The length of the JSON (big endian, 4 bytes), the JSON, and the picture.

    asked: when the page asked for it. From `waited_ms` the page knows how much of its own waiting was not the network.
    """
    now = time.perf_counter()
    facts = {
        **picture.facts,
        "age_ms": round((now - picture.captured_at) * 1e3, 1),
        "waited_ms": round((now - asked) * 1e3, 1),
    }
    text = json.dumps(facts).encode()
    return struct.pack(">I", len(text)) + text + picture.jpeg
