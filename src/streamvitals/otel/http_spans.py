"""Transport spans by opentelemetry-instrumentation-httpx for the SDK's HTTP client, made safe; an opt-in.

By itself, that instrumentation overwrites the app's ``traceparent``, and exports URLs with their query, headers if a
variable asks for them, and messages of exceptions. Here it runs between two shims of ours:

    client -> _Outer -> its transport class -> _Inner -> the client's transport, as it was

The outer shim saves the request's headers and the inner one restores them, so that the request on the wire is the
app's. If the instrumentation fails, the request is made without a span. Its tracer is one of ours, which exports only
what is safe and makes no span current. Only requests of the SDK get spans.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
)

from .trace_parent import TracerSource

OnError = Callable[[str], None]

# Where the transport classes are found, by the package that a client's class comes from.
_TRANSPORTS = {
    "httpx": ("SyncOpenTelemetryTransport", "AsyncOpenTelemetryTransport"),
    "httpx2": ("SyncOpenTelemetryTransportHttpx2", "AsyncOpenTelemetryTransportHttpx2"),
}
_METHODS = ("handle_request", "handle_async_request")
_SDK_HEADER = "x-stainless-lang"


class HttpSpans:
    """Transport spans for any number of clients; ``on_error("otel")`` is called for each fault in making them.

    Raises ImportError where opentelemetry-instrumentation-httpx is not installed.
    """

    def __init__(self, get_tracer: TracerSource, on_error: OnError | None = None) -> None:
        self._instrumentation: Any = import_module("opentelemetry.instrumentation.httpx")
        self._provider = _Provider(get_tracer)
        self._on_error = on_error
        self._outers: weakref.WeakKeyDictionary[Any, list[_Outer]] = weakref.WeakKeyDictionary()

    def instrument_http_client(self, client: Any) -> bool:
        """Trace the requests that the SDK makes with this HTTP client (an SDK client's ``_client``).

        Cheap when the client is known already; never raises. False for a client that cannot be traced: it is not
        httpx's or httpx2's, the instrumentation does not support httpx2, or the app traces it itself.
        """
        classes = self._classes(client)
        if classes is None:
            return False
        try:
            transports = [client._transport, *client._mounts.values()]
            done = [self._instrument(t, classes) for t in transports if t is not None]
        except Exception:  # noqa: BLE001 - the app's client works without spans
            if self._on_error is not None:
                self._on_error("otel")
            return False
        return all(done)

    def remove(self) -> None:
        """Restore all clients. If another wrapper is around ours, ours stays underneath and does nothing."""
        for transport, outers in tuple(self._outers.items()):
            for outer in outers:
                outer.active = False
                if vars(transport).get(outer.method) is outer:
                    delattr(transport, outer.method)
        self._outers.clear()

    def _instrument(self, transport: Any, classes: list[Any]) -> bool:
        if transport in self._outers:
            return True
        if _is_traced(type(transport)) or any(method in vars(transport) for method in _METHODS):
            return False
        outers: list[_Outer] = []
        for method, traced_by, kind in zip(_METHODS, classes, (_SyncOuter, _AsyncOuter), strict=True):
            if hasattr(transport, method):
                outer = kind(transport, method, self._on_error)
                outer.traced = getattr(self._wrap(traced_by, outer.inner), method)
                outers.append(outer)
        for outer in outers:
            setattr(transport, outer.method, outer)
        self._outers[transport] = outers
        return True

    def _classes(self, client: Any) -> list[Any] | None:
        packages = {cls.__module__.partition(".")[0] for cls in type(client).__mro__}
        for package, names in _TRANSPORTS.items():
            if package in packages and all(hasattr(self._instrumentation, name) for name in names):
                return [getattr(self._instrumentation, name) for name in names]
        return None

    def _wrap(self, traced_by: Any, inner: _Inner) -> Any:
        more: dict[str, Any] = {}
        if "meter_provider" in inspect.signature(traced_by.__init__).parameters:
            # The user asked for spans and not for metrics.
            more["meter_provider"] = NoOpMeterProvider()
        return traced_by(inner, tracer_provider=self._provider, **more)


def _is_traced(transport_class: type) -> bool:
    """Whether the app's own instrumentation traces a class: it has patched its method, or has made the class."""
    if transport_class.__module__.startswith("opentelemetry."):
        return True
    return any(hasattr(getattr(transport_class, m, None), "__wrapped__") for m in _METHODS)


class _Call:
    """One request on its way through the instrumentation."""

    def __init__(self, headers: Any) -> None:
        self.headers = headers
        self.sent = False
        self.response: Any = None


_call: ContextVar[_Call | None] = ContextVar("streamvitals_http_call", default=None)


class _Inner:
    """Takes the place of the client's transport below the instrumentation."""

    def __init__(self, plain: Callable[[Any], Any]) -> None:
        self._plain = plain

    def handle_request(self, request: Any) -> Any:
        call = _call.get()
        self._restore(call, request)
        response = self._plain(request)
        if call is not None:
            call.response = response
        return response

    async def handle_async_request(self, request: Any) -> Any:
        call = _call.get()
        self._restore(call, request)
        response = await self._plain(request)
        if call is not None:
            call.response = response
        return response

    def _restore(self, call: _Call | None, request: Any) -> None:
        if call is not None:
            request.headers = call.headers
            call.sent = True


class _Outer:
    """Replaces a transport's method, as an attribute of the transport.

    Holds the transport weakly, since a cycle would keep its connections open until a garbage collection.
    """

    traced: Callable[[Any], Any]

    def __init__(self, transport: Any, method: str, on_error: OnError | None) -> None:
        self.active = True
        self.method = method
        self._transport = weakref.ref(transport)
        self._on_error = on_error
        self.inner = _Inner(self._plain)

    def _plain(self, request: Any) -> Any:
        transport = self._transport()
        # Looked up at each call: the app may have instrumented the class since.
        return getattr(type(transport), self.method)(transport, request)

    def _wanted(self, request: Any) -> bool:
        return self.active and _SDK_HEADER in request.headers and not _is_traced(type(self._transport()))

    def _rescued(self, call: _Call) -> Any:
        """The response, if the transport returned one: then the instrumentation has raised."""
        if (call.response is not None or not call.sent) and self._on_error is not None:
            self._on_error("otel")
        return call.response


class _SyncOuter(_Outer):
    def __call__(self, request: Any) -> Any:
        if not self._wanted(request):
            return self._plain(request)
        call = _Call(request.headers)
        token = _call.set(call)
        try:
            return self.traced(request)
        except Exception:
            response = self._rescued(call)
            if response is None and call.sent:
                raise
        finally:
            _call.reset(token)
        if response is None:
            request.headers = call.headers
            response = self._plain(request)
        return response


class _AsyncOuter(_Outer):
    async def __call__(self, request: Any) -> Any:
        if not self._wanted(request):
            return await self._plain(request)
        call = _Call(request.headers)
        token = _call.set(call)
        try:
            return await self.traced(request)
        except Exception:
            response = self._rescued(call)
            if response is None and call.sent:
                raise
        finally:
            _call.reset(token)
        if response is None:
            request.headers = call.headers
            response = await self._plain(request)
        return response


class _Provider(TracerProvider):
    """Gives the instrumentation a tracer that exports only what is safe."""

    def __init__(self, get_tracer: TracerSource) -> None:
        self._get_tracer = get_tracer

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        return _SafeTracer(self._get_tracer)


class _SafeTracer(Tracer):
    def __init__(self, get_tracer: TracerSource) -> None:
        self._get_tracer = get_tracer

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        tracer = self._get_tracer()
        if tracer is None:
            return INVALID_SPAN
        span = tracer.start_span(
            name, context, kind, _safe(attributes or {}), links, start_time,
            record_exception=False, set_status_on_exception=False,
        )
        return _SafeSpan(span)

    # A Tracer's own method is usable as a decorator too, which is not needed here.
    @contextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Iterator[Span]:  # type: ignore[override]
        span = self.start_span(*args, **kwargs)
        try:
            yield span
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", type(error).__qualname__)
            raise
        finally:
            span.end()


def _safe(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_query(value) if key in ("http.url", "url.full", "http.target") else value
        for key, value in attributes.items()
        if not key.startswith(("http.request.header.", "http.response.header.", "url.query"))
    }


def _without_query(url: str) -> str:
    scheme, netloc, path, _, _ = urlsplit(str(url))
    return urlunsplit((scheme, netloc.rpartition("@")[2], path, "", ""))


class _SafeSpan(Span):
    """A span that keeps only what is safe to export: no headers, no messages of exceptions."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def get_span_context(self) -> SpanContext:
        return self._span.get_span_context()

    def is_recording(self) -> bool:
        return self._span.is_recording()

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._span.set_attributes(_safe(attributes))

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    def update_name(self, name: str) -> None:
        self._span.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        code = status.status_code if isinstance(status, Status) else status
        if code is StatusCode.ERROR:
            self._span.set_status(code)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Drop the event: the events of this instrumentation are exceptions."""

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Drop the exception: its message may contain text from the server."""

    def end(self, end_time: int | None = None) -> None:
        self._span.end(end_time)
