"""Wires one process's runtime: its store, its sinks, its spans."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from ..config import Config, install
from ..sinks.incidents import IncidentSink
from ..sinks.log import LogSink
from ..store.labels import Limits
from ..store.memory import HeapMemory, MappedMemory
from ..store.snapshot import Snapshot
from ..store.store import Store, StoreSink
from ..stream.record import Inside
from ..stream.sink import Sink
from .exporters import Exporters
from .problems import report, warn
from .runtime import HttpSpans, Runtime

if TYPE_CHECKING:
    from ..sinks.journal import JournalSink

logger = logging.getLogger("streamvitals")


class Tracing(Protocol):
    """The interface of what otel/traces.py returns."""

    @property
    def sink(self) -> Any: ...

    @property
    def flush(self) -> Callable[..., bool]: ...

    @property
    def shutdown(self) -> Callable[..., bool]: ...

    @property
    def get_tracer(self) -> Callable[[], Any]: ...

    @property
    def begin_flush(self) -> Callable[[], None]: ...

    @property
    def begin_shutdown(self) -> Callable[[], None]: ...

    @property
    def capture_parent(self) -> Callable[[], object | None]: ...

    @property
    def find_inference(self) -> Callable[[object | None], Inside | None]: ...


class Exporting(Protocol):
    """The interface of what otel/metrics.py returns."""

    @property
    def flush(self) -> Callable[..., bool]: ...

    @property
    def shutdown(self) -> Callable[..., bool]: ...


TracingFactory = Callable[[], "Tracing | None"]
MetricsFactory = Callable[[Callable[[], Snapshot]], "Exporting | None"]


def build(
    config: Config,
    tracing: TracingFactory | None = None,
    sinks: Iterable[Sink] = (),
    *,
    metrics: MetricsFactory | None = None,
    on_error: Callable[[str], None],
) -> Runtime:
    """Make a runtime with all its parts; nothing is set afterwards.

    ``tracing`` makes the span pipeline and ``metrics`` the pipeline for OTLP metrics, if they are wanted. ``on_error``
    is called, on any thread, for each fault in one of them.
    """
    limits = Limits(tuple(label.name for label in config.labels), config.label_values, config.label_sets)
    store = Store(MappedMemory(config.directory) if config.directory else HeapMemory(), limits)
    spans = tracing() if tracing is not None else None
    limited: list[LogSink | JournalSink] = [*_journal(config), LogSink()]
    keeper = IncidentSink(store)
    counted = StoreSink(store, exemplars=spans is not None, conventional=config.otlp_metrics, keeper=keeper)
    heard: list[Sink] = [counted, keeper, *limited, *sinks]
    suppressed = tuple(sink.report_suppressed for sink in limited)
    exporters = Exporters(begin_flush=suppressed, begin_shutdown=suppressed)
    capture = http_spans = None
    if spans is not None:
        heard.append(spans.sink)
        capture = spans.capture_parent
        http_spans = _http_spans(spans, on_error) if config.http_spans else None
        exporters = Exporters(
            (*suppressed, spans.begin_flush), (spans.flush,), (*suppressed, spans.begin_shutdown), (spans.shutdown,)
        )
    runtime: Runtime | None = None
    if metrics is not None:
        # A reader may call this from its own thread before there is a runtime.
        exported = metrics(lambda: Snapshot() if runtime is None else runtime.snapshot())
        if exported is not None:
            # Metrics are finished first: the export of spans has begun by then and goes on meanwhile.
            exporters = exporters._replace(
                flush=(exported.flush, *exporters.flush), shutdown=(exported.shutdown, *exporters.shutdown)
            )
    runtime = Runtime(
        config, store, heard, exporters=exporters, capture_parent=capture, http_spans=http_spans,
        find_inference=spans.find_inference if spans is not None else None,
        wants_request=(lambda: spans.get_tracer() is not None) if spans is not None else None,
    )
    return runtime


def _journal(config: Config) -> tuple[JournalSink, ...]:
    if not config.journal:
        return ()
    # Most programs have none, and a program's start is waited for.
    from ..config.problems import journal_is_reported
    from ..sinks.journal import JournalSink

    known = journal_is_reported(config)
    return (JournalSink(config.journal, lambda: report(["journal"]), reported=known),)


def _http_spans(spans: Tracing, on_error: Callable[[str], None]) -> HttpSpans | None:
    """Transport spans, if their package is installed; without it the other spans are still made."""
    try:
        from ..otel import http_spans

        return http_spans.HttpSpans(spans.get_tracer, on_error)
    except ImportError as error:
        fix = install.there("http-spans")
        logger.warning("no HTTP spans: %s is not installed in the app's environment -> %s", error.name, fix)
        return None


def start_tracing(config: Config, provider: Any, on_error: Callable[[str], None]) -> Tracing | None:
    """The span pipeline: the given provider, the app's global one, or our own if OTLP is asked for.

    None where OpenTelemetry is not installed and not asked for; raises ImportError where it is asked for.
    """
    try:
        from ..otel import traces
    except ImportError:
        if config.otlp_traces or config.otlp_logs or provider is not None:
            raise
        return None
    return traces.start_tracing(config, provider=provider, on_error=on_error, logs=config.otlp_logs)


def start_tracing_if_possible(
    config: Config, provider: Any, on_error: Callable[[str], None], problems: list[str]
) -> Tracing | None:
    """As ``start_tracing``; if what the environment asks for is missing, there are no spans but a warning."""
    try:
        return start_tracing(config, provider, on_error)
    except ImportError as error:
        if provider is not None:
            raise
        what = f"no spans: {error.name} is not installed in the app's environment"
        warn(problems, "spans", f"{what} -> {install.there('otlp')}")
    except Exception as error:  # the exporter raises at bad values of the standard variables
        if provider is not None:
            raise
        what = f"no spans: OpenTelemetry's exporter raises {type(error).__name__}"
        warn(problems, "spans", f"{what} -> check the OTEL_ variables")
    return None
