"""The live page in a real browser: one session in which an app streams, a model falls silent, and another is reset."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from demo import browser as browsers
from demo.live import break_things, playing
from run_support import eventually, get
from streamvitals.faults import ThreadedFaultServer

pytestmark = [
    pytest.mark.skipif(not (browsers.CHROMIUM and browsers.DRIVER), reason="needs chromium and chromium-driver"),
    pytest.mark.xdist_group("live"),
]
AXE = Path(__file__).with_name("axe")
STALL = 2.0
HOSTILE = ("<script>window.hurt=1</script><img src=x onerror=window.hurt=1>", "\u202eetirw ot thgir", "x" * 10_000)
# Kept for each sample that the page was sent: what it then showed.
WATCH = """
window.seen = [];
const parse = JSON.parse;
JSON.parse = (text) => {
  const told = parse(text);
  if (told.streams) queueMicrotask(() => {
    const rows = [...document.querySelectorAll("#streams tr")];
    window.seen.push({streams: told.streams, shown: rows.map((row) => ({
      id: row.dataset.id, state: row.dataset.state, chunks: row.querySelector(".chunks").textContent,
    }))});
    window.seen = window.seen.slice(-200);
  });
  return told;
};
"""


class Page(NamedTuple):
    """The session: a browser with the page, and the provider that its app asks."""

    browser: Any
    server: ThreadedFaultServer
    url: str

    def run(self, code: str, *arguments: Any) -> Any:
        return self.browser.execute_script(code, *arguments)

    def texts(self, selector: str) -> list[str]:
        return list(self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector))

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.browser.execute_cdp_cmd("Input.dispatchKeyEvent", {
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
                **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}),
            })

    def focus(self) -> str:
        return str(self.run("const e = document.activeElement; return e.id || e.className || e.name || e.tagName"))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    users = {"gpt-4o": 3, "o4-mini": 2, **dict.fromkeys(HOSTILE, 1)}
    with playing(users, STREAMVITALS_STALL_SECONDS=f"{STALL:g}") as (server, url), browsers.browsing() as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        browser.get(url)
        yield Page(browser, server, url)


def test_streams_beat_with_their_chunks(page: Page) -> None:
    """What is shown is what was sent, and goes on."""
    def beats() -> bool:
        chunks = [{row["id"]: int(row["chunks"]) for row in one["shown"]} for one in page.run("return window.seen")]
        return any(later.get(name, 0) > count for now, later in itertools.pairwise(chunks)
                   for name, count in now.items())

    eventually(beats, "a beat")
    for one in page.run("return window.seen")[1:]:
        told = {stream["id"]: (stream["state"], f"{stream['chunks']:,}") for stream in one["streams"]}
        assert {row["id"]: (row["state"], row["chunks"]) for row in one["shown"]} == told
    drawn = """
        return [...document.querySelectorAll("#streams canvas")].some((canvas) => canvas.width
          && canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value))
    """
    eventually(lambda: page.run(drawn), "a trace")


def test_what_is_counted_is_drawn(page: Page) -> None:
    eventually(lambda: page.texts("#figures dd"), "figures")
    eventually(lambda: page.texts("#first-distribution svg"), "a distribution")
    assert page.texts("#figures dt")[:4] == ["Open", "Stalled", "Ended", "Users felt"]
    assert page.texts("#connection") == ["live"]


def test_a_stall_turns_red_within_its_threshold_and_a_second(page: Page) -> None:
    """By the samples' own times: the first sample past the threshold is red, and none before it."""
    break_things(page.server)
    eventually(lambda: "stalled" in str(page.run("return window.seen.at(-1).shown.map((row) => row.state)")), "a stall")
    eventually(lambda: page.run("return document.getElementById('headline').dataset.level") in ("warn", "bad"))
    red = 0
    for one in page.run("return window.seen")[1:]:
        shown = {row["id"]: row["state"] for row in one["shown"]}
        for stream in one["streams"]:
            if stream["chunks"] and shown[stream["id"]] != "waiting":
                assert (shown[stream["id"]] == "stalled") == (stream["silence"] > STALL), stream
                red += stream["silence"] > STALL
    assert red
    assert page.run("return document.querySelector('#streams tr').dataset.state") == "stalled", "the first line"
    assert page.texts("#verdict")[0].split(":")[0].endswith(("hang", "hangs"))


