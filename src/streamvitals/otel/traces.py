"""Makes one CLIENT span per stream when it has ended, and children for its HTTP attempts where they add something.
The only attempt of a stream that did not fail adds nothing, and a span costs as much as all our other work on a stream.

Spans are made from the record with explicit times, so that nothing is attached to any context while the stream lives.
Needs opentelemetry-api; the SDK and the exporter only for a pipeline of our own. Attributes:
https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai/client-inference.md) and
https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
    set_span_in_context,
)

from .. import conventions
from .._version import __version__
from ..names import UNKNOWN_MODEL
from ..stream.record import Attempt, Inside, StreamLabels, StreamRecord, TraceIds, Usage
from ..stream.sink import Sink
from .exception_event import ExceptionEvents
from .keys import SCOPE
from .patience import MOST, Patience, at_exit, exiting
from .peers import inference_around, put_on
from .set_attributes import set_attributes
from .trace_parent import TracerSource, capture_parent

if TYPE_CHECKING:
    from .own_logs import OwnLogs
    from .own_pipeline import OwnPipeline

logger = logging.getLogger("streamvitals")

_MAX_EVENTS = 16  # most events of each kind on one span
_MAX_REMEMBERED = 256  # most label sets whose attributes are cached
_NO_CONTEXT = Context()
# Of a usage, all but the two totals.
_PARTS = tuple(f"gen_ai.usage.{part}" for part in (
    "cache_read.input_tokens", "reasoning.output_tokens", "cache_write.input_tokens",
    "text.input_tokens", "image.input_tokens", "audio.input_tokens",
    "text.cache_read.input_tokens", "image.cache_read.input_tokens", "audio.cache_read.input_tokens",
    "text.output_tokens", "image.output_tokens", "audio.output_tokens",
))
_STATUSES = conventions.STATUSES.__contains__

Value = str | bool | int | float | tuple[str, ...]


class TraceSink(Sink):
    """Makes the spans of each record. ``get_tracer`` is called for each; it returns None if no spans are wanted."""

    def __init__(
        self, get_tracer: TracerSource, generation: str = conventions.LATEST, spans: str = conventions.AUTO,
        emit: Callable[[Any], None] | None = None,
    ) -> None:
        """``spans``: one of ``conventions.SPANS``. ``emit`` takes the record of a failure, if the app has nobody."""
        self._get_tracer = get_tracer
        self._old = generation != conventions.LATEST
        self._spans = spans
        self._events = ExceptionEvents(generation, emit)

    def make_span(self, record: StreamRecord) -> SpanContext | None:
        """Make the spans of a stream that ended and of its attempts; None if it is not sampled."""
        if self._spans == conventions.NEVER:
            return None
        if record.inside is not None and self._spans == conventions.AUTO:
            return _put_on(record.inside.span, record)
        tracer = self._get_tracer()
        if tracer is None:
            return None
        context = _context_of(record.trace_parent)
        if context.get(_SUPPRESS_INSTRUMENTATION_KEY):
            return None
        # Attributes that a sampler may use are set at the start; the others only if the span is sampled.
        span = tracer.start_span(
            _name(record.labels), context, SpanKind.CLIENT, _identity(record.labels, record.server_port).copy(),
            _link_to(record.retry_of),
            start_time=_ns(record, 0.0), record_exception=False, set_status_on_exception=False,
        )
        if not span.is_recording():
            return None
        attributes = _attributes(record)
        if self._old and record.usage is not None and record.usage.cache_write and not record.replayed:
            attributes[conventions.OLD_CACHE_WRITE] = record.usage.cache_write
        set_attributes(span, attributes)
        retried, failed = len(record.attempts) > 1, record.failed
        if retried or record.stall_times or record.partial is not None:
            _add_events(span, record)
        if retried or failed:
            _make_attempts(tracer, set_span_in_context(span, context), record)
        if failed:
            span.set_status(StatusCode.ERROR, f"{record.outcome.value} after {record.chunks} chunks")
        span.end(_ns(record, record.duration))
        made = span.get_span_context()
        return made if made.trace_flags.sampled else None

    def on_end(self, record: StreamRecord) -> None:
        """Emit the event of a stream that failed; its span has been made."""
        if record.failed:
            context = _context_of(record.trace_parent)
            if not context.get(_SUPPRESS_INSTRUMENTATION_KEY):
                self._events.emit(record, context, _ns(record, record.duration))


def _put_on(span: Any, record: StreamRecord) -> SpanContext | None:
    """Put what only we know onto the span of another instrumentation, if it still takes something; its context."""
    ours = {key: value for key, value in _attributes(record).items() if key.startswith("streamvitals.")}
    if not put_on(span, ours) or not isinstance(span, Span):
        return None  # not OpenTelemetry's: it has no ids of a trace that we could name
    _add_events(span, record)
    made = span.get_span_context()
    return made if made.trace_flags.sampled else None


def _ns(record: StreamRecord, offset: float) -> int:
    """The Unix time in nanoseconds, ``offset`` seconds after the request.

    It is the sum of two integers: a float of this size is exact to 256 ns only, and a child must not end after its
    parent.
    """
    return int(record.started * 1e9) + int(offset * 1e9)


def _context_of(parent: object | None) -> Context:
    """The captured parent as a context; never the current one, which belongs to the thread that drains."""
    if isinstance(parent, Context):
        return parent
    if isinstance(parent, SpanContext):
        return set_span_in_context(NonRecordingSpan(parent), _NO_CONTEXT)
    return _NO_CONTEXT


def _link_to(failed: object | None) -> list[Link]:
    """A link to the span of the failed stream that this one retries."""
    if not isinstance(failed, TraceIds):
        return []
    sampled = TraceFlags(TraceFlags.SAMPLED)  # the ids of an unsampled span are not passed on
    ids = SpanContext(int(failed.trace_id, 16), int(failed.span_id, 16), is_remote=False, trace_flags=sampled)
    return [Link(ids)]


@lru_cache(_MAX_REMEMBERED)
def _name(labels: StreamLabels) -> str:
    without = labels.model == UNKNOWN_MODEL or labels.operation == conventions.FETCH
    return labels.operation if without else f"{labels.operation} {labels.model}"


@lru_cache(_MAX_REMEMBERED)
def _identity(labels: StreamLabels, port: int | None) -> dict[str, Value]:
    """The attributes that all spans of these streams share. Callers must copy them."""
    identity: dict[str, Value] = {
        "gen_ai.operation.name": labels.operation,
        "gen_ai.provider.name": labels.provider,
    }
    if labels.operation != conventions.FETCH:
        identity["gen_ai.request.stream"] = True
        if labels.model != UNKNOWN_MODEL:
            identity["gen_ai.request.model"] = labels.model
    identity.update(_server(labels, port))
    identity.update(labels.custom)
    return identity


def _server(labels: StreamLabels, port: int | None) -> dict[str, Value]:
    server: dict[str, Value] = {}
    if labels.server:
        server["server.address"] = labels.server
        if port is not None:
            server["server.port"] = port
    return server


def _attributes(record: StreamRecord) -> dict[str, Value]:
    """What a span says of its stream beyond its identity; nothing of what is not known."""
    told: dict[str, Any] = {
        "streamvitals.outcome": record.outcome.value,
        "streamvitals.chunks": record.chunks,
        "streamvitals.max_gap": record.max_gap,
        "streamvitals.hold": record.hold,
        "streamvitals.attempt": record.chain_attempt,
        "gen_ai.response.model": record.response_model,
        "gen_ai.response.id": record.response_id,
        "gen_ai.response.finish_reasons": finish_reasons(record) or None,
        "gen_ai.response.time_to_first_chunk": record.first_chunk,
        "streamvitals.time_to_first_token": record.first_token,
    }
    if record.hints:
        told["streamvitals.hints"] = record.hints
    if record.retry_after is not None:
        told["streamvitals.retry_after"] = record.retry_after
        told["streamvitals.retry_after_honored"] = record.retry_after_honored
    if record.http_attempts > 1:
        # The SDK's attempts only; each attempt of the app itself is a stream of its own.
        told["http.request.resend_count"] = record.http_attempts - 1
    if record.labels.provider == "openai":
        told["openai.response.service_tier"] = record.service_tier
        told["openai.response.system_fingerprint"] = record.system_fingerprint
    if record.labels.operation == conventions.FETCH:
        told["gen_ai.response.status"] = next(filter(_STATUSES, reversed(record.finish_reasons)), None)
    if record.usage is not None and not record.replayed:
        told.update(_usage(record.usage))
    if record.failed:
        told.update(_failure(record))
    if record.request:
        told.update(record.request)
    if None in told.values():  # mostly all is known, and looking costs less than a copy
        told = {key: value for key, value in told.items() if value is not None}
    return told


def finish_reasons(record: StreamRecord) -> tuple[str, ...]:
    """One reason per choice, in the order of the choices: ``error`` for one that was cut."""
    words = _finish_reasons(record.finish_reasons, record.unfinished, record.outcome)
    if not words and record.failed and record.labels.operation in ("chat", "text_completion"):
        # No choice was ever seen. Only of one that was alone is it known that it is missing.
        words = () if dict(record.request).get("gen_ai.request.choice.count") else (conventions.CUT,)
    return words


@lru_cache(_MAX_REMEMBERED)
def _finish_reasons(words: tuple[str, ...], unfinished: tuple[int, ...], outcome: str) -> tuple[str, ...]:
    reasons = [_finish_reason(word, outcome) for word in words]
    for place in unfinished:
        reasons.insert(place, conventions.CUT)
    return tuple(reasons)


def _finish_reason(word: str, outcome: str) -> str:
    if word == "incomplete":
        return outcome if outcome in ("length", "content_filter") else conventions.CUT
    return conventions.FINISH_REASONS.get(word, word)


def _usage(usage: Usage) -> dict[str, Any]:
    # Parts are told where they are not zero, and the whole also where it is.
    parts = {key: count for key, count in zip(_PARTS, usage[2:]) if count}  # noqa: B905  strict costs as much again
    return {"gen_ai.usage.input_tokens": usage.input, "gen_ai.usage.output_tokens": usage.output, **parts}


def _failure(record: StreamRecord) -> dict[str, Value | None]:
    return {
        "error.type": conventions.error_type(True, record.error_type),
        "streamvitals.request_id": record.request_id,
        "streamvitals.failure.chunk_index": record.chunks,
        "streamvitals.failure.bytes": record.bytes_received,
        "streamvitals.failure.elapsed": record.duration,
        "streamvitals.failure.since_last_chunk": record.since_last_chunk,
    }


def _add_events(span: Span, record: StreamRecord) -> None:
    for attempt in record.attempts[:-1][:_MAX_EVENTS]:
        what = _answer(attempt)
        what["streamvitals.backoff"] = attempt.backoff
        span.add_event("retry", what, _ns(record, attempt.ended - record.clock_origin))
    for stall in record.stall_times[:_MAX_EVENTS]:
        what = {
            "streamvitals.stall": stall.seconds, "streamvitals.phase": stall.phase,
            "streamvitals.keep_alive": stall.keep_alive,
        }
        span.add_event("stall", what, _ns(record, stall.began))
    if record.partial is not None:
        span.add_event("partial", {"streamvitals.partial": record.partial}, _ns(record, record.duration))


def _answer(attempt: Attempt) -> dict[str, Value]:
    answer: dict[str, Value] = {}
    if attempt.status is not None:
        answer["http.response.status_code"] = attempt.status
    if attempt.error_type:
        answer["error.type"] = attempt.error_type
    return answer


def _make_attempts(tracer: Tracer, context: Context, record: StreamRecord) -> None:
    failed_before: list[Link] = []
    server = _server(record.labels, record.server_port)
    for attempt in record.attempts:
        failed = record.failed or attempt is not record.attempts[-1]
        attributes = {"http.request.method": record.method, "url.path": record.url_path, **server}
        attributes.update(_answer(attempt))
        if not failed:
            # An end by the app itself, such as a break, is no error of the request.
            attributes.pop("error.type", None)
        if attempt.number > 1:
            attributes["http.request.resend_count"] = attempt.number - 1
        span = tracer.start_span(
            record.method, context, SpanKind.CLIENT, attributes, failed_before,
            start_time=_ns(record, attempt.started - record.clock_origin),
            record_exception=False, set_status_on_exception=False,
        )
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(_ns(record, attempt.ended - record.clock_origin))
        failed_before = [Link(span.get_span_context())]


def tracer_of(provider: TracerProvider) -> TracerSource:
    """A source that always gives the tracer of this provider."""
    tracer = provider.get_tracer(SCOPE, __version__)
    return lambda: tracer


class _AppFirst:
    """The tracer of the app's own global provider once it has set one; ours until then.

    Checked at the end of every stream, because an app imports openai, and so starts us, before it sets its provider.
    Reads the variable itself: ``trace.get_tracer_provider()`` can set a provider, which only the app may do.
    """

    def __init__(self, own: TracerSource) -> None:
        self._own = own
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    def __call__(self) -> Tracer | None:
        provider = getattr(trace, "_TRACER_PROVIDER", None)
        if provider is None:
            return self._own()
        if provider is not self._provider:
            self._tracer = provider.get_tracer(SCOPE, __version__)
            self._provider = provider
        return self._tracer


class TracesConfig(Protocol):
    """The settings that ``start_tracing`` needs."""

    @property
    def otlp_traces(self) -> bool:
        """Whether the settings ask for OTLP spans."""

    @property
    def declared(self) -> Mapping[str, str] | None:
        """The settings, where they are not to be read in the environment."""

    @property
    def conventions(self) -> str:
        """The generation of the conventions, one of ``conventions.GENERATIONS``."""

    @property
    def spans(self) -> str:
        """When spans are made, one of ``conventions.SPANS``."""


class Tracing(NamedTuple):
    """A sink for spans, and functions for the end of the process.

    ``flush`` and ``shutdown`` take the seconds that they may last (MOST by default) and return False if spans
    were lost or are still queued. ``begin_flush`` and ``begin_shutdown`` begin the same without waiting. ``shutdown``
    also runs at exit; the app's own providers are left to the app.
    ``get_tracer`` gives the sink's tracer, for other spans with the same destination. ``capture_parent`` is called with
    each request (trace_parent.py). ``find_inference``: see peers.py.
    """

    sink: TraceSink
    flush: Callable[..., bool]
    shutdown: Callable[..., bool]
    get_tracer: TracerSource
    begin_flush: Callable[[], None]
    begin_shutdown: Callable[[], None]
    capture_parent: Callable[[], object | None] = capture_parent
    find_inference: Callable[[object | None], Inside | None] = inference_around


def start_tracing(
    config: TracesConfig,
    *,
    provider: TracerProvider | None = None,
    on_error: Callable[[str], None] | None = None,
    logs: bool = False,
) -> Tracing:
    """Make the span pipeline.

    ``logs``: failures are sent as records of the log, where the app has no LoggerProvider.

    Spans go to ``provider`` if one is given, else to the app's global provider once it has set one, else, if
    ``config.otlp_traces``, to an exporter of our own, set up from the standard variables. No global provider is ever
    set.

    ``on_error("otel")`` is called, on any thread, for each export that failed.

    Raises ImportError if our own exporter is asked for and not installed, ValueError if a variable is wrong.
    """
    own = None
    pipelines: list[OwnPipeline[Any]] = []
    if provider is not None:
        source = tracer_of(provider)
    elif config.otlp_traces:
        from .own_tracing import OwnTracing

        own = OwnTracing(on_error, declared=config.declared)
        pipelines.append(own)
        source = _AppFirst(own.tracer)
    else:
        source = _AppFirst(lambda: None)
    failures = _own_logs(config, on_error, own) if logs else None
    if failures is not None:
        pipelines.append(failures)
    emit = failures.emit if failures is not None else None
    sink = TraceSink(source, config.conventions, config.spans, emit)
    if not pipelines:
        return Tracing(sink, _done, _done, source, _nothing, _nothing)

    def begin_flush() -> None:
        for one in pipelines:
            one.begin_flush()

    def flush(timeout: float = MOST) -> bool:
        patience = Patience(timeout)
        begin_flush()
        return not [one for one in pipelines if not one.flush(patience.left())]

    def begin_shutdown() -> None:
        for one in pipelines:
            one.begin_shutdown()

    def shutdown(timeout: float = MOST) -> bool:
        patience = Patience(timeout)
        if not exiting():  # at exit `end` stays registered, for streams of other exit functions
            atexit.unregister(end)
        begin_shutdown()
        return not [one for one in pipelines if not one.shutdown(patience.left())]

    def end() -> None:
        shutdown(at_exit().left())

    def capture() -> object | None:
        # This process will make spans, and can still start the thread that exports them.
        if own is not None and getattr(trace, "_TRACER_PROVIDER", None) is None:
            own.prepare()
        return capture_parent()

    atexit.register(end)
    return Tracing(sink, flush, shutdown, source, begin_flush, begin_shutdown, capture)


def _own_logs(
    config: TracesConfig, on_error: Callable[[str], None] | None, beside: OwnPipeline[Any] | None
) -> OwnLogs | None:
    """The pipeline for failures; without it spans are made all the same."""
    try:
        from .own_logs import OwnLogs

        resource = beside.resource if beside is not None else None
        return OwnLogs(on_error, declared=config.declared, resource=resource)
    except ImportError as error:
        logger.warning("no failures over OTLP: %s -> install opentelemetry-sdk 1.39 or newer there", error.name)
    except Exception as error:  # noqa: BLE001  the exporter raises at bad values of the standard variables
        logger.warning("no failures over OTLP: %s -> check the OTEL_ variables", type(error).__name__)
    return None


def _nothing() -> None:
    """Do nothing: there is nothing to begin."""


def _done(timeout: float = MOST) -> bool:
    return True
