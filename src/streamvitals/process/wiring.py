"""Wires one process's runtime: its store, its sinks, its spans."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ..config import Config
from ..config.problems import journal_is_said
from ..otel.trace_parent import capture_parent
from ..sinks.journal import JournalSink
from ..sinks.log import LogSink
from ..store.memory import HeapMemory, MappedMemory
from ..store.store import Store, StoreSink
from ..stream.record import Sink
from .problems import report, tell
from .runtime import Runtime

logger = logging.getLogger("streamvitals")


class Tracing(Protocol):
    """What otel/traces.py gives."""

    @property
    def sink(self) -> Any: ...

    @property
    def flush(self) -> Callable[..., bool]: ...

    @property
    def shutdown(self) -> Callable[..., bool]: ...

    @property
    def get_tracer(self) -> Callable[[], Any]: ...

    @property
    def hasten(self) -> Callable[[], None]: ...

    @property
    def begin_shutdown(self) -> Callable[[], None]: ...

    @property
    def prepare(self) -> Callable[[], object]: ...


TracingFactory = Callable[[], "Tracing | None"]


def build(
    config: Config, tracing: TracingFactory | None, sinks: Iterable[Sink], on_error: Callable[[str], None]
) -> Runtime:
    """Make a runtime. ``tracing`` makes the sink for spans, if there are to be any."""
    memory = MappedMemory(config.directory) if config.directory else HeapMemory()
    store = Store(memory)
    traced = tracing() if tracing is not None else None
    if traced is None:
        first: list[Sink] = [StoreSink(store)]
    else:
        # Before the store, which makes exemplars of the ids of the span that was just made.
        spans = traced.sink
        first = [spans, StoreSink(store, exemplars=not store.mapped, trace_ids=lambda _: spans.last)]
    if config.journal:
        first.append(JournalSink(config.journal, lambda: report(["journal"]), said=journal_is_said(config)))
    span_ids = (lambda: spans.last) if traced is not None else (lambda: None)
    log = LogSink(span_ids)
    runtime = Runtime(config, store, [*first, *sinks, log])
    tellers = [sink.tell_suppressed for sink in (*first, log) if isinstance(sink, (JournalSink, LogSink))]
    runtime.hasteners += tellers
    runtime.beginners_of_end += tellers
    if traced is not None:
        runtime.capture_parent = _prepared(traced)
        runtime.span_ids = span_ids
        runtime.hasteners.append(traced.hasten)
        runtime.flushers.append(traced.flush)
        runtime.beginners_of_end.append(traced.begin_shutdown)
        runtime.enders.append(traced.shutdown)
        if config.http_spans:
            _add_http_spans(runtime, traced, on_error)
    return runtime


def _prepared(traced: Tracing) -> Callable[[], object | None]:
    prepare = traced.prepare

    def capture() -> object | None:
        prepare()
        return capture_parent()

    return capture


def _add_http_spans(runtime: Runtime, traced: Tracing, on_error: Callable[[str], None]) -> None:
    """Transport spans, where their package is installed; without it there are the others."""
    try:
        from ..otel.http_spans import HttpSpans

        spans = HttpSpans(traced.get_tracer, on_error)
    except ImportError as error:
        mend = "pip install 'streamvitals[http-spans]' there"
        logger.warning("no HTTP spans: %s is not installed in the app's environment -> %s", error.name, mend)
        return
    runtime.trace_http_client = spans.instrument_http_client
    runtime.at_stop.append(spans.remove)


def start_tracing(config: Config, provider: Any, on_error: Callable[[str], None]) -> Tracing | None:
    """The span pipeline: the given provider, the app's global one, or our own if OTLP is asked for.

    None where OpenTelemetry is not installed and not asked for; raises ImportError where it is asked for.
    """
    try:
        from ..otel import traces
    except ImportError:
        if config.otlp_traces or provider is not None:
            raise
        return None
    return traces.start_tracing(config, provider=provider, on_error=on_error)


def start_tracing_if_possible(
    config: Config, provider: Any, on_error: Callable[[str], None], said: list[str]
) -> Tracing | None:
    """``start_tracing``; without spans, and a word, where the environment does not allow what it asks for."""
    try:
        return start_tracing(config, provider, on_error)
    except ImportError as error:
        if provider is not None:
            raise
        tell(said, "spans", f"no spans: {error.name} is not installed in the app's environment -> "
                            "pip install 'streamvitals[otlp]' there")
    except Exception as error:  # the exporter raises at bad values of the standard variables
        if provider is not None:
            raise
        what = f"no spans: OpenTelemetry's exporter raises {type(error).__name__}"
        tell(said, "spans", f"{what} -> check the OTEL_ variables")
    return None
