"""Transport spans: what they tell, and that what goes over the wire stays what the app sent."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otlp_receiver import PATIENCE
from streamvitals.otel.traces import tracer_of

instrumentation = pytest.importorskip("opentelemetry.instrumentation.httpx")

from streamvitals.otel.http_spans import HttpSpans  # noqa: E402

if "httpx2" in {cls.__module__.partition(".")[0] for cls in openai.DefaultHttpxClient.__mro__}:
    httpx: Any = pytest.importorskip("httpx2")
    INSTRUMENTOR = getattr(instrumentation, "HTTPX2ClientInstrumentor", None)
else:
    httpx = pytest.importorskip("httpx")
    INSTRUMENTOR = instrumentation.HTTPXClientInstrumentor
pytestmark = pytest.mark.skipif(INSTRUMENTOR is None, reason="this version does not know the SDK's HTTP client")

CHUNK = (
    b'data: {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": '
    b'[{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
)
OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Secret: from the server\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(CHUNK), CHUNK)
)
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


class Wire:
    """A server that keeps what was sent to it, byte by byte, and answers with ``answers``, the last one again."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.answers = [OK]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if not self._converse(connection):
                    return

    def _converse(self, connection: socket.socket) -> bool:
        while True:
            data = b""
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                if not more:
                    return True
                data += more
                if data == b"stop":
                    return False
            head, _, body = data.partition(b"\r\n\r\n")
            length = next(
                (int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")), 0
            )
            while len(body) < length:
                body += connection.recv(65536)
            self.requests.append(head + b"\r\n\r\n" + body)
            connection.sendall(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"stop")
            self.thread.join()
        self._listener.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    it = Wire()
    yield it
    it.close()


class Traced:
    """A provider that keeps its spans, and the transport spans that go to it."""

    def __init__(self) -> None:
        self.memory = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.errors: list[str] = []
        self.spans_of = HttpSpans(tracer_of(self.provider), self.errors.append)

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.memory.get_finished_spans()


@pytest.fixture
def traced() -> Iterator[Traced]:
    it = Traced()
    yield it
    it.spans_of.remove()


def ask(url: str, prepare: Callable[[Any], object], **more: Any) -> Any:
    """One streamed call of a client of its own; returns the HTTP response."""
    with openai.OpenAI(api_key="sk-secret", base_url=url, **{"max_retries": 0, **more}) as client:
        prepare(client._client)
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        with stream:
            assert [chunk.choices[0].delta.content for chunk in stream] == ["hi"]
        return stream.response


def ask_async(url: str, prepare: Callable[[Any], object], **more: Any) -> Any:
    async def run() -> Any:
        async with openai.AsyncOpenAI(api_key="sk-secret", base_url=url, **{"max_retries": 0, **more}) as client:
            prepare(client._client)
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hello"}], stream=True
            )
            async with stream:
                assert [chunk.choices[0].delta.content async for chunk in stream] == ["hi"]
            return stream.response

    return asyncio.run(run())


ways = pytest.mark.parametrize("asking", [ask, ask_async], ids=["sync", "async"])


@contextmanager
def app_span(provider: TracerProvider) -> Iterator[trace.Span]:
    """The app is in a span of its own, and has baggage."""
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    with provider.get_tracer("app").start_as_current_span("app") as span:
        yield span
    context.detach(token)


@ways
def test_the_wire_carries_what_the_app_sent(asking: Any, wire: Wire, traced: Traced) -> None:
    with app_span(traced.provider):
        asking(wire.url, lambda client: None)
        response = asking(wire.url, traced.spans_of.instrument_http_client)
        asking(wire.url, INSTRUMENTOR().instrument_client)
    bare, ours, theirs = wire.requests
    assert ours == bare
    assert b"traceparent: " in theirs.lower(), "the instrumentation as it comes does change it"
    assert "traceparent" not in response.request.headers
    assert not traced.errors


