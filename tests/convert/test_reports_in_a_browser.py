"""The reports of edge-train and edge-convert, on a phone and on a desk, in light and dark, for everybody."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from conftest import serious_obstacles

WIDTHS = {"phone": 360, "desk": 1200}


@pytest.fixture(params=WIDTHS)
def screen(request: pytest.FixtureRequest, browser: Any) -> Generator[Any, None, None]:
    size = {"width": WIDTHS[request.param], "height": 900, "deviceScaleFactor": 1, "mobile": request.param == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_reports_fit_the_screen_and_nothing_serious_keeps_anybody_from_reading_them(
    screen: Any, scheme: str, run_folder: Path, models: Path
) -> None:
    screen.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    for report in (run_folder / "report.html", models / "report.html"):
        screen.get(report.as_uri())
        screen.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
        width = screen.execute_script("return document.documentElement.scrollWidth")
        assert width <= screen.execute_script("return window.innerWidth"), report
        back = screen.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") == (scheme == "light")
        assert serious_obstacles(screen) == [], report
