"""Inside the inference of another instrumentation: one span and one count of it, with our facts on it."""

from __future__ import annotations

import functools
import sys
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context, attach, detach, set_value
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_span_in_context

from app_support import App as OpenAIApp
from app_support import run
from otel_support import failed
from streamvitals import conventions
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.otel.peers import inference_around
from streamvitals.otel.traces import TraceSink, start_tracing, tracer_of
from streamvitals.process import lifecycle
from streamvitals.stream.record import Inside, Stall
from streamvitals.testing import recorded


class App:
    def __init__(self) -> None:
        self._memory, self.provider = InMemorySpanExporter(), TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._memory))

    def around(self, scope: str = "app", **attributes: Any) -> tuple[Any, Context]:
        dotted = {key.replace("__", "."): value for key, value in attributes.items()}
        span = self.provider.get_tracer(scope).start_span("theirs", attributes=dotted)
        return span, set_span_in_context(span, Context())

    def end(self, context: Context, mode: str = conventions.AUTO, ended: Any = None) -> dict[str, ReadableSpan]:
        stalls = (Stall(0.5, 6.0, "first_token"),)
        record = failed(trace_parent=context, inside=inference_around(context), stall_times=stalls)
        made = TraceSink(tracer_of(self.provider), spans=mode).make_span(record)
        if ended is not None:
            assert made is None or made == ended.get_span_context() or mode == conventions.ALWAYS
            ended.end()
        return {span.name: span for span in self._memory.get_finished_spans()}


@pytest.fixture
def app() -> App:
    return App()


UTIL_GENAI = "opentelemetry.genai.client.inference.context"


@pytest.mark.parametrize(("scope", "attributes", "has_metrics"), [
    ("opentelemetry.instrumentation.openai_v2", {"gen_ai__operation__name": "chat"}, True),
    ("opentelemetry.instrumentation.openai.v1", {"llm__request__type": "chat"}, True),
    ("openinference.instrumentation.openai", {"openinference__span__kind": "LLM"}, False),
    ("logfire.openai", {"gen_ai__operation__name": "chat"}, False),
    ("pydantic-ai", {"gen_ai__operation__name": "chat"}, False),
])
def test_our_facts_go_onto_the_span_that_is_there(
    app: App, scope: str, attributes: dict[str, str], has_metrics: bool
) -> None:
    span, context = app.around(scope, **attributes)
    inside = inference_around(context)
    assert inside is not None
    assert inside.has_metrics == has_metrics
    (theirs,) = app.end(context, ended=span).values()
    found = theirs.attributes or {}
    assert found["streamvitals.outcome"] == "reset"
    assert [event.name for event in theirs.events] == ["stall"]
    theirs_before = {key.replace("__", ".") for key in attributes}
    assert {key for key in found if not key.startswith("streamvitals.")} == theirs_before, "what is theirs stays theirs"


@pytest.mark.parametrize("attributes", [
    {}, {"gen_ai__operation__name": "invoke_agent"}, {"openinference__span__kind": "CHAIN"}, {"http__method": "POST"},
])
def test_any_other_span_is_a_parent_as_before(app: App, attributes: dict[str, str]) -> None:
    span, context = app.around("app", **attributes)
    assert inference_around(context) is None
    found = app.end(context)
    assert found["chat gpt-4o-mini"].parent == span.get_span_context()


@pytest.mark.parametrize(("key", "value"), [
    (UTIL_GENAI, object()), ("opentelemetry.genai.client.fetch_response.context", object()),
    ("suppress_language_model_instrumentation", True), (_SUPPRESS_INSTRUMENTATION_KEY, True),
], ids=["inference", "fetch", "traceloop", "suppressed"])
def test_a_key_of_the_context_asks_for_no_second_span(app: App, key: str, value: object) -> None:
    context = set_value(key, value, Context())
    inside = inference_around(context)
    assert inside is not None
    assert inside.has_metrics
    assert app.end(context) == {}
    assert inference_around(set_value(key, None, context)) is None, "an inference that has ended"


