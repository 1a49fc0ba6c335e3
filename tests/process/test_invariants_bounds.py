"""Invariants 3 to 5: memory does not grow with chunks, series not with what an app calls its models and hosts, and
nothing of what is said between an app and its provider is kept or told."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import pickle
import re
import tracemalloc
import types
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import streamvitals
from app_support import MESSAGES, settle
from streamvitals import names
from streamvitals.config import Config
from streamvitals.config.labels import parse
from streamvitals.faults import ThreadedFaultServer, refused_url
from streamvitals.process import lifecycle
from streamvitals.sinks.prometheus import SnapshotCollector
from streamvitals.testing import recorded

# -- memory -------------------------------------------------------------------------------------------------

OURS = Path(streamvitals.__file__).parent  # a clone may have the same name


def held_by_streaming(server: ThreadedFaultServer, chunks: int) -> int:
    """Bytes that are allocated in our files and that a stream of so many chunks, still open, has."""
    with openai.OpenAI(api_key="key", base_url=server.base_url) as client, recorded():
        stream = client.chat.completions.create(
            model="sv-ok?chunks=100000", messages=MESSAGES, stream=True
        )
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(chunks):
                next(stream)
            gc.collect()
            ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, f"{OURS}/*")])
            server_side = [tracemalloc.Filter(False, f"{OURS}/faults/*")]
            return sum(trace.size for trace in ours.filter_traces(server_side).traces)
        finally:
            tracemalloc.stop()
            stream.close()


def test_memory_per_stream_does_not_depend_on_the_number_of_chunks(server: ThreadedFaultServer) -> None:
    held_by_streaming(server, 10)
    few, many = held_by_streaming(server, 10), held_by_streaming(server, 3_000)
    # A pointer per chunk would be 24,000. Python 3.10 keeps a frame of every function that has run, some 500 each.
    assert abs(many - few) < 10_000


# -- series -------------------------------------------------------------------------------------------------

HOSTILE = [
    'quo"te', "back\\slash", "new\nline", "tab\t", "nul\0", "\x1b[31m", "smile \U0001f600",
    "\u202eright to left", "é" * 500, "x" * 100_000, " ", "{}", 'a="b"', "other", "unknown", "# HELP x", "%s",
    "\ufeff", "",
]


def exposition() -> str:
    current = lifecycle.current()
    assert current is not None
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(current.snapshot))
    return generate_latest(registry).decode()


def label_sets(text: str) -> set[tuple[str, ...]]:
    found = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "gen_ai_request_model" in sample.labels:
                found.add(tuple(sample.labels[name] for name in names.STREAM_LABELS))
    return found


async def ask(server: ThreadedFaultServer, models: list[Any], hosts: list[str]) -> None:
    async def one(client: openai.AsyncOpenAI, model: Any) -> None:
        with suppress(openai.OpenAIError, UnicodeError):
            body: dict[str, Any] = {"sv_scenario": "ok?chunks=1"}
            stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True, extra_body=body)
            async for _ in stream:
                pass

    for base_url in [server.base_url, *hosts]:
        async with openai.AsyncOpenAI(api_key="key", base_url=base_url, max_retries=0) as client:
            wanted = models if base_url == server.base_url else models[:3]
            for start in range(0, len(wanted), 50):
                await asyncio.gather(*(one(client, model) for model in wanted[start : start + 50]))


def test_the_number_of_series_is_bounded_whatever_models_and_hosts_are_called(server: ThreadedFaultServer) -> None:
    many = [f"model-{number}" for number in range(names.MAX_MODELS + 50)]
    # All of 127/8 is this machine, and nobody listens on this port of it.
    port = refused_url().rsplit(":", 1)[1]
    hosts = [f"http://127.1.0.{number}:{port}" for number in range(1, names.MAX_SERVERS + 20)]
    with recorded() as records:
        asyncio.run(ask(server, [*HOSTILE, *many], hosts))
        settle()
        found = label_sets(exposition())
        assert len(records) == len(HOSTILE) + len(many) + 3 * len(hosts)
    assert len(found) <= names.MAX_LABEL_SETS + 1
    assert len({model for _, _, model, _ in found}) <= names.MAX_MODELS + 1
    assert len({host for *_, host in found}) <= names.MAX_SERVERS + 1
    assert all(len(text) <= names.MAX_LABEL_LENGTH and text.isprintable() for labels in found for text in labels)
    assert "other" in {model for _, _, model, _ in found}
    assert "other" in {host for *_, host in found}


@pytest.mark.parametrize("model", [None, 7, ["a"], {"a": 1}, True, b"bytes", object()], ids=lambda m: type(m).__name__)
def test_a_model_that_is_no_text_is_unknown(model: Any, server: ThreadedFaultServer) -> None:
    with recorded() as records:
        with suppress(Exception):
            asyncio.run(ask(server, [model], []))
        settle()
    assert {record.labels.model for record in records} <= {names.UNKNOWN_MODEL}
    assert records.faults == []


# -- content ------------------------------------------------------------------------------------------------

SECRET = "S3CR3T"
# What the fault server says by itself: its tokens, the texts of its errors, the pages.
CONTENT = (SECRET, "token1", "token3", "injected", "never whole", "lookup", "call_1", "Sign in", "gave_up", "hello")
SCENARIOS = (
    "sv-ok", "sv-tool-calls", "sv-reasoning", "sv-unknown-finish-reason", "sv-silent-cut", "sv-truncated-json-event",
    "sv-reset", "sv-fin-in-chunk", "sv-broken-json", "sv-html-200", "sv-json-200", "sv-error-event", "sv-finish-error",
    "sv-error-event-quota", "sv-400", "sv-401", "sv-429", "sv-500", "sv-no-such-scenario",
)


def converse(client: openai.OpenAI) -> None:
    """Everything that an app can hand to the SDK has the secret in it, but for two values that may be labels."""
    body: dict[str, Any] = {
        "messages": [{"role": "system", "content": SECRET}, {"role": "user", "content": f"what is {SECRET}?"}],
        "user": SECRET, "stop": [SECRET], "metadata": {"key": SECRET, "tenant": "acme", SECRET: "acme"},
        "extra_headers": {
            "x-own": SECRET, "x-route": "chat", "authorization": SECRET, "cookie": SECRET, "traceparent": SECRET
        },
        "extra_query": {"key": SECRET},
        "tools": [{"type": "function", "function": {"name": SECRET, "parameters": {}}}],
    }
    for model in SCENARIOS:
        with suppress(openai.OpenAIError, ValueError, OSError):
            for _ in client.chat.completions.create(model=model, stream=True, **body):
                pass
        watched = client.chat.completions.with_streaming_response
        with suppress(Exception), watched.create(model=model, stream=True, **body) as response:
            for _ in response.iter_lines():
                pass
    next(client.chat.completions.create(model="sv-ok", stream=True, **body))


def texts_in(root: object) -> Iterator[str]:
    """All texts that can be reached from an object, by any way that the collector knows."""
    apart = (types.ModuleType, type, types.FrameType, types.CodeType)
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (str, bytes)):
            yield thing if isinstance(thing, str) else thing.decode("latin-1")
        elif isinstance(thing, types.FunctionType):
            waiting.extend([thing.__closure__, thing.__defaults__])
        elif not isinstance(thing, apart):
            waiting.extend(gc.get_referents(thing))


def leaks(where: str, text: str) -> list[str]:
    return [f"{where}: {found!r}" for found in CONTENT if found in text]


def spans_of(records: list[Any]) -> str:
    """What the spans of these records say."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from streamvitals.otel.traces import TraceSink, tracer_of

    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sink = TraceSink(tracer_of(provider))
    for record in records:
        sink.make_span(record)
    provider.shutdown()
    return "".join(span.to_json() for span in exporter.get_finished_spans())


