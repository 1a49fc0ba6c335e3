"""The live page's API over the agent's server, and viewers that are many, slow or gone."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from run_support import eventually
from served_support import Served
from store_support import LABELS
from streamvitals.agent import http as agent_http
from streamvitals.agent import viewers


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(viewers, "EVERY", 0.02)
    fixture = Served()
    yield fixture
    fixture.close()
    assert fixture.faults == []


def events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """The events of a stream, with what they say."""
    name = ""
    while line := answer.readline().decode():
        field, _, value = line.rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_events_follow_each_other(served: Served) -> None:
    served.store.open_slot(LABELS, 1.0)
    with served.view() as answer:
        assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
        found = events(answer)
        assert [next(found)[0] for _ in range(2)] == ["streams", "summary"], "at once"
        names = [next(found) for _ in range(2 * viewers.SUMMARY_AT)]
    assert [name for name, _ in names].count("summary") in (1, 2)
    assert all(told["open"] == 1 for name, told in names if name == "streams")


def test_nothing_is_sampled_while_nobody_looks(served: Served) -> None:
    assert served.looks == 0
    with served.view() as answer:
        next(events(answer))
    eventually(lambda: not served.viewers._writers)
    eventually(lambda: served.viewers._sending is None or served.viewers._sending.done())
    looks = served.looks
    assert looks > 0
    served.ask("/metrics")
    assert served.looks == looks


def test_viewers_are_bounded_and_keep_no_scrape_out(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(viewers.MOST):
            stack.enter_context(served.view())
        answer, body = served.ask("/api/v1/events")
        assert answer.status == 503
        assert answer.getheader("Retry-After") == "30"
        assert "error" in json.loads(body)
        assert served.ask("/metrics")[1] == b"metrics"
        assert served.ask("/api/v1/streams")[0].status == 200
    eventually(lambda: not served.viewers.full)
    with served.view() as answer:
        assert answer.status == 200


def test_where_connections_are_short_a_viewer_is_the_first_to_go(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_http, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(agent_http, "MOMENT", 0.0)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(served.view())
        for _ in range(5):
            assert served.ask("/metrics")[1] == b"metrics"
        assert len(served.viewers._writers) < 3


def test_a_viewer_that_does_not_read_is_dropped(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(40):
        served.store.open_slot(LABELS._replace(model=f"m{i}" + "x" * 100), 1.0)
    monkeypatch.setattr(viewers, "MOST_UNREAD", 20_000)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    slow.connect(served.address)
    with slow:
        slow.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: served.looks > 0)
        eventually(lambda: not served.viewers._writers)
    with served.view() as answer:
        assert next(events(answer))[1]["open"] == 40


def test_what_is_known_is_not_sent_again(served: Served) -> None:
    for path in ("/", "/page/palette.css"):
        answer, body = served.ask(path)
        assert (answer.status, bool(body)) == (200, True), path
        again, nothing = served.ask(path, If_None_Match=f'"x", {answer.getheader("ETag")}')
        assert (again.status, nothing, again.getheader("ETag")) == (304, b"", answer.getheader("ETag"))


def test_answers_to_browsers_are_safe(served: Served) -> None:
    for path in ("/", "/page/palette.css", "/api/v1/streams"):
        answer, _ = served.ask(path)
        policy = answer.getheader("Content-Security-Policy", "")
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("X-Frame-Options") == "DENY"
        assert answer.getheader("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize("path", [
    "/page/", "/page/../answers.py", "/page/..%2fanswers.py", "/page//etc/passwd", "/page/none.js", "/api/v1/", "//",
    "/index.html", "/api/v2/streams",
])
def test_there_is_nothing_else(served: Served, path: str) -> None:
    assert served.ask(path)[0].status == 404


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1e3", "٣", "9" * 400])
def test_a_limit_that_is_not_allowed(served: Served, limit: str) -> None:
    answer, body = served.ask("/api/v1/streams?limit=" + quote(limit))
    assert answer.status == 400
    assert "a whole number from 1 to 1000" in json.loads(body)["error"]


def test_large_answers_are_packed(served: Served) -> None:
    for i in range(50):
        served.store.open_slot(LABELS._replace(model=f"m{i}"), 1.0)
    answer, body = served.ask("/api/v1/streams?limit=1000", Accept_Encoding="gzip")
    assert answer.getheader("Content-Encoding") == "gzip"
    assert len(json.loads(gzip.decompress(body))["streams"]) == 50
    head, nothing = served.ask("/api/v1/events", "HEAD")
    assert (head.status, nothing) == (200, b"")
