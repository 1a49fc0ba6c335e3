"""`streamvitals top`: what an agent says, in a terminal and for scripts."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from run_support import environment, eventually, free_port
from served_support import Served
from store_support import LABELS
from streamvitals.agent import private_directory
from streamvitals.cli import main
from streamvitals.top import read, screen
from terminal_support import Screen, in_a_terminal


@pytest.fixture
def served() -> Iterator[Served]:
    fixture = Served()
    yield fixture
    fixture.close()


@pytest.fixture
def url(served: Served) -> str:
    return "http://{}:{}".format(*served.address)


def top(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(main, ["top", *arguments])


def test_it_prints_what_is_open(served: Served, url: str) -> None:
    served.store.open_slot(LABELS._replace(custom=(("tenant", "acme"),)), time.monotonic() - 90.0)
    done = top("--once", url)
    assert done.exit_code == 0
    assert "1 stream of gpt-4o-mini at api.example.com hangs" in done.output
    line = next(line for line in done.output.splitlines() if "acme" in line)
    assert line.split()[:3] == ["gpt-4o-mini", "api.example.com", "acme"]
    assert "stalled" in line


def test_json_is_what_the_api_says(served: Served, url: str) -> None:
    served.store.open_slot(LABELS, time.monotonic())
    done = top("--once", "--json", url.removeprefix("http://"), url + "/metrics")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["version"]) == (0, 1)
    assert [agent["url"] for agent in told["agents"]] == [url, url]
    assert [agent["streams"]["streams"][0]["model"] for agent in told["agents"]] == ["gpt-4o-mini"] * 2


def test_an_agent_that_cannot_be_asked_is_said_and_hides_no_other(served: Served, url: str) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    for arguments in (("--once",), ("--once", "--json")):
        done = top(*arguments, gone, url)
        assert done.exit_code == 1
        assert "no agent answers at" in done.output
        assert "No stream yet" in done.output


def test_without_a_url_it_finds_the_agents_of_this_machine(
    served: Served, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_directory, "urls", lambda _: [f"{url}/metrics"])
    done = top("--once", "--json")
    assert done.exit_code == 0
    assert [agent["url"] for agent in json.loads(done.stdout)["agents"]] == [url]


@pytest.mark.parametrize("arguments", [
    ("--json",), ("--once", "ftp://x"), ("--once", "http://"), ("--once", "http://me:secret@localhost:x"),
    ("--once", "--sort", "luck"),
])
def test_what_is_not_allowed(arguments: tuple[str, ...]) -> None:
    done = top(*arguments)
    assert done.exit_code == 2
    assert "Error: " in done.output
    assert "secret" not in done.output


def row(**facts: Any) -> dict[str, Any]:
    return {"url": "u", "id": "1", "model": "m", "server": "s", "labels": {}, "state": "streaming", "age": 1.0,
            "silence": 0.0, "chunks": 3, **facts}


@pytest.mark.parametrize(("sort", "first"), [
    ("state", "b"), ("age", "c"), ("chunks", "a"), ("silence", "b"), ("model", "a"),
])
def test_sorting(sort: str, first: str) -> None:
    rows = [row(model="c", age=9.0), row(model="b", state="stalled", silence=7.0), row(model="a", chunks=50)]
    assert min(rows, key=screen.SORTS[sort])["model"] == first


def test_a_trace_is_flat_where_nothing_came() -> None:
    assert screen.trace([0, 4, 0, 8], "streaming") == "─▄─█".rjust(screen.TRACE)
    assert screen.trace([4, 0, 0], "stalled") == "█━━".rjust(screen.TRACE)


def test_names_do_not_drive_the_terminal(served: Served, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = read.look([url])[0]
    hostile = row(model="\x1b[2J\u202e[bold]x[/bold]", labels={"tenant": "\x1b]0;y\x07"})
    for sent in (hostile, {**hostile, "state": "\x1b[2J"}):
        monkeypatch.setattr(read, "look", lambda *_, sent=sent: [
            told._replace(streams={**told.streams, "open": 1, "streams": [sent]})
        ])
        output = top("--once", url).output
        assert "\x1b[2J" not in output
        assert "\u202e" not in output
        assert "\x07" not in output
        assert "[bold]x" in output


def test_it_lives_in_a_terminal_and_obeys_keys(served: Served, url: str) -> None:
    served.store.open_slot(LABELS, time.monotonic())
    command = [sys.executable, "-m", "streamvitals", "top", url]
    with in_a_terminal(command, environment(TERM="xterm", COLUMNS="140", LINES="30")) as (pid, fd):
        shown = Screen(fd)
        eventually(lambda: shown.shows("gpt-4o-mini"))
        assert shown.shows("sorted by state")
        os.write(fd, b"s")
        eventually(lambda: shown.shows("sorted by age"))
        os.write(fd, b"q")
        done: list[int] = []

        def ended() -> bool:
            shown.shows("")
            found, status = os.waitpid(pid, os.WNOHANG)
            done.append(status)
            return bool(found)

        eventually(ended)
        assert os.waitstatus_to_exitcode(done[-1]) == 0


@pytest.mark.parametrize("streams", [
    {"version": 1}, {"version": 1, "headline": None, "streams": None}, {"version": 1, "streams": [1]},
    {"version": 1, "streams": [{"state": "waiting", "age": "old"}]},
])
def test_an_answer_that_is_none_of_ours_is_not_understood(streams: dict[str, Any]) -> None:
    seen = screen.understood(read.Seen("http://odd.example", streams, {}))
    assert seen.error.startswith("what http://odd.example answers is not understood")
