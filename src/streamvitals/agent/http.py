"""The agent's HTTP server: /metrics and /healthz, for clients that may be slow, many, or gone."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .._version import __version__

# A client that has not been answered by then is let go. Seconds.
MAX_SECONDS = 10.0
# At one time; the oldest is let go for one more.
MAX_CONNECTIONS = 32
TEXT = "text/plain; charset=utf-8"


class AgentServer(ThreadingHTTPServer):
    """Serves on a socket that is listening already. ``tick`` is called about twice a second."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        listener: socket.socket,
        registry: CollectorRegistry,
        health: Callable[[], Mapping[str, object]],
        tick: Callable[[], None],
        on_fault: Callable[[BaseException], None],
    ) -> None:
        super().__init__(listener.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.registry = registry
        self.health = health
        self.on_fault = on_fault
        self._tick = tick
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each client, of a bounded number of clients."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                _let_go(min(self._open, key=self._open.__getitem__))
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The client's thread is done with it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Between two requests: let go of who is too slow."""
        now = time.monotonic()
        with self._lock:
            for request, since in self._open.items():
                if now - since > MAX_SECONDS:
                    _let_go(request)
        self._tick()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no fault; there is no terminal to print others to."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.on_fault(error)


class Answer(NamedTuple):
    """What a client is told."""

    status: int
    content_type: str
    body: bytes
    encoding: str = ""


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of /metrics and /healthz."""

    server: AgentServer
    timeout = MAX_SECONDS

    def do_GET(self) -> None:
        """Answer; faults of ours are a 500 and are told to the agent."""
        try:
            answer = self._find()
        except Exception as error:  # noqa: BLE001  the agent goes on serving
            self.server.on_fault(error)
            answer = Answer(500, TEXT, b"a fault of the agent; see its log\n")
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        if answer.encoding:
            self.send_header("Content-Encoding", answer.encoding)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET

    def version_string(self) -> str:
        """For the header `Server`."""
        return f"streamvitals/{__version__}"

    def _find(self) -> Answer:
        path, _, query = self.path.partition("?")
        if path == "/metrics":
            return self._metrics(parse_qs(query).get("name[]", []))
        if path == "/healthz":
            body = json.dumps(self.server.health(), indent=2).encode() + b"\n"
            return Answer(200, "application/json; charset=utf-8", body)
        return Answer(404, TEXT, b"/metrics and /healthz are here\n")

    def _metrics(self, names: list[str]) -> Answer:
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        registry: Any = self.server.registry
        body = encode(registry.restricted_registry(names) if names else registry)
        accepted = self.headers.get("Accept-Encoding", "").split(",")
        if any(a.split(";")[0].strip() == "gzip" for a in accepted):
            return Answer(200, content_type, gzip.compress(body, compresslevel=1), "gzip")
        return Answer(200, content_type, body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads an access log of scrapes."""


def _let_go(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
