"""The page behind a proxy that knows who asks, as Home Assistant's Supervisor does for apps (ingress)."""

from __future__ import annotations

import asyncio
import http.client
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from test_web import LIMIT_S, STATIC, Page, free_port, serve

PREFIX = "/api/hassio_ingress/0123abc/"
# What browsers send of Home Assistant's page, and what the Supervisor passes on: both have its name, not ours.
ASKED = {"Host": "homeassistant.local:8123", "Origin": "http://homeassistant.local:8123"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("state")
    options = ("--web-proxy", "127.0.0.1", "--web-token-file", folder / "token")
    with serve(*options, "--web-actions", "--collect", folder / "photos", address="0.0.0.0") as served:
        yield served


@pytest.fixture(scope="module")
def proxy(page: Page) -> Iterator[str]:
    """The address of a proxy that has the page below a folder."""
    port, loop = free_port(), asyncio.new_event_loop()

    async def pass_on(request: web.Request) -> web.StreamResponse:
        url = f"http://127.0.0.1:{page.port}/{request.match_info['path']}"
        headers = {name: request.headers[name] for name in request.headers if not name.startswith("Sec-WebSocket")}
        async with aiohttp.ClientSession() as session:
            if request.headers.get("Upgrade", "") == "websocket":
                browser = web.WebSocketResponse()
                await browser.prepare(request)
                async with session.ws_connect(url, headers=headers) as ours:
                    await ours.send_str(await browser.receive_str())
                    await browser.send_bytes(await ours.receive_bytes())
                return browser
            async with session.request(request.method, url, headers=headers, allow_redirects=False) as answer:
                return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    async def run() -> None:
        application = web.Application()
        application.router.add_route("*", PREFIX + "{path:.*}", pass_on)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()

    loop.run_until_complete(run())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{port}{PREFIX}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_all_that_the_pages_load_and_ask_for_comes_through_the_proxy(proxy: str) -> None:
    async def load() -> dict[str, int]:
        statuses = {}
        async with aiohttp.ClientSession(headers=ASKED) as browser:
            for name in ("", "photos", "teaching"):
                async with browser.get(proxy + name) as answer:
                    text = await answer.text()
                assert answer.status == 200
                for link in re.findall(r'(?:href|src)="([^"#:]+)"', text):
                    async with browser.get(proxy + link) as answer:
                        statuses[link] = answer.status
            for path in ("state.json", "facts.json", "photos.json", "teaching.json", "take.js"):
                async with browser.get(proxy + path) as answer:
                    statuses[path] = answer.status
            async with browser.ws_connect(f"{proxy}live") as live:
                await live.send_str("next")
                assert b"\xff\xd8" in (await live.receive_bytes())
        return statuses

    statuses = asyncio.run(asyncio.wait_for(load(), LIMIT_S))
    assert {"page.css", "page.js", "photos", "./"} <= statuses.keys()
    assert set(statuses.values()) == {200}


def test_no_address_in_the_pages_begins_at_the_root_of_a_site() -> None:
    for path in Path(STATIC).iterdir():
        assert not re.search(r"""["'`(]/[a-z]""", path.read_text()), path.name


def test_home_assistant_may_show_the_page_in_a_frame(page: Page) -> None:
    policy = page.ask("/", headers=ASKED).getheader("Content-Security-Policy")
    assert "frame-ancestors 'self'" in policy


def test_whoever_comes_another_way_needs_the_token_and_the_devices_name(page: Page) -> None:
    def status(path: str, host: str) -> int:
        connection = http.client.HTTPConnection(
            "127.0.0.1", page.port, timeout=LIMIT_S, source_address=("127.0.0.2", 0)
        )
        connection.request("GET", path, headers={"Host": host, "X-Forwarded-For": "127.0.0.1"})
        status = connection.getresponse().status
        connection.close()
        return status

    assert status("/state.json", f"127.0.0.1:{page.port}") == 401
    assert status("/state.json", ASKED["Host"]) == 421


def test_what_changes_something_must_still_come_from_the_page_itself(page: Page) -> None:
    for origin in ({}, {"Origin": "http://evil.example"}):
        assert page.ask("/label", "POST", {"Host": ASKED["Host"], **origin}).status == 403
    assert page.ask("/label", "POST", {**ASKED, "Sec-Fetch-Site": "cross-site"}).status == 403
