"""The picture of Home Assistant in README.md: the page of the device that `edge-classify --camera demo --mqtt` makes.

    build/home-assistant/bin/python -m pip install home-assistant-frontend==20250411.0 \
        SQLAlchemy==2.0.39 fnv-hash-fast==1.4.0
    python docs/make_home_assistant_picture.py

Writes docs/pictures/home-assistant.png. Needs the Home Assistant that `make test-home-assistant` installs, with the
parts above, which its manifests of `frontend` and `recorder` name; mosquitto, selenium, Debian's chromium and
chromium-driver.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from PIL import Image
from selenium.webdriver.remote.webdriver import WebDriver

from make_demo_picture import open_browser

DOCS = Path(__file__).parent
OUTPUT = DOCS / "pictures" / "home-assistant.png"
PYTHON = DOCS.parent / "build" / "home-assistant" / "bin" / "python"
BROKER_PORT, PORT = 8918, 8919
ADDRESS = f"http://127.0.0.1:{PORT}"
CONFIGURATION = f"""
http: {{server_host: 127.0.0.1, server_port: {PORT}}}
frontend:
config:
logbook:
"""
OPTIONS = ("--camera", "demo", "--mqtt", f"mqtt://127.0.0.1:{BROKER_PORT}", "--mqtt-device", "Front door")
WIDTH, HEIGHT = 900, 872
PATIENCE_S, LOADING_S, RELOADING_S = 180, 20, 2
# What the first seconds were slowed by is no longer in the numbers.
WARM_UP_S = 70
MAX_BYTES = 150_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        (Path(folder) / "configuration.yaml").write_text(CONFIGURATION)
        path = f"{os.environ['PATH']}:/usr/sbin"
        for words in (
            ("env", f"PATH={path}", "mosquitto", "-p", str(BROKER_PORT)),
            (str(PYTHON), "-m", "homeassistant", "--config", folder, "--skip-pip"),
            (str(Path(sys.executable).with_name("edge-classify")), *OPTIONS, "--mqtt-image"),
        ):
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            running.callback(process.wait)
            running.callback(process.terminate)
        tokens = wait_for(set_up)
        token = tokens["access_token"]
        wait_for(lambda: state("sensor.front_door_frame_rate", token) != "unknown")
        time.sleep(WARM_UP_S)
        device = ask("/api/template", token, template="{{ device_id('sensor.front_door_state') }}").decode()
        browser = open_browser(WIDTH, HEIGHT)
        running.callback(browser.quit)
        browser.get(f"{ADDRESS}/manifest.json")
        # As the page itself remembers who has logged in, and that the sidebar is not wanted.
        known = {**tokens, "hassUrl": ADDRESS, "clientId": f"{ADDRESS}/", "expires": (time.time() + 1800) * 1000}
        browser.execute_script(
            "localStorage.hassTokens = arguments[0]; localStorage.dockedSidebar = '\"always_hidden\"'",
            json.dumps(known),
        )
        browser.get(f"{ADDRESS}/config/devices/device/{device}")
        time.sleep(LOADING_S)
        save(wait_for(lambda: photograph(browser, token)))


def photograph(browser: WebDriver, token: str) -> bytes | None:
    """The page while a digit is seen; None if the digit was gone before the page was there."""
    wait_for(lambda: not state("sensor.front_door_state", token).isdigit())
    wait_for(lambda: state("sensor.front_door_state", token).isdigit())
    # The page loads the small picture anew only with all the rest.
    browser.refresh()
    time.sleep(RELOADING_S)
    screenshot = browser.get_screenshot_as_png()
    return screenshot if state("sensor.front_door_state", token).isdigit() else None


def wait_for(answer: Callable[[], Any]) -> Any:
    """The answer, as soon as it is true, and Home Assistant gives one."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with suppress(URLError):
            if found := answer():
                return found
        time.sleep(0.5)
    raise SystemExit(f"Home Assistant does not get ready in {PATIENCE_S} s")


def set_up() -> dict[str, Any]:
    """Home Assistant's own first steps, and its integration of MQTT; returns the owner's tokens."""
    client = f"{ADDRESS}/"
    owner = {"name": "Me", "username": "me", "password": "of the picture", "language": "en"}
    code = json.loads(ask("/api/onboarding/users", None, client_id=client, **owner))["auth_code"]
    grant = {"grant_type": "authorization_code", "code": code, "client_id": client}
    with urlopen(f"{ADDRESS}/auth/token", urlencode(grant).encode(), timeout=PATIENCE_S) as answer:
        tokens: dict[str, Any] = json.load(answer)
    for step in ("core_config", "analytics", "integration"):
        ask(f"/api/onboarding/{step}", tokens["access_token"], client_id=client, redirect_uri=client)
    flows = "/api/config/config_entries/flow"
    flow = json.loads(ask(flows, tokens["access_token"], handler="mqtt"))["flow_id"]
    ask(f"{flows}/{flow}", tokens["access_token"], broker="127.0.0.1", port=BROKER_PORT)
    return tokens


def state(entity: str, token: str) -> str:
    return json.loads(ask(f"/api/states/{entity}", token))["state"]


def ask(path: str, token: str | None, **sent: object) -> bytes:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = Request(ADDRESS + path, json.dumps(sent).encode() if sent else None, headers)
    with urlopen(request, timeout=PATIENCE_S) as answer:
        return answer.read()


def save(screenshot: bytes) -> None:
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB").crop((0, 0, WIDTH, HEIGHT))
    picture.quantize(256, dither=Image.Dither.NONE).save(OUTPUT, optimize=True)
    size = OUTPUT.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"{OUTPUT}: {size} bytes, wanted at most {MAX_BYTES}")
    print(f"{OUTPUT}: {size} bytes")


if __name__ == "__main__":
    main()