@pytest.mark.parametrize("declared", ["", "tenant=metadata:tenant,route=header:x-route,who=header:authorization"])
def test_no_content_secret_or_header_is_kept_or_told(
    declared: str, server: ThreadedFaultServer, tmp_path: Path
) -> None:
    labels = parse(declared)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(logging.Formatter("%(message)s %(streamvitals)s %(exc_text)s", defaults={"streamvitals": ""}))
    logger = logging.getLogger("streamvitals")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    url = re.sub("//", f"//{SECRET}:{SECRET}@", server.base_url)
    try:
        with openai.OpenAI(
            api_key=SECRET, base_url=url, max_retries=1, organization=SECRET, default_headers={"x-key": SECRET}
        ) as client, recorded(Config(directory=str(tmp_path), labels=labels)) as records:
            converse(client)
            settle()
            current = lifecycle.current()
            assert current is not None
            assert len(records) == 2 * len(SCENARIOS) + 1
            shown = (("tenant", "acme"), ("route", "chat")) if declared else ()
            assert {record.labels.custom for record in records} == {shown}
            found = leaks("metrics", exposition())
            registry = CollectorRegistry()
            registry.register(SnapshotCollector(current.snapshot))
            found += leaks("openmetrics", generate_openmetrics(registry).decode())
            found += leaks("objects", "\n".join(texts_in(vars(current))))
            for path in tmp_path.rglob("*.sv"):
                found += leaks("file", path.read_bytes().decode("latin-1"))
            plain = [pickle.dumps({**record._asdict(), "slot": None, "operation": None}) for record in records]
            found += leaks("records", repr(list(records)) + b"".join(plain).decode("latin-1"))
            found += leaks("spans", spans_of(records))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert said.getvalue().count("stream ") > 5
    found += leaks("log", said.getvalue())
    assert found == []
