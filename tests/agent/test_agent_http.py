"""The agent's HTTP server: formats, and clients that are slow, many, or rude."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from run_support import eventually
from streamvitals import __version__
from streamvitals.agent import http as agent_http
from streamvitals.agent.http import AgentServer
from streamvitals.agent.metrics import of_registry
from streamvitals.incidents.page import IncidentsPage
from streamvitals.live.answers import Live
from streamvitals.store.snapshot import Snapshot
from streamvitals.stream.record import STALL_AFTER

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
        self.address = listener.getsockname()
        self._listener = listener
        health = {"status": "ok"}
        metrics = partial(of_registry, self.registry)
        live = Live(list, Snapshot, STALL_AFTER, IncidentsPage(lambda: ([], 0)))
        server = AgentServer(listener, metrics, lambda: health, self._tick, self.faults.append, 0.05, live)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=server.serve, args=(self._stop,))
        self._thread.start()

    def _tick(self) -> None:
        self.ticks += 1

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

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


@pytest.mark.parametrize("accepted", [
    "", "identity", "gzip;q=0", "gzip; q=0.000", "deflate, gzip ;q=0.0, br", "xgzip",
])
def test_no_gzip_for_who_cannot_read_it(served, accepted):
    answer, body = served.ask("/metrics", Accept_Encoding=accepted)
    assert answer.getheader("Content-Encoding") is None
    assert values(plain(body.decode())) == BOTH


@pytest.mark.parametrize("accept", [
    "application/openmetrics-text;version=x.y", "application/openmetrics-text;version=1e400", ";;;,,,=", "=",
    "application/openmetrics-text;version=99999999999999999999.0", "application/openmetrics-text;version=1_0",
    "text/plain;version=1.0.0;escaping=zzz", "application/openmetrics-text;version=\xff", "*/*;q=1e999", "\xb2",
    "application/openmetrics-text;version=1.0.0-rc1", "application/vnd.google.protobuf;proto=;encoding=",
])
def test_what_nobody_can_have_asked_for_is_answered_as_text_and_is_no_fault_of_ours(served, accept):
    answer, body = served.ask("/metrics", Accept=accept)
    assert answer.status == 200
    assert b"streamvitals_things_total 3.0" in body
    assert served.faults == []


@pytest.mark.parametrize("request_head", [
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + b"X-Long: " + b"x" * 65000,
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: 1\r\n" * 5000,
    b"GET /" + b"x" * 70000,
    b"GET /metrics HTTP/1.1\r\nX-Folded: a\r\n b\r\n" * 2000,
], ids=["one long", "many", "line", "folded"])
def test_more_than_a_request_may_say_is_refused(served, request_head):
    with contextlib.closing(socket.create_connection(served.address, timeout=60)) as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(request_head)
        with contextlib.suppress(ConnectionResetError):
            answer = client.recv(100)
            assert answer.split()[1:2] in ([b"400"], [b"431"], [b"414"])
    assert served.ask("/metrics")[0].status == 200
    assert served.faults == []


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
    ("GET", "/metricsx", 404), ("GET", "/../etc/passwd", 404), ("GET", "/[", 404),
])
def test_what_is_not_there(served, method, path, status):
    assert served.ask(path, method)[0].status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_what_may_be_asked_is_told_to_whoever_asks_otherwise(served, method):
    answer, _ = served.ask("/metrics", method)
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/api/v1/summary", "/", "", "/api/v1/streams?limit=5"])
def test_a_target_may_be_a_whole_url(served, path):
    """As from a client that takes the agent for its proxy: RFC 9112, 3.2.2."""
    answer, body = served.ask(f"HTTP://{served.address[0]}:{served.address[1]}{path}")
    assert answer.status == 200
    assert body


@pytest.mark.parametrize("path", ["streams?limt=5", "streams?limit=5&x", "summary?limit=5", "events?x=1"])
def test_a_parameter_that_is_not_known_is_said(served, path):
    answer, body = served.ask(f"/api/v1/{path}")
    assert answer.status == 400
    assert b"there is no parameter" in body


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
    monkeypatch.setattr(agent_http, "MOMENT", 0.1)
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(contextlib.closing(socket.create_connection(served.address)))
            for _ in range(agent_http.MAX_CONNECTIONS * 2)
        ]
        assert served.ask("/metrics")[0].status == 200
        for client in silent:
            client.setblocking(False)
        # No more are open at one time than there may be; who was let go reads the end.
        gone = sum(_is_closed(client) for client in silent)
        assert gone >= len(silent) - agent_http.MAX_CONNECTIONS
    assert served.faults == []
    assert threading.active_count() == before


def _is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


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


HOSTILE = """
import resource, socket, sys, threading
from functools import partial
from prometheus_client import CollectorRegistry, Counter
from streamvitals.agent import http
from streamvitals.agent.http import AgentServer
from streamvitals.agent.metrics import of_registry
from streamvitals.incidents.page import IncidentsPage
from streamvitals.live.answers import Live
from streamvitals.store.snapshot import Snapshot
from streamvitals.stream.record import STALL_AFTER

http.MOMENT = 0.1
registry = CollectorRegistry()
for family in range(100):
    counter = Counter(f"streamvitals_{family}", "Help.", ["label"], registry=registry)
    for label in range(30):
        counter.labels(f"{label:01400}")
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
stop = threading.Event()
metrics = partial(of_registry, registry)
live = Live(list, Snapshot, STALL_AFTER, IncidentsPage(lambda: ([], 0)))
server = AgentServer(listener, metrics, dict, lambda: None, lambda error: print(repr(error), flush=True), 0.05, live)
print(listener.getsockname()[1], flush=True)
thread = threading.Thread(target=server.serve, args=(stop,))
thread.start()
for line in sys.stdin:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
stop.set()
thread.join()
"""


def _hostile_client(port: int, number: int) -> None:
    """Says much, asks for much and reads nothing, or says nothing at all, and stays."""
    with contextlib.suppress(OSError), contextlib.closing(socket.create_connection(("127.0.0.1", port), 1)) as client:
        client.settimeout(1)
        if number % 3 == 0:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + (b"X: " + b"x" * 65000 + b"\r\n") * 98)
        elif number % 3 == 1:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(1)
        client.recv(1)


def test_a_thousand_hostile_clients_take_no_more_than_64_mib() -> None:
    """Of an answer of 4 MB, as with 50 label sets; memory of a process of its own, as its highest."""
    command = (sys.executable, "-c", HOSTILE)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())

        def peak() -> int:
            print("?", file=process.stdin, flush=True)
            return int(process.stdout.readline())  # type: ignore[union-attr]

        def scraped() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            with contextlib.closing(connection):
                connection.request("GET", "/metrics")
                return len(connection.getresponse().read())

        size = scraped()
        idle = peak()
        with ThreadPoolExecutor(100) as pool:
            for number in range(1000):
                pool.submit(_hostile_client, port, number)
        assert scraped() == size > 4_000_000
        taken = peak() - idle
        assert taken < 64 * 1024
        process.stdin.close()
