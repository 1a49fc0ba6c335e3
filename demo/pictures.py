"""Take the pictures of the live page and of `streamvitals top` in an incident: python -m demo.pictures

They are docs/live.png, live-dark.png, live-phone.png and live-detail.png, and docs/top.svg. Needs chromium and its
driver, Debian's chromium-driver.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from streamvitals.top import read
from streamvitals.top.screen import Screen

from . import browser as browsers
from .live import break_things, playing
from .picture import FORMAT, THEME

DOCS = Path(__file__).resolve().parents[1] / "docs"
# How long all is well, so that the course of the minutes is drawn, and how long the incident has gone on. Seconds.
BEFORE, INCIDENT = 130.0, 45.0


def main() -> None:
    """Play the incident, and take the pictures."""
    with playing() as (server, url), browsers.browsing(1440, 1230) as browser:
        browser.get(url)
        time.sleep(BEFORE)
        break_things(server)
        screen, drawn = Screen(), None
        until = time.monotonic() + INCIDENT
        while time.monotonic() < until:
            drawn = screen.draw(read.look([url]), "state", 30)
            time.sleep(0.5)
        for scheme, name in (("dark", "live-dark.png"), ("light", "live.png")):
            browsers.emulate(browser, prefers_color_scheme=scheme)
            _take(browser, name)
        browser.execute_script("document.querySelector('#incident-list button').click()")
        _take(browser, "live-detail.png")
        browser.execute_script("document.getElementById('detail').close()")
        browsers.resize(browser, 390, 844, mobile=True)
        _take(browser, "live-phone.png")
    console = Console(record=True, width=140, file=open("/dev/null", "w"))  # noqa: SIM115  for as long as we run
    console.print(drawn)
    console.save_svg(str(DOCS / "top.svg"), title="streamvitals top", theme=THEME, code_format=FORMAT)


def _take(browser: Any, name: str) -> None:
    time.sleep(1.0)  # until it is drawn anew
    browser.save_screenshot(str(DOCS / name))


if __name__ == "__main__":
    main()