def test_incidents_are_filtered_and_told(page: Page) -> None:
    eventually(lambda: page.texts("#incident-list li"), "an incident")
    outcomes = {text.split()[0] for text in page.texts("#incident-list strong")}
    assert "reset" in outcomes
    page.run("""
        const select = document.querySelector('#filters select[name=outcome]');
        select.value = 'reset'; select.dispatchEvent(new Event('change'));
    """)
    assert set(page.texts("#incident-list strong")) == {"reset"}
    assert page.run("return location.hash") == "#outcome=reset"
    page.run("location.hash = '#outcome=reset&model=none'")
    eventually(lambda: not page.texts("#incident-list li"), "nothing")
    page.run("location.hash = '#outcome=reset'")
    eventually(lambda: page.texts("#incident-list li"), "the incident again")
    page.run("document.querySelector('#incident-list button').click()")
    assert page.run("return document.getElementById('detail').open")
    (sentence,) = page.texts("#detail-title")
    assert sentence == page.texts("#incident-list .what")[0]
    assert page.texts("#detail .next")[0].startswith("Look next: ")
    steps = page.texts("#detail ol li")
    assert any("request" in step for step in steps)
    assert "reset: the end" in steps[-1]
    assert page.run("return document.querySelectorAll('#detail svg .bar').length") > 0
    page.press("Escape", 27)
    eventually(lambda: not page.run("return document.getElementById('detail').open"))


def test_everything_is_reached_with_the_keyboard(page: Page) -> None:
    page.run("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    page.run("document.querySelector('.skip').focus()")
    reached = []
    for _ in range(30):
        page.press("Tab", 9)
        reached.append(page.run("const e = document.activeElement; return e.closest('#incident-list') ? 'incident' : "
                                "e.closest('#filters') ? 'filter' : e.id || e.tagName"))
        if reached[-1] == "incident":
            break
    assert next(name for name in reached if name in ("pulse", "filter", "incident")) == "pulse"
    assert {"pulse", "filter", "incident"} <= set(reached)
    page.press("Enter", 13)
    eventually(lambda: page.run("return document.getElementById('detail').open"), "the detail")
    assert page.run("return document.getElementById('detail').contains(document.activeElement)")
    page.press("Escape", 27)
    eventually(lambda: not page.run("return document.getElementById('detail').open"))
    assert page.run("return Boolean(document.activeElement.closest('#incident-list'))"), "where it was before"


@pytest.mark.parametrize("width", [320, 390])
def test_it_fits_a_phone(page: Page, width: int) -> None:
    browsers.resize(page.browser, width, 800, mobile=True)
    try:
        wide = """
            return [...document.querySelectorAll("body *")].filter((e) => !e.closest("svg, dialog, .scroll, thead")
              && e.getBoundingClientRect().right > innerWidth + 1 && e.getBoundingClientRect().width > 0)
              .map((e) => e.outerHTML.slice(0, 80))
        """
        eventually(lambda: page.run("return document.scrollingElement.clientWidth") == width or page.run(wide))
        assert page.run(wide) == []
        assert page.run("return document.scrollingElement.scrollWidth") <= width
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_names_are_names(page: Page) -> None:
    assert page.run("return window.hurt") is None
    names = page.texts("#models th .name")
    assert any("<script>" in name for name in names)
    assert any("x" * 100 in name for name in names)
    assert page.run("return document.querySelectorAll('main script, main img').length") == 0


@pytest.fixture(scope="module")
def axe() -> str:
    script = AXE / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            subprocess.run(command, cwd=AXE, check=True, capture_output=True, timeout=300)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"needs npm: {error}")
    return script.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(page: Page, axe: str, scheme: str) -> None:
    browsers.emulate(page.browser, prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    page.run(axe)
    for opened in (False, True):
        if opened:
            page.run("document.querySelector('#incident-list button').click()")
        found = page.browser.execute_async_script("""
            axe.run(document, {resultTypes: ["violations"]}).then((found) => arguments[0](found.violations.map((one) =>
              [one.impact, one.id, one.nodes.map((node) => node.html.slice(0, 160) + " " + node.failureSummary)])))
        """)
        assert [one for one in found if one[0] in ("serious", "critical")] == []
    page.run("document.getElementById('detail').close()")
    browsers.emulate(page.browser)


def test_nothing_is_asked_of_anybody_else_and_nothing_fails(page: Page) -> None:
    asked = [
        message["params"]["request"]["url"]
        for message in (json.loads(one["message"])["message"] for one in page.browser.get_log("performance"))
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert asked
    assert [url for url in asked if not url.startswith(page.url)] == []
    assert [one for one in page.browser.get_log("browser") if one["level"] != "INFO"] == []


def test_when_the_agent_has_gone_the_page_says_so(page: Page) -> None:
    """The last test of the session: it ends the agent."""
    page.run("window.before = document.querySelectorAll('#models tbody tr').length")
    agent = json.loads(get(page.url + "healthz"))["agent_pid"]
    os.kill(agent, signal.SIGKILL)
    eventually(lambda: page.run("return document.getElementById('connection').dataset.state") == "lost")
    assert "what was at" in page.texts("#connection")[0]
    assert page.run("return document.querySelectorAll('#models tbody tr').length") == page.run("return window.before")