def test_a_span_that_has_ended_is_left_alone(app: App) -> None:
    span, context = app.around("logfire.openai", gen_ai__operation__name="chat")
    record = failed(trace_parent=context, inside=inference_around(context))
    span.end()
    assert TraceSink(tracer_of(app.provider)).make_span(record) is None


def test_the_setting_outranks_what_is_found(app: App) -> None:
    span, context = app.around("logfire.openai", gen_ai__operation__name="chat")
    assert {"chat gpt-4o-mini"} <= set(app.end(context, conventions.ALWAYS, span))
    other = App()
    assert other.end(Context(), conventions.NEVER) == {}


@pytest.mark.parametrize(("module", "current"), [
    ("sentry_sdk", SimpleNamespace(op="gen_ai.chat", name="chat m")),
    ("ddtrace", SimpleNamespace(name="openai.request")),
])
def test_sentry_and_datadog_have_a_span_of_their_own(
    app: App, monkeypatch: pytest.MonkeyPatch, module: str, current: Any
) -> None:
    told: dict[str, Any] = {}
    current.set_data = current.set_tag = told.__setitem__
    there = SimpleNamespace(
        get_current_span=lambda: current, tracer=SimpleNamespace(current_span=lambda: current)
    )
    monkeypatch.setitem(sys.modules, module, there)  # type: ignore[arg-type]
    assert app.end(Context()) == {}
    assert told["streamvitals.outcome"] == "reset"
    current.op = current.name = "http.client"
    assert inference_around(None) is None


def test_what_a_sink_gets_has_no_span_of_another_in_its_text() -> None:
    assert "inside" not in repr(failed(inside=Inside("another", object())))


class Broken:
    """A current span of which nothing can be read or set."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("not now")


@pytest.mark.parametrize("module", ["sentry_sdk", "ddtrace"])
def test_a_stream_is_observed_where_the_current_span_cannot_be_read(
    module: str, monkeypatch: pytest.MonkeyPatch, server: ThreadedFaultServer
) -> None:
    def act(app: OpenAIApp) -> None:
        app.read(app.create("sv-ok"))

    broken = SimpleNamespace(get_current_span=Broken, tracer=Broken(), is_initialized=lambda: True)
    for there in (broken, Broken(), None):
        monkeypatch.setitem(sys.modules, module, there)  # type: ignore[arg-type]
        lifecycle.start(Config(), lambda: start_tracing(Config(), provider=TracerProvider())).patch_on_import()
        try:
            with recorded() as records:
                run(act, server)
        finally:
            lifecycle.stop()
        assert [record.outcome.value for record in records] == ["completed"]
        assert records.faults == []


def test_a_wrapper_that_was_there_before_us_is_looked_into(
    monkeypatch: pytest.MonkeyPatch, server: ThreadedFaultServer
) -> None:
    """As logfire's, where the application has called it first: ours is around it, and its inference begins within."""
    original = openai.OpenAI.request

    @functools.wraps(original)
    def theirs(client: Any, *args: Any, **kwargs: Any) -> Any:
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            return original(client, *args, **kwargs)
        finally:
            detach(token)

    def act(app: OpenAIApp) -> None:
        app.read(app.create("sv-ok"))

    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(openai.OpenAI, "request", theirs)
    lifecycle.start(Config(), lambda: start_tracing(Config(), provider=provider)).patch_on_import()
    try:
        with recorded() as records:
            run(act, server)
            assert openai.OpenAI.request is not theirs
    finally:
        lifecycle.stop()
    (record,) = records
    assert record.inside is not None
    assert record.inside.name == "suppressed"
    assert memory.get_finished_spans() == ()
    assert openai.OpenAI.request is theirs


def test_a_span_that_takes_nothing_is_no_fault_of_ours(app: App) -> None:
    record = failed(inside=Inside("another", Broken()))
    assert TraceSink(tracer_of(app.provider)).make_span(record) is None
