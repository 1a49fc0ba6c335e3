"""Spans of real streams by the real SDK, against the table of the conventions' facts."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

import conventions_table as table
import streamvitals
from otel_support import LABELS, failed, record
from streamvitals import conventions
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.faults.events_responses import ID
from streamvitals.otel.traces import TraceSink, finish_reasons, tracer_of
from streamvitals.outcome import Outcome
from streamvitals.sdk.requested import request_attributes
from streamvitals.stream.record import StreamRecord, Usage

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "stream": True}
EVERYTHING: dict[str, Any] = {
    "n": 2, "seed": 7, "frequency_penalty": 1, "presence_penalty": 0.5, "temperature": 0.25, "top_p": 1,
    "max_completion_tokens": 1000, "stop": ["secret stop"], "reasoning_effort": "high",
    "response_format": {"type": "json_object"}, "service_tier": "flex", "user": "secret user",
    "metadata": {"key": "secret metadata"}, "extra_body": {"top_k": 40},
}
ASKED = {
    "gen_ai.request.choice.count": 2, "gen_ai.request.seed": 7, "gen_ai.request.frequency_penalty": 1.0,
    "gen_ai.request.presence_penalty": 0.5, "gen_ai.request.temperature": 0.25, "gen_ai.request.top_p": 1.0,
    "gen_ai.request.max_tokens": 1000, "gen_ai.request.reasoning.level": "high", "gen_ai.output.type": "json",
    "openai.request.service_tier": "flex", "gen_ai.request.top_k": 40, "openai.api.type": "chat_completions",
}


class Sampling(Sampler):
    """Notes what a sampler is given."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **kwargs: Any) -> Any:
        self.given = dict(kwargs.get("attributes") or args[1] or {})
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, *args, **kwargs)

    def get_description(self) -> str:
        return "Sampling"


class App:
    """A program that is instrumented, with the SDK's client of a provider that is taken for OpenAI."""

    def __init__(self, server: ThreadedFaultServer) -> None:
        self._memory = InMemorySpanExporter()
        self.sampling = Sampling()
        provider = TracerProvider(sampler=self.sampling)
        provider.add_span_processor(SimpleSpanProcessor(self._memory))
        config = Config(providers={"127.0.0.1": "openai", "localhost": "openai"})
        streamvitals.instrument(tracer_provider=provider, registry=CollectorRegistry(), config=config)
        self.client = openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0)

    def chat(self, model: str, read: int | None = None, **asked: Any) -> ReadableSpan:
        with contextlib.suppress(Exception):
            stream = self.client.chat.completions.create(model=model, **ASK, **asked)
            for _ in itertools.islice(stream, read):
                pass
            stream.close()
        return self.span()

    def span(self) -> ReadableSpan:
        ended = self._memory.get_finished_spans()
        (one,) = (span for span in ended if "streamvitals.outcome" in (span.attributes or {}))
        self._memory.clear()
        return one


@pytest.fixture
def app(server: ThreadedFaultServer) -> Iterator[App]:
    yield App(server)
    streamvitals.uninstrument()


def check(span: ReadableSpan, wanted: dict[str, tuple[type, str]]) -> dict[str, Any]:
    """Each attribute is one of the table's, with its type, and what is required is there; return those."""
    found = {key: value for key, value in (span.attributes or {}).items() if not key.startswith("streamvitals.")}
    assert set(found) <= set(wanted)
    for key, value in found.items():
        assert type(value) is wanted[key][0], key
    assert {key for key, (_, level) in wanted.items() if level == table.REQUIRED} <= set(found)
    return found


def test_what_was_asked_for_is_told_and_no_text(app: App) -> None:
    if "reasoning_effort" not in inspect.signature(openai.resources.chat.Completions.create).parameters:
        pytest.skip("this version of openai knows fewer parameters")
    span = app.chat("sv-ok", **EVERYTHING)
    found = check(span, table.SPAN)
    assert {key: found.get(key) for key in ASKED} == ASKED
    assert span.name == "chat sv-ok"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert found["openai.response.system_fingerprint"]
    assert "secret" not in span.to_json()


def test_a_sampler_is_given_what_the_conventions_say(app: App) -> None:
    app.chat("sv-ok")
    assert set(app.sampling.given) >= table.AT_CREATION


def test_what_was_not_asked_for_is_not_told(app: App) -> None:
    found = check(app.chat("sv-ok"), table.SPAN)
    assert not {key for key in found if key.startswith("gen_ai.request.")} - {
        "gen_ai.request.model", "gen_ai.request.stream",
    }


@pytest.mark.parametrize(("scenario", "read", "reasons"), [
    ("sv-ok", None, ("stop",)), ("sv-length", None, ("length",)), ("sv-reset", None, ("error",)),
    ("sv-silent-cut", None, ("error",)), ("sv-ok", 2, ("error",)), ("sv-no-such", None, ("error",)),
])
def test_a_choice_that_was_cut_ends_in_an_error(
    app: App, scenario: str, read: int | None, reasons: tuple[str, ...]
) -> None:
    assert (app.chat(scenario, read).attributes or {})["gen_ai.response.finish_reasons"] == reasons


