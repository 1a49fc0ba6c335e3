"""A program that calls instrument() and streams from the fault server; what its collector gets."""

from __future__ import annotations

import json
from typing import Any

from otel_support import run_script
from otlp_receiver import Receiver, attributes, receiver
from streamvitals.faults import ThreadedFaultServer

PROGRAM = """
import asyncio, sys
import streamvitals
streamvitals.instrument()
import openai

ASK = dict(messages=[{"role": "user", "content": "hello"}], stream=True)

def stream(client, model):
    try:
        for chunk in client.chat.completions.create(model=model, **ASK):
            pass
    except openai.APIError:
        pass
    except Exception as error:
        assert "httpx" in type(error).__module__, error

async def stream_async(client, model):
    async for chunk in await client.chat.completions.create(model=model, **ASK):
        pass
"""


def run(code: str, url: str, collector: Receiver, **env: str) -> Any:
    client = f"client = openai.OpenAI(api_key='sk-secret', base_url={url!r}, max_retries=1)\n"
    return run_script(
        PROGRAM + client + code, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="shop", **env
    )


def streams(collector: Receiver) -> list[Any]:
    return [s for s in collector.spans() if "streamvitals.outcome" in attributes(s)]


def test_a_stream_that_is_reset_is_a_span_and_numbers(server: ThreadedFaultServer) -> None:
    with receiver() as collector:
        run("stream(client, 'sv-ok'); stream(client, 'sv-reset')", server.base_url, collector)
        fine, reset = streams(collector)
        assert [attributes(s)["streamvitals.outcome"] for s in (fine, reset)] == ["completed", "reset"]
        assert attributes(reset)["error.type"] == "connection_reset"
        assert attributes(reset)["streamvitals.failure.chunk_index"] > 0
        assert not fine.parent_span_id
        (attempt,) = (s for s in collector.spans() if s.parent_span_id)
        assert attempt.parent_span_id == reset.span_id
        assert attributes(attempt)["http.response.status_code"] == 200
        assert attributes(attempt)["url.path"] == "/v1/chat/completions"
        assert reset.start_time_unix_nano <= attempt.start_time_unix_nano
        assert attempt.end_time_unix_nano <= reset.end_time_unix_nano
        counted = {
            attributes(p)["outcome"]: p.as_int
            for p in collector.metrics()["streamvitals.streams"].sum.data_points
            if p.as_int
        }
        assert counted == {"completed": 1, "reset": 1}
        everything = b"".join(r.message.SerializeToString() for r in collector.requests)
        assert b"sk-secret" not in everything
        assert b"hello" not in everything


def test_the_log_names_the_span(server: ThreadedFaultServer) -> None:
    code = """
import json, logging
class Print(logging.Handler):
    def emit(self, record):
        point = record.streamvitals
        print(json.dumps([point["outcome"], point["trace_id"], point["span_id"]]))
logging.getLogger("streamvitals").addHandler(Print())
stream(client, 'sv-reset'); stream(client, 'sv-ok'); stream(client, 'sv-silent-cut')
"""
    with receiver() as collector:
        lines = [json.loads(line) for line in run(code, server.base_url, collector).stdout.splitlines()]
        spans = {attributes(s)["streamvitals.outcome"]: s for s in streams(collector)}
        assert [outcome for outcome, _, _ in lines] == ["reset", "truncated"]
        for outcome, trace_id, span_id in lines:
            assert (trace_id, span_id) == (spans[outcome].trace_id.hex(), spans[outcome].span_id.hex())


def test_the_apps_own_traces(server: ThreadedFaultServer) -> None:
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)

async def main():
    async with openai.AsyncOpenAI(api_key="k", base_url=str(client.base_url)) as other:
        tracer = trace.get_tracer("app")
        async def one(n):
            with tracer.start_as_current_span(f"request {n}") as span:
                await stream_async(other, "sv-ok")
                assert trace.get_current_span() is span
        await asyncio.gather(*map(one, range(5)))

asyncio.run(main())
spans = memory.get_finished_spans()
parents = {s.context.span_id: s.name for s in spans if s.name.startswith("request")}
ours = [s for s in spans if "streamvitals.outcome" in s.attributes]
assert len(ours) == len(parents) == 5
assert sorted(parents[s.parent.span_id] for s in ours) == [f"request {n}" for n in range(5)], ours
"""
    with receiver() as collector:
        run(code, server.base_url, collector)
        assert not streams(collector), "they are the app's own exporter's"
        assert collector.metrics()


def test_attempts_of_the_sdk(server: ThreadedFaultServer) -> None:
    with receiver() as collector:
        run("stream(client, 'sv-429-then-ok?fails=1')", server.base_url, collector)
        (span,) = streams(collector)
        attempts = [s for s in collector.spans() if s.parent_span_id == span.span_id]
        assert [attributes(a)["http.response.status_code"] for a in attempts] == [429, 200]
        assert [e.name for e in span.events] == ["retry"]
        assert attempts[1].links[0].span_id == attempts[0].span_id


def test_a_collector_that_is_down_changes_nothing_for_the_program(server: ThreadedFaultServer) -> None:
    with receiver() as gone:
        pass
    done = run("stream(client, 'sv-ok'); print('done')", server.base_url, gone)
    assert done.stdout == "done\n"
    # In an app that has set up no logging our own two warnings are seen, and nothing of the exporters'.
    told = [f"streamvitals: {what} could not be delivered over OTLP" for what in ("metrics", "spans")]
    assert sorted(line.partition(" (")[0] for line in done.stderr.splitlines()) == told


def test_the_conventions_metrics_of_real_streams(server: ThreadedFaultServer) -> None:
    code = """
stream(client, 'sv-ok'); stream(client, 'sv-reset'); asyncio.run(stream_async(
    openai.AsyncOpenAI(api_key='k', base_url=str(client.base_url)), 'sv-ok'))
"""
    with receiver() as collector:
        run(code, server.base_url, collector)
        found = collector.metrics()
        for fine in streams(collector):
            assert attributes(fine)["gen_ai.operation.name"] == "chat"
    chunks = {attributes(s)["streamvitals.outcome"]: attributes(s)["streamvitals.chunks"] for s in streams(collector)}
    durations = {
        attributes(p).get("error.type"): p for p in found["gen_ai.client.inference.duration"].histogram.data_points
    }
    assert {kind: p.count for kind, p in durations.items()} == {None: 2, "connection_reset": 1}
    assert {attributes(p)["server.port"] for p in durations.values()} == {server.port}
    between = found["gen_ai.client.inference.time_per_output_chunk"].histogram.data_points
    wanted = 2 * (chunks["completed"] - 1) + chunks["reset"] - 1
    assert sum(p.count for p in between) == wanted, "n chunks give n - 1 times"
