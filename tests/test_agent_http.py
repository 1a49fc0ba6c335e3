"""The agent's HTTP server: formats, and clients that are slow, many, or rude."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from run_support import eventually
from streamvitals import __version__
from streamvitals.agent import http as agent_http
from streamvitals.agent.http import AgentServer

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Broken:
    """A collector that fails."""

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        raise LookupError("a secret")


class Fixture:
    """A server in a thread, and what it told the agent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        Counter("streamvitals_things", "Things.", registry=self.registry).inc(3)
        Counter("streamvitals_others", "Others.", registry=self.registry).inc(2)
        self.faults: list[BaseException] = []
        self.ticks = 0
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.05)
        self.address = listener.getsockname()
        self.server = AgentServer(listener, self.registry, lambda: {"status": "ok"}, self._tick, self.faults.append)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _tick(self) -> None:
        self.ticks += 1

    def _run(self) -> None:
        while not self._stop.is_set():
            self.server.handle_request()
            self.server.service_actions()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.server.server_close()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer, answer.read()


@pytest.fixture
def served() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    fixture.close()


def values(families: Any) -> dict[str, float]:
    return {s.name: s.value for family in families for s in family.samples if not s.name.endswith("_created")}


BOTH = {"streamvitals_things_total": 3.0, "streamvitals_others_total": 2.0}


def test_text(served):
    answer, body = served.ask("/metrics")
    assert answer.status == 200
    assert answer.getheader("Content-Type", "").startswith("text/plain; version=")
    assert values(plain(body.decode())) == BOTH


def test_openmetrics(served):
    answer, body = served.ask("/metrics", Accept=OPENMETRICS)
    assert answer.getheader("Content-Type", "").startswith("application/openmetrics-text")
    assert values(openmetrics(body.decode())) == BOTH
    assert body.endswith(b"# EOF\n")


def test_gzip(served):
    answer, body = served.ask("/metrics", Accept_Encoding="deflate, gzip;q=0.9")
    assert answer.getheader("Content-Encoding") == "gzip"
    assert values(plain(gzip.decompress(body).decode())) == BOTH


def test_chosen_names(served):
    _, body = served.ask("/metrics?name[]=streamvitals_others_total")
    assert values(plain(body.decode())) == {"streamvitals_others_total": 2.0}


def test_health(served):
    answer, body = served.ask("/healthz")
    assert (answer.status, json.loads(body)) == (200, {"status": "ok"})
    assert answer.getheader("Server") == f"streamvitals/{__version__}"


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nowhere"])
def test_head(served, path):
    whole, body = served.ask(path)
    answer, nothing = served.ask(path, "HEAD")
    assert answer.status == whole.status
    assert nothing == b""
    if path == "/healthz":
        assert answer.getheader("Content-Length") == str(len(body))


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/", 404), ("GET", "/metricsx", 404), ("GET", "/../etc/passwd", 404), ("POST", "/metrics", 501),
    ("GET", "/[", 404),
])
def test_what_is_not_there(served, method, path, status):
    assert served.ask(path, method)[0].status == status


def test_fault_is_told_and_survived(served):
    broken = Broken()
    served.registry.register(broken)
    answer, body = served.ask("/metrics")
    assert answer.status == 500
    assert b"secret" not in body
    assert [type(fault) for fault in served.faults] == [LookupError]
    served.registry.unregister(broken)
    assert served.ask("/metrics")[0].status == 200


def test_silent_clients_hold_up_nobody(served, monkeypatch):
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(agent_http.MAX_CONNECTIONS * 2):
            stack.enter_context(contextlib.closing(socket.create_connection(served.address)))
        assert served.ask("/metrics")[0].status == 200
        # A client that is let go leaves its thread a moment later.
        eventually(lambda: threading.active_count() <= before + agent_http.MAX_CONNECTIONS)
    assert served.faults == []


def test_slow_clients_are_let_go(served, monkeypatch):
    """One that sends a byte now and then, so that no single wait is long."""
    monkeypatch.setattr(agent_http, "MAX_SECONDS", 0.5)
    with contextlib.closing(socket.create_connection(served.address)) as slow:
        slow.sendall(b"GET /metrics HTTP/1.0\r\nX-Slow: ")

        def let_go() -> bool:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                slow.sendall(b"x")
                return False
            return True

        eventually(let_go)
    assert served.ask("/metrics")[0].status == 200


def test_clients_that_hang_up(served):
    for text in (b"", b"GET /met", b"GET /metrics HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00", b"x" * 70000):
        with contextlib.suppress(OSError), contextlib.closing(socket.create_connection(served.address)) as rude:
            rude.sendall(text)
    assert served.ask("/metrics")[0].status == 200
    assert served.faults == []


def test_ticks_go_on(served):
    before = served.ticks
    eventually(lambda: served.ticks > before + 2)
    assert time.monotonic() > 0
