"""A tiny OTLP/HTTP receiver on a real socket, which decodes what it is sent; not named test_*."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATIENCE = 30.0  # how long a test waits for what must come; it fails by this, never passes by it


def plain(value: Any) -> Any:
    """An AnyValue as a Python value."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(plain(v) for v in value.array_value.values)
    return getattr(value, kind)


def attributes(holder: Any) -> dict[str, Any]:
    """The attributes of a span, event, link, data point or resource."""
    return {a.key: plain(a.value) for a in holder.attributes}


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    message: Any


@dataclass
class Receiver:
    """What was sent to it so far. ``status`` is answered; ``hang`` keeps every answer back until it is set; until then
    ``drip`` sends of it what never ends.
    ``rejected``: of so many of a request's items it says that it does not take them, in JSON if ``json``."""

    status: int = 200
    rejected: int = 0
    json: bool = False
    requests: list[Received] = field(default_factory=list)
    attempts: int = 0
    port: int = 0
    hang: threading.Event | None = None
    drip: bytes = b""
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, received: Received) -> None:
        with self.changed:
            self.attempts += 1
            if self.status == 200:
                self.requests.append(received)
            self.changed.notify_all()

    def wait_for(self, condition: Any) -> None:
        """Wait until ``condition(self)`` is true."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), PATIENCE), self.requests

    def resources(self) -> list[dict[str, Any]]:
        return [
            attributes(part.resource)
            for r in tuple(self.requests)
            for part in getattr(r.message, f"resource_{_PARTS[r.path]}")
        ]

    def spans(self) -> list[Any]:
        return [
            span
            for r in tuple(self.requests)
            if r.path == "/v1/traces"
            for resource in r.message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def logs(self) -> list[Any]:
        return [
            record
            for r in tuple(self.requests)
            if r.path == "/v1/logs"
            for resource in r.message.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def metrics(self, request: int = -1) -> dict[str, Any]:
        """The metrics of one request, by name; a name that comes twice fails."""
        message = [r for r in tuple(self.requests) if r.path == "/v1/metrics"][request].message
        found: dict[str, Any] = {}
        for resource in message.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    assert metric.name not in found
                    found[metric.name] = metric
        return found


_KINDS: dict[str, tuple[Any, Any]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}


_PARTS = {"/v1/traces": "spans", "/v1/metrics": "metrics", "/v1/logs": "logs"}
_REJECTED = {
    "/v1/traces": "rejected_spans", "/v1/metrics": "rejected_data_points", "/v1/logs": "rejected_log_records",
}


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            encoding = self.headers.get("Content-Encoding", "")
            body = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(encoding, bytes)(body)
            request, response = _KINDS[self.path]
            message = request.FromString(body)
            headers = {k.lower(): v for k, v in self.headers.items()}
            receiver.add(Received(self.path, headers, message))
            if receiver.hang is not None:
                self.wfile.write(receiver.drip[:-1])
                while not receiver.hang.wait(0.05):
                    self.wfile.write(receiver.drip[-1:])
            told = response()
            items = _REJECTED[self.path]
            setattr(told.partial_success, items, receiver.rejected)
            answer = MessageToJson(told).encode() if receiver.json else told.SerializeToString()
            self.send_response(receiver.status)
            self.send_header("Content-Type", f"application/{'json' if receiver.json else 'x-protobuf'}")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not the receiver's trouble."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that listens on the loopback interface for as long as the block runs."""
    state = Receiver()
    server = _Server(("127.0.0.1", 0), _handler(state))
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        if state.hang is not None:
            state.hang.set()
        server.shutdown()
        server.server_close()
        thread.join()
