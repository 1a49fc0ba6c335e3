"""What the spans of a record say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBased, StaticSampler
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags

from otel_support import CLOCK, LABELS, STARTED, failed, record
from streamvitals.names import UNKNOWN_MODEL
from streamvitals.otel.trace_parent import capture_parent
from streamvitals.otel.traces import TraceSink, tracer_of
from streamvitals.outcome import Outcome
from streamvitals.stream.record import Attempt, Stall, StreamRecord, TraceIds

APP_SIDE_OR_LIMIT = {
    Outcome.COMPLETED, Outcome.LENGTH, Outcome.CONTENT_FILTER, Outcome.CANCELLED, Outcome.ABANDONED,
}
NS = 1_000_000_000


def at(seconds: float) -> int:
    """Unix nanoseconds, so long after the request."""
    return int(STARTED) * NS + int(seconds * NS)


class Kept:
    """A provider that keeps its spans, and a sink on it."""

    def __init__(self, **kwargs: Any) -> None:
        self.memory = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **kwargs)
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.sink = TraceSink(tracer_of(self.provider))

    def ids_of(self, ended: StreamRecord) -> TraceIds | None:
        """The ids that the record has when its span has been made."""
        context = self.sink.make_span(ended)
        return None if context is None else ended.with_span(context).trace_ids

    def spans(self, ended: StreamRecord) -> tuple[ReadableSpan, list[ReadableSpan]]:
        """The span of a stream and those of its attempts."""
        self.memory.clear()
        self.ids = self.ids_of(ended)
        *attempts, span = self.memory.get_finished_spans()
        return span, attempts


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def current_span() -> Iterator[SpanContext]:
    """Another span is current while the sink works, as in a thread that drains for everybody."""
    other = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(other)))
    yield other
    context.detach(token)


def test_a_completed_stream(kept: Kept) -> None:
    span, _ = kept.spans(record())
    assert span.name == "chat gpt-4o-mini"
    assert span.kind is SpanKind.CLIENT
    assert (span.start_time, span.end_time) == (at(0), at(2))
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 18,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "server.address": "api.example.com",
        "server.port": 8443,
        "streamvitals.outcome": "completed",
        "streamvitals.chunks": 20,
        "streamvitals.max_gap": 0.25,
        "streamvitals.time_to_first_token": 0.625,
        "streamvitals.hold": 0.5,
        "streamvitals.attempt": 1,
    }
    assert not span.events
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "streamvitals"


def test_the_conventions_know_our_gen_ai_keys(kept: Kept) -> None:
    semconv = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {v for k, v in vars(semconv).items() if k.startswith("GEN_AI_")}
    if "gen_ai.request.stream" not in known:
        pytest.skip("these conventions are older than streaming")
    span, _ = kept.spans(record())
    assert {k for k in span.attributes or {} if k.startswith("gen_ai.")} <= known


def test_what_is_not_known_is_absent(kept: Kept) -> None:
    bare = record(
        labels=LABELS._replace(model=UNKNOWN_MODEL, server=""), usage=None, finish_reasons=(), attempts=(),
        response_model=None, response_id=None, first_chunk=None, first_token=None, server_port=None,
    )
    span, attempts = kept.spans(bare)
    assert span.name == "chat"
    assert not attempts
    assert set(span.attributes or {}) == {
        "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.stream", "streamvitals.outcome",
        "streamvitals.chunks", "streamvitals.max_gap", "streamvitals.hold", "streamvitals.attempt",
    }


def test_a_failure_says_where(kept: Kept) -> None:
    span, (attempt,) = kept.spans(failed())
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "reset after 20 chunks"
    told = dict(span.attributes or {})
    assert told["error.type"] == "connection_reset"
    assert told["streamvitals.outcome"] == "reset"
    assert {k: v for k, v in told.items() if ".failure." in k} == {
        "streamvitals.failure.chunk_index": 20,
        "streamvitals.failure.bytes": 4096,
        "streamvitals.failure.elapsed": 2.0,
        "streamvitals.failure.since_last_chunk": 0.25,
    }
    assert attempt.status.status_code is StatusCode.ERROR
    assert (attempt.attributes or {})["error.type"] == "connection_reset"


def test_a_failure_before_any_chunk(kept: Kept) -> None:
    refused = failed(Outcome.CONNECT_ERROR, "connection_refused", chunks=0, last_chunk=None, bytes_received=None)
    span, _ = kept.spans(refused)
    assert {k for k in span.attributes or {} if ".failure." in k} == {
        "streamvitals.failure.chunk_index", "streamvitals.failure.elapsed",
    }


@pytest.mark.parametrize("outcome", Outcome)
def test_only_failures_are_errors_and_nothing_is_ok(kept: Kept, outcome: Outcome) -> None:
    span, attempts = kept.spans(failed(outcome, "other"))
    expected = StatusCode.UNSET if outcome in APP_SIDE_OR_LIMIT else StatusCode.ERROR
    assert len(attempts) == (expected is StatusCode.ERROR)
    for one in (span, *attempts):
        assert one.status.status_code is expected
        assert ("error.type" in (one.attributes or {})) is (expected is StatusCode.ERROR)
    assert any(".failure." in k for k in span.attributes or {}) is (expected is StatusCode.ERROR)
    assert (span.attributes or {})["streamvitals.outcome"] == outcome.value


def test_attempts_are_children_linked_to_what_they_repeat(kept: Kept) -> None:
    attempts = (
        Attempt(1, CLOCK, CLOCK + 0.5, 429, "429", 0.25),
        Attempt(2, CLOCK + 0.75, CLOCK + 1.0, None, "connection_refused", 0.5),
        Attempt(3, CLOCK + 1.5, CLOCK + 2.0, 200),
    )
    span, (first, second, third) = kept.spans(record(attempts=attempts))
    for one in (first, second, third):
        assert one.name == "POST"
        assert one.kind is SpanKind.CLIENT
        assert one.parent == span.context
    common = {
        "http.request.method": "POST", "url.path": "/v1/chat/completions",
        "server.address": "api.example.com", "server.port": 8443,
    }
    assert dict(first.attributes or {}) == {**common, "http.response.status_code": 429, "error.type": "429"}
    assert dict(second.attributes or {}) == {
        **common, "error.type": "connection_refused", "http.request.resend_count": 1,
    }
    assert dict(third.attributes or {}) == {
        **common, "http.response.status_code": 200, "http.request.resend_count": 2,
    }
    assert [a.status.status_code for a in (first, second, third)] == [
        StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET,
    ]
    assert [[link.context for link in a.links] for a in (first, second, third)] == [
        [], [first.context], [second.context],
    ]
    assert [(a.start_time, a.end_time) for a in (first, second, third)] == [
        (at(a), at(b)) for a, b in ((0, 0.5), (0.75, 1.0), (1.5, 2.0))
    ]
    assert [(e.name, dict(e.attributes or {}), e.timestamp) for e in span.events] == [
        (
            "retry",
            {"http.response.status_code": 429, "error.type": "429", "streamvitals.backoff": 0.25},
            at(0.5),
        ),
        ("retry", {"error.type": "connection_refused", "streamvitals.backoff": 0.5}, at(1)),
    ]
    assert (span.attributes or {})["http.request.resend_count"] == 2
    assert (span.attributes or {})["streamvitals.attempt"] == 1
    assert span.status.status_code is StatusCode.UNSET
    assert not span.links


def test_the_one_attempt_of_a_stream_that_did_not_fail_has_no_span_of_its_own(kept: Kept) -> None:
    _, attempts = kept.spans(record())
    assert not attempts


def test_what_a_sampler_does_to_attributes_is_not_kept_for_others() -> None:
    class Sampler(StaticSampler):
        def should_sample(self, *args: Any, **kwargs: Any) -> Any:
            args[4]["streams"] = args[4].get("streams", 0) + 1
            return super().should_sample(*args, **kwargs)

    kept = Kept(sampler=Sampler(Decision.RECORD_AND_SAMPLE))
    assert [(kept.spans(record())[0].attributes or {})["streams"] for _ in range(2)] == [1, 1]


def test_a_stream_asked_for_again_is_linked_to_the_one_that_failed(kept: Kept) -> None:
    first, _ = kept.spans(failed())
    again, (attempt,) = kept.spans(failed(retry_of=kept.ids, chain_attempt=2))
    (link,) = again.links
    assert first.context is not None
    assert (link.context.trace_id, link.context.span_id) == (first.context.trace_id, first.context.span_id)
    assert link.context.trace_flags.sampled
    assert (again.attributes or {})["streamvitals.attempt"] == 2
    assert not attempt.links


def test_stalls_are_events_at_their_beginning(kept: Kept) -> None:
    stalls = Stall(0.5, 0.75, "first_token", True), Stall(1.5, 0.25, "between_chunks")
    span, _ = kept.spans(record(stall_times=stalls))
    assert [(e.name, dict(e.attributes or {}), e.timestamp) for e in span.events] == [
        (
            "stall",
            {"streamvitals.stall": 0.75, "streamvitals.phase": "first_token", "streamvitals.keep_alive": True},
            at(0.5),
        ),
        (
            "stall",
            {"streamvitals.stall": 0.25, "streamvitals.phase": "between_chunks", "streamvitals.keep_alive": False},
            at(1.5),
        ),
    ]


def test_events_are_bounded(kept: Kept) -> None:
    attempts = tuple(Attempt(n, CLOCK, CLOCK + 1.0, 500, "500", 0.0) for n in range(1, 102))
    span, _ = kept.spans(record(attempts=attempts, stall_times=(Stall(0.0, 1.0, "between_chunks"),) * 100))
    names = [e.name for e in span.events]
    assert (names.count("retry"), names.count("stall")) == (16, 16)


def test_no_span_that_happens_to_be_current_is_the_parent(kept: Kept, current_span: SpanContext) -> None:
    span, (attempt,) = kept.spans(failed())
    assert span.parent is None
    assert trace.get_current_span().get_span_context() == current_span
    assert attempt.parent == span.context


def test_the_parent_is_what_was_current_at_the_request(kept: Kept) -> None:
    with kept.provider.get_tracer("app").start_as_current_span("work") as work:
        parent = capture_parent()
    span, _ = kept.spans(record(trace_parent=parent))
    assert span.parent == work.get_span_context()
    span, _ = kept.spans(record(trace_parent=work.get_span_context()))
    assert span.parent == work.get_span_context()


def test_there_is_no_parent_where_nothing_is_current() -> None:
    assert capture_parent() is None


def test_the_apps_processors_see_its_baggage(kept: Kept) -> None:
    seen: list[object] = []

    class Watch(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            seen.append(baggage.get_baggage("tenant", parent_context))

    kept.provider.add_span_processor(Watch())
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    parent = capture_parent()
    context.detach(token)
    kept.spans(failed(trace_parent=parent))
    assert seen == ["acme", "acme"]


def test_what_the_app_suppressed_stays_suppressed(kept: Kept) -> None:
    utils = pytest.importorskip("opentelemetry.instrumentation.utils")
    with utils.suppress_instrumentation():
        parent = capture_parent()
    assert kept.ids_of(record(trace_parent=parent)) is None
    assert not kept.memory.get_finished_spans()


def test_the_sampler_is_asked_with_what_it_may_want_to_know() -> None:
    asked: list[dict[str, Any]] = []

    class Sampler(ParentBased):
        def __init__(self) -> None:
            super().__init__(ALWAYS_OFF)

        def should_sample(self, *args: Any, **kwargs: Any) -> Any:
            asked.append(dict(args[4]))
            return super().should_sample(*args, **kwargs)

    kept = Kept(sampler=Sampler())
    kept.sink.make_span(failed())
    assert not kept.memory.get_finished_spans()
    assert len(asked) == 1, "the attempts of a dropped span are not even tried"
    assert asked[0]["gen_ai.request.model"] == "gpt-4o-mini"
    assert asked[0]["server.address"] == "api.example.com"


def test_an_unsampled_parent_means_no_span(kept: Kept) -> None:
    parent = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(0))
    assert kept.ids_of(record(trace_parent=parent)) is None
    assert not kept.memory.get_finished_spans()


def test_the_ids_of_its_span_are_in_the_record(kept: Kept) -> None:
    for _ in range(2):
        span, _ = kept.spans(record())
        assert kept.ids is not None
        assert span.context is not None
        assert int(kept.ids.trace_id, 16) == span.context.trace_id
        assert int(kept.ids.span_id, 16) == span.context.span_id
        assert (len(kept.ids.trace_id), len(kept.ids.span_id)) == (32, 16)


@pytest.mark.parametrize("get_tracer", [lambda: None, lambda: trace.NoOpTracer()])
def test_no_tracer_no_span(get_tracer: Callable[[], Any]) -> None:
    assert TraceSink(get_tracer).make_span(record()) is None