@ways
def test_a_span_per_request_under_the_apps_own(asking: Any, wire: Wire, traced: Traced) -> None:
    wire.answers = [BUSY, OK]
    with app_span(traced.provider) as span:
        asking(wire.url, traced.spans_of.instrument_http_client, max_retries=1)
    busy, fine, app = traced.spans()
    assert app.context == span.get_span_context()
    assert busy.parent == fine.parent == app.context
    assert (busy.name, fine.name) == ("POST", "POST")
    assert (busy.status.status_code, fine.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    told = [dict(s.attributes or {}) for s in (busy, fine)]
    codes = [t.get("http.status_code", t.get("http.response.status_code")) for t in told]
    assert codes == [503, 200]


@ways
def test_no_secret_is_told(
    asking: Any, wire: Wire, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST", ".*")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE", ".*")
    started: list[dict[str, Any]] = []
    on_start = traced.provider._active_span_processor.on_start

    def watch(span: Any, parent_context: Any = None) -> None:
        started.append(dict(span.attributes))
        on_start(span, parent_context)

    monkeypatch.setattr(traced.provider._active_span_processor, "on_start", watch)
    url = wire.url.replace("http://", "http://user:hidden@")
    asking(url, traced.spans_of.instrument_http_client, default_query={"key": "hidden"})
    assert b"?key=hidden" in wire.requests[0]
    (span,) = traced.spans()
    told = {**(span.attributes or {}), **started[0]}
    full = told.get("http.url", told.get("url.full"))
    assert full == f"{wire.url}/chat/completions"
    everything = repr(told) + repr(span.events) + repr(span.status.description)
    for secret in ("hidden", "sk-secret", "from the server", "header"):
        assert secret not in everything


def test_a_failed_request_raises_what_it_raises_bare(traced: Traced) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    chains = []
    for prepare in (lambda client: None, traced.spans_of.instrument_http_client):
        with pytest.raises(openai.APIConnectionError) as caught:
            ask(url, prepare)
        chain, error = [], caught.value
        while error is not None:
            chain.append(type(error))
            error = error.__cause__ or error.__context__  # type: ignore[assignment]
        chains.append(chain)
    assert chains[0] == chains[1]
    (span,) = traced.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert (span.attributes or {})["error.type"] == "ConnectError"
    assert not span.events
    assert not traced.errors


def test_nothing_is_current_that_is_not_bare(wire: Wire, traced: Traced) -> None:
    seen: list[tuple[object, object]] = []

    class Watch(httpx.HTTPTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            seen.append((trace.get_current_span().get_span_context(), request.headers))
            return super().handle_request(request)

    sent: list[Any] = []
    with app_span(traced.provider) as span, httpx.Client(transport=Watch()) as http:
        http.event_hooks = {"request": [lambda request: sent.append(request.headers)]}
        ask(wire.url, traced.spans_of.instrument_http_client, http_client=http)
    ((current, headers),) = seen
    assert current == span.get_span_context()
    assert headers is sent[0], "the very object that the app's hooks were shown"
    assert len(traced.spans()) == 2


@ways
def test_a_header_of_the_apps_own_stays(asking: Any, wire: Wire, traced: Traced) -> None:
    own = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    with app_span(traced.provider):
        asking(wire.url, traced.spans_of.instrument_http_client, default_headers={"traceparent": own})
    assert f"traceparent: {own}".encode() in wire.requests[0]
    assert len(traced.spans()) == 2


def test_only_requests_of_the_sdk(wire: Wire, traced: Traced) -> None:
    with httpx.Client() as http:
        assert traced.spans_of.instrument_http_client(http)
        http.get(wire.url)
    assert not traced.spans()
    assert len(wire.requests) == 1


@ways
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_of_the_instrumentation_costs_the_span_only(
    asking: Any, when: str, wire: Wire, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError

    where = {"before": "inject", "after": "_extract_response"}[when]
    with app_span(traced.provider):
        asking(wire.url, lambda client: None)
        monkeypatch.setattr(instrumentation, where, broken)
        asking(wire.url, traced.spans_of.instrument_http_client)
    bare, ours = wire.requests
    assert ours == bare
    assert traced.errors == ["otel"]


def test_no_tracer_no_span(wire: Wire) -> None:
    ask(wire.url, HttpSpans(lambda: None).instrument_http_client)
    assert len(wire.requests) == 1


def test_a_client_is_instrumented_once_and_can_be_left_as_it_was(wire: Wire, traced: Traced) -> None:
    with openai.OpenAI(api_key="k", base_url=wire.url, max_retries=0) as client:
        before = dict(vars(client._client._transport))
        for _ in range(3):
            assert traced.spans_of.instrument_http_client(client._client)
        client.chat.completions.create(model="m", messages=[], stream=True).close()
        assert len(traced.spans()) == 1
        traced.spans_of.remove()
        assert vars(client._client._transport) == before
        client.chat.completions.create(model="m", messages=[], stream=True).close()
        assert len(traced.spans()) == 1


def test_a_dropped_client_goes_without_the_collector(traced: Traced) -> None:
    client = httpx.Client()
    traced.spans_of.instrument_http_client(client)
    gone = weakref.ref(client._transport)
    gc.disable()
    try:
        client.close()
        del client
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_app_that_traces_its_clients_itself_is_left_alone(when: str, wire: Wire, traced: Traced) -> None:
    if when == "after" and hasattr(instrumentation, "_InstrumentedClient"):
        pytest.skip("this version of the instrumentation reaches new clients only")
    theirs = Traced()
    assert INSTRUMENTOR is not None
    instrumentor = INSTRUMENTOR()
    if when == "before":
        instrumentor.instrument(tracer_provider=theirs.provider)
    try:
        with httpx.Client() as http, app_span(theirs.provider) as span:
            assert traced.spans_of.instrument_http_client(http) is (when == "after")
            if when == "after":
                instrumentor.instrument(tracer_provider=theirs.provider)
            ask(wire.url, lambda client: None, http_client=http)
        request, _ = theirs.spans()
        assert not traced.spans()
        assert request.parent == span.get_span_context()
        assert request.context is not None
        assert f"traceparent: 00-{request.context.trace_id:032x}".encode() in wire.requests[0]
    finally:
        instrumentor.uninstrument()


def test_a_client_that_is_none_of_ours(traced: Traced) -> None:
    assert not traced.spans_of.instrument_http_client(object())
    assert not traced.errors


def test_a_transport_that_takes_no_attributes(traced: Traced) -> None:
    class Slotted:
        __slots__ = ()

    with httpx.Client() as http:
        http._transport, kept = Slotted(), http._transport
        assert not traced.spans_of.instrument_http_client(http)
        http._transport = kept
    assert traced.errors == ["otel"]


def test_a_cancelled_request_is_no_error(traced: Traced) -> None:
    entered = asyncio.Event()

    class Slow(httpx.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            entered.set()
            await asyncio.Event().wait()

    async def run() -> None:
        async with httpx.AsyncClient(transport=Slow()) as http:
            traced.spans_of.instrument_http_client(http)
            request = httpx.Request("POST", "http://x.example", headers={"x-stainless-lang": "python"})
            task = asyncio.create_task(http.send(request))
            await asyncio.wait_for(entered.wait(), PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    (span,) = traced.spans()
    assert span.status.status_code is StatusCode.UNSET


def test_the_global_propagator_is_the_apps(traced: Traced) -> None:
    before = propagate.get_global_textmap()
    with httpx.Client() as http:
        traced.spans_of.instrument_http_client(http)
    assert propagate.get_global_textmap() is before