def test_a_failure_has_its_type_and_no_description_of_content(app: App) -> None:
    span = app.chat("sv-reset")
    assert check(span, table.SPAN)["error.type"] == "connection_reset"
    assert (span.attributes or {})["streamvitals.outcome"] == "reset"
    assert span.status.status_code is StatusCode.ERROR


def test_a_response_and_its_fetch(app: App) -> None:
    if not hasattr(app.client, "responses"):
        pytest.skip("this version of openai has no Responses")
    for _ in app.client.responses.create(
        model="sv-ok", input="secret", stream=True, previous_response_id="resp_0", max_output_tokens=10,
        reasoning={"effort": "low"}, text={"format": {"type": "text"}},
    ):
        pass
    span = app.span()
    found = check(span, table.SPAN)
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert found["gen_ai.request.previous_response.id"] == "resp_0"
    assert found["gen_ai.request.reasoning.level"] == "low"
    assert (found["gen_ai.output.type"], found["gen_ai.request.max_tokens"]) == ("text", 10)
    assert found["openai.api.type"] == "responses"
    assert found["gen_ai.usage.output_tokens"] > 0
    assert "secret" not in span.to_json()
    for _ in app.client.responses.retrieve(ID, stream=True, starting_after=3, extra_query={"sv_scenario": "ok"}):
        pass
    span = app.span()
    fetched = check(span, table.FETCH_SPAN)
    assert span.name == "fetch_response"
    assert fetched["gen_ai.response.status"] == "completed"
    assert fetched["gen_ai.request.stream_cursor"] == "3"


def test_the_words_of_responses_are_finish_reasons() -> None:
    def reasons(word: str, outcome: Outcome = Outcome.COMPLETED, **facts: Any) -> tuple[str, ...]:
        return finish_reasons(record(outcome=outcome, finish_reasons=(word,), **facts))

    assert reasons("completed") == ("stop",)
    assert reasons("incomplete", Outcome.LENGTH) == ("length",)
    assert reasons("incomplete", Outcome.CONTENT_FILTER) == ("content_filter",)
    assert reasons("incomplete", Outcome.API_ERROR) == ("error",)
    assert {reasons(word)[0] for word in ("failed", "cancelled", "error")} == {"error"}
    assert reasons("tool_calls") == ("tool_calls",)
    assert {*conventions.STATUSES} == table.STATUSES


def test_reasons_stay_aligned_with_their_choices() -> None:
    cut = failed(finish_reasons=("stop", "length"), unfinished=(0, 2))
    assert finish_reasons(cut) == ("error", "stop", "error", "length")
    assert finish_reasons(failed(finish_reasons=())) == ("error",)
    several = failed(finish_reasons=(), request=(("gen_ai.request.choice.count", 2),))
    assert finish_reasons(several) == (), "of several that were never seen nothing is known"
    assert finish_reasons(failed(finish_reasons=(), labels=LABELS._replace(operation="speech"))) == ()


def made(one: StreamRecord, generation: str = conventions.LATEST) -> ReadableSpan:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    TraceSink(tracer_of(provider), generation).make_span(one)
    return next(s for s in memory.get_finished_spans() if "streamvitals.outcome" in (s.attributes or {}))


USAGE = Usage(300, 0, 0, 0, 8, 100, 150, None, 30, None, None, None, None, 10)


def test_parts_of_a_usage_are_told_where_they_are_not_zero() -> None:
    found = check(made(record(usage=USAGE)), table.SPAN)
    assert {key.removeprefix("gen_ai.usage."): value for key, value in found.items() if ".usage." in key} == {
        "input_tokens": 300, "output_tokens": 0, "cache_write.input_tokens": 8, "text.input_tokens": 100,
        "image.input_tokens": 150, "text.cache_read.input_tokens": 30, "audio.output_tokens": 10,
    }


def test_the_old_generation_calls_a_written_cache_created() -> None:
    old = made(record(usage=USAGE), conventions.OLD).attributes or {}
    assert old["gen_ai.usage.cache_creation.input_tokens"] == 8


def test_openais_own_attributes_are_of_openai_alone() -> None:
    other = made(record(labels=LABELS._replace(provider="groq"), service_tier="x", system_fingerprint="y"))
    assert not {key for key in other.attributes or {} if key.startswith("openai.")}
    options = SimpleNamespace(url="/chat/completions", params={}, json_data={"service_tier": "flex"})
    assert request_attributes(options, "groq") == ()


def test_the_error_type_without_a_name_is_the_conventions_own() -> None:
    assert (made(failed(Outcome.API_ERROR, "other")).attributes or {})["error.type"] == "_OTHER"


@pytest.mark.parametrize(
    "value", [None, True, "text", [1], {"type": 5}, 1e400, 10**400, -1, float("nan"), b"x", object()]
)
def test_whatever_an_app_asks_for_is_an_attribute_of_its_type_or_none(value: Any) -> None:
    names = (
        "n", "seed", "top_k", "temperature", "max_tokens", "previous_response_id", "conversation", "reasoning_effort",
        "reasoning", "response_format", "text", "service_tier",
    )
    options = SimpleNamespace(url="/chat/completions", params=value, json_data=dict.fromkeys(names, value))
    for key, found in request_attributes(options, "openai"):
        assert type(found) is {**table.SPAN, **table.FETCH_SPAN}[key][0], (key, found)
        assert not isinstance(found, str) or len(found) <= 128
