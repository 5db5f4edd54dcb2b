"""The moving picture of README.md: the page and the terminal of `edge-classify --camera demo --web`, as they are.

    python docs/make_demo_picture.py

Writes docs/pictures/demo.webp. Needs selenium, Debian's chromium and chromium-driver, and a monospaced font.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

OUTPUT = Path(__file__).parent / "pictures" / "demo.webp"
PORT = 8917
WIDTH, PAGE_HEIGHT, TERMINAL_HEIGHT = 1120, 700, 108
# What the picture is made smaller by.
SCALE = 0.75
PICTURES, INTERVAL_S, WARM_UP_S = 24, 0.4, 14.0
MAX_BYTES = 1_000_000
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"
COMMAND = "edge-classify --camera demo --web"


def main() -> None:
    shown: list[str] = [""]
    primary, secondary = pty.openpty()
    words = [str(Path(sys.executable).with_name("edge-classify")), *COMMAND.split()[1:], "--web-address"]
    environment = {**os.environ, "COLUMNS": "90"}
    process = subprocess.Popen(
        [*words, f"127.0.0.1:{PORT}"], stdout=secondary, stderr=subprocess.DEVNULL, env=environment
    )
    threading.Thread(target=follow, args=(primary, shown), daemon=True).start()
    try:
        browser = open_browser(WIDTH, PAGE_HEIGHT)
        browser.get(f"http://127.0.0.1:{PORT}/")
        time.sleep(WARM_UP_S)
        frames = []
        for _ in range(PICTURES):
            began = time.monotonic()
            frames.append(compose(browser.get_screenshot_as_png(), shown[0]))
            time.sleep(max(0.0, INTERVAL_S - (time.monotonic() - began)))
        browser.quit()
    finally:
        process.terminate()
    frames[0].save(
        OUTPUT, save_all=True, append_images=frames[1:], duration=round(INTERVAL_S * 1000), loop=0, quality=60, method=6
    )
    size = OUTPUT.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"{OUTPUT}: {size} bytes, wanted at most {MAX_BYTES}")
    print(f"{OUTPUT}: {size} bytes")


def follow(terminal: int, shown: list[str]) -> None:
    """Keep the terminal's newest line in `shown`."""
    while data := os.read(terminal, 4096):
        text = re.sub(r"\x1b\[K", "", data.decode(errors="replace"))
        lines = [line for line in re.split(r"[\r\n]+", text) if " ms " in line]
        if lines:
            shown[0] = lines[-1]


def open_browser(width: int, height: int) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for word in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync"),
        *("hide-scrollbars", f"window-size={width},{height}"),
    ):
        options.add_argument(f"--{word}")
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    browser.set_window_size(width, height + 220)  # what the window itself takes of it is not seen
    return browser


def compose(page: bytes, line: str) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, PAGE_HEIGHT + TERMINAL_HEIGHT), "#12171d")
    screenshot = Image.open(io.BytesIO(page)).convert("RGB")
    picture.paste(screenshot.crop((0, 0, WIDTH, PAGE_HEIGHT)), (0, TERMINAL_HEIGHT))
    draw, font = ImageDraw.Draw(picture), ImageFont.truetype(FONT, 23)
    draw.text((18, 14), f"$ {COMMAND}", font=font, fill="#8fd19e")
    draw.text((18, 58), line, font=font, fill="#e8edf3")
    return picture.resize((round(picture.width * SCALE), round(picture.height * SCALE)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
