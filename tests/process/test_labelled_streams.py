"""Custom labels in a program that streams: on metrics, spans, journal and log, and whatever values they have."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest

import streamvitals
from app_support import MESSAGES, settle
from otel_support import run_script
from streamvitals import names
from streamvitals.config import Config
from streamvitals.config.labels import parse
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.store.snapshot import Snapshot
from streamvitals.testing import RecordList, recorded
from test_invariants_bounds import exposition, spans_of

Ask = Callable[..., None]
DECLARED = "tenant=metadata:tenant_id,route=header:x-route,feature=code"


@pytest.fixture
def client(server: ThreadedFaultServer) -> Any:
    with openai.OpenAI(api_key="key", base_url=server.base_url, max_retries=0) as made:
        yield made


def ask(client: Any, model: str = "sv-ok?chunks=2", **options: Any) -> None:
    with suppress(openai.OpenAIError, OSError):
        for _ in client.chat.completions.create(model=model, messages=MESSAGES, stream=True, **options):
            pass


def config(declared: str, **more: Any) -> Config:
    return Config(labels=parse(declared), **more)


def custom_of(records: RecordList) -> list[dict[str, str]]:
    settle()
    return [dict(record.labels.custom) for record in records]


def snapshot() -> Snapshot:
    current = lifecycle.current()
    assert current is not None
    return current.snapshot()


def test_each_request_has_its_own(client: Any) -> None:
    with recorded(config(DECLARED)) as records:
        ask(client, metadata={"tenant_id": "acme", "other": "x"}, extra_headers={"X-Route": "chat"})
        ask(client)
        with streamvitals.labels(feature="search", undeclared="x"):
            ask(client, extra_body={"metadata": {"tenant_id": 7}})
        assert custom_of(records) == [
            {"tenant": "acme", "route": "chat"}, {}, {"tenant": "7", "feature": "search"},
        ]
        assert sorted(len(labels.custom) for labels in snapshot().streams) == [0, 2, 2]
    with recorded(config("a=user,b=safety_identifier,c=prompt_cache_key")) as records:
        fields = {"user": "u", "safety_identifier": "s", "prompt_cache_key": "p"}
        ask(client, extra_body=fields)
        client.responses.create(model="sv-ok", input="hello", stream=True, extra_body=fields).close()
        assert custom_of(records) == [{"a": "u", "b": "s", "c": "p"}] * 2


def test_without_a_declaration_nothing_is_there(client: Any) -> None:
    with recorded() as records:
        with streamvitals.labels(feature="search"):
            ask(client, metadata={"tenant_id": "acme"}, extra_headers={"x-route": "chat"}, user="u")
        assert custom_of(records) == [{}]
        assert "acme" not in exposition()


def test_they_are_on_metrics_spans_journal_and_log(
    client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = tmp_path / "journal"
    with caplog.at_level(logging.WARNING, "streamvitals"), recorded(config(DECLARED, journal=str(journal))) as records:
        with streamvitals.labels(feature="search"):
            ask(client, "sv-silent-cut", metadata={"tenant_id": 'ac"me\nx'})
        ask(client)
        settle()
        lines = [line for line in exposition().splitlines() if "streams_total{" in line and line.endswith(" 1.0")]
        assert sum('feature="search"' in line and 'tenant="ac\\"me\N{REPLACEMENT CHARACTER}x"' in line
                   for line in lines) == 1
        assert sum('feature=""' in line and 'tenant=""' in line for line in lines) == 1
        spans = [json.loads(text)["attributes"] for text in spans_of(records).replace("}{", "}\0{").split("\0")]
    span, other = (attributes for attributes in spans if "streamvitals.outcome" in attributes)
    assert (span["tenant"], span["feature"]) == ('ac"me\N{REPLACEMENT CHARACTER}x', "search")
    assert not {"tenant", "feature", "route"} & other.keys()
    first, second = map(json.loads, journal.read_text().splitlines())
    assert first["labels"] == {"tenant": 'ac"me\N{REPLACEMENT CHARACTER}x', "feature": "search"}
    assert "labels" not in second
    assert "custom" not in second
    (warning,) = caplog.records
    assert '; tenant: ac"me\N{REPLACEMENT CHARACTER}x; feature: search' in warning.getMessage()
    assert warning.streamvitals["labels"] == first["labels"]  # type: ignore[attr-defined]


def test_they_are_on_metrics_over_otlp() -> None:
    pytest.importorskip("opentelemetry.sdk")
    from streamvitals.otel.keys import stream_attributes
    from streamvitals.stream.record import StreamLabels

    labels = StreamLabels("chat", "openai", "m", "h", (("tenant", "acme"),))
    assert stream_attributes(labels)["tenant"] == "acme"
    assert len(stream_attributes(labels._replace(custom=()))) == 4


HOSTILE: list[Any] = [
    "x" * 10_000, "line\nbreak", 'quo"te', "back\\slash", "\u202eright to left", "nul\0", "\N{GRINNING FACE}" * 5,
    "sk-proj-abcdefghijklmnop", "someone@example.com", "192.0.2.7", "2001:db8::1", '"} 1\nevil 2', "%s", "{}", "",
    None, True, 7, 10**400, 1.5, ["list"], {"a": "dict"},
]


def test_values_are_bounded_and_no_stream_is_lost(client: Any) -> None:
    with recorded(config("tenant=metadata:t,second=header:x-second", label_values=10)) as records:
        for value in HOSTILE:
            ask(client, extra_body={"metadata": {"t": value}})
        for number in range(40):
            ask(client, extra_body={"metadata": {"t": f"tenant-{number}"}}, extra_headers={"x-second": "a"})
        settle()
        shown, text = {value for record in records for _, value in record.labels.custom}, exposition()
        assert records.faults == []
        assert len(records) == len(HOSTILE) + 40
        counted = snapshot()
        hints = sum(record.hints.count("label_withheld") for record in records)
    assert len(shown) <= 10 + 2
    assert "other" in shown
    assert all(value.isprintable() and len(value.encode()) <= names.MAX_CUSTOM_VALUE for value in shown)
    for secret in ("sk-proj", "example.com", "192.0.2", "2001:db8", "xxxxxxxxxx", "evil 2\n"):
        assert secret not in text
    assert hints == 9
    assert any("label_limit" in record.hints for record in records)
    streams = sum(row[at] for row in counted.streams.values() for at in range(len(names.OUTCOMES)))
    assert streams == len(records)


def test_what_may_hold_a_secret_is_not_read_though_it_is_named(client: Any) -> None:
    env = {"STREAMVITALS_LABELS": "a=header:authorization,b=header:cookie,c=metadata:api_key", "OPENAI_API_KEY": "key"}
    with recorded(Config.from_env(env)) as records:
        ask(client, metadata={"api_key": "S3CR3T"}, extra_headers={"cookie": "S3CR3T", "authorization": "S3CR3T"})
        assert custom_of(records) == [{}]
        assert "S3CR3T" not in exposition() + repr(records)


def test_concurrent_requests_do_not_mix(server: ThreadedFaultServer) -> None:
    async def one(client: openai.AsyncOpenAI, name: str) -> None:
        with streamvitals.labels(feature=name):
            await asyncio.sleep(0)
            stream = await client.chat.completions.create(
                model="sv-ok?chunks=3&gap=0.001", messages=MESSAGES, stream=True, metadata={"tenant_id": name}
            )
        async for _ in stream:
            pass

    async def all_of_them() -> None:
        async with openai.AsyncOpenAI(api_key="key", base_url=server.base_url) as client:
            await asyncio.gather(*(one(client, f"f{number}") for number in range(30)))

    with recorded(config("tenant=metadata:tenant_id,feature=code")) as records:
        asyncio.run(all_of_them())
        found = custom_of(records)
    assert all(labels["tenant"] == labels["feature"] for labels in found)
    assert {labels["tenant"] for labels in found} == {f"f{number}" for number in range(30)}


def test_an_answer_that_is_streamed_on_by_a_generator_keeps_its_label(client: Any) -> None:
    def answer(name: str) -> Any:
        with streamvitals.labels(feature=name):
            yield from client.chat.completions.create(model="sv-ok?chunks=3", messages=MESSAGES, stream=True)

    with recorded(config("feature=code")) as records:
        one, two = answer("one"), answer("two")
        next(one)
        next(two)
        list(one)
        list(two)
        ask(client)
        assert custom_of(records) == [{"feature": "one"}, {"feature": "two"}, {}]


def test_retries_and_failed_operations_have_the_labels_of_their_streams(client: Any) -> None:
    with recorded(config("tenant=metadata:tenant_id")) as records:
        for model in ("sv-500", "sv-reset", "sv-reset", "sv-ok"):
            ask(client.with_options(max_retries=1), model, metadata={"tenant_id": "acme"})
        settle()
        assert records.retries
        assert {retry.labels.custom for retry in records.retries} == {(("tenant", "acme"),)}
        assert {labels.custom for labels in snapshot().streams} == {(("tenant", "acme"),)}


MULTIPROCESS = """
import os, openai, streamvitals
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
streamvitals.instrument()
client = openai.OpenAI(api_key="key", base_url={base_url!r})
for tenant in ("acme", "globex", None):
    more = {{}} if tenant is None else {{"metadata": {{"tenant_id": tenant}}}}
    for _ in client.chat.completions.create(model="sv-ok", messages=[], stream=True, **more):
        pass
files = CollectorRegistry()
MultiProcessCollector(files, {path!r})
for line in generate_latest(files).decode().splitlines():
    if "streams_total" in line and line.endswith(" 1.0"):
        print(line)
"""


def test_they_are_in_the_files_of_prometheus_multiprocess_mode(server: ThreadedFaultServer, tmp_path: Path) -> None:
    done = run_script(
        MULTIPROCESS.format(base_url=server.base_url, path=str(tmp_path)), warnings="ignore",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path), STREAMVITALS_LABELS="tenant=metadata:tenant_id",
    )
    assert sorted(line.count('tenant="') for line in done.stdout.splitlines()) == [0, 1, 1]
    assert 'tenant="acme"' in done.stdout
    assert 'tenant="globex"' in done.stdout


OTLP = """
import openai, streamvitals
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
streamvitals.instrument(meter_provider=MeterProvider([reader]))
client = openai.OpenAI(api_key="key", base_url={base_url!r})
with streamvitals.labels(feature="search"):
    stream = client.chat.completions.create(model="sv-ok", messages=[], stream=True)
for _ in stream:
    pass
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            print(metric.name, {{point.attributes.get("feature") for point in metric.data.data_points}})
"""


def test_they_are_on_the_apps_own_meter_provider(server: ThreadedFaultServer) -> None:
    pytest.importorskip("opentelemetry.sdk")
    done = run_script(OTLP.format(base_url=server.base_url), warnings="ignore", STREAMVITALS_LABELS="feature=code")
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert found["streamvitals.streams"] == "{'search'}"
    assert found["streamvitals.stream_duration"] == "{'search'}"
    assert found["streamvitals.internal_errors"] == "{None}"


def test_a_declaration_with_a_mistake_is_told_and_the_program_runs(server: ThreadedFaultServer) -> None:
    code = f"""
import openai, streamvitals
streamvitals.instrument()
for _ in openai.OpenAI(api_key="key", base_url={server.base_url!r}).chat.completions.create(
    model="sv-ok", messages=[], stream=True, metadata={{"t": "acme"}}
):
    pass
"""
    for declared, says in (
        ("tenant=metadata", "'metadata' needs a key"),
        ("a=header:cookie,tenant=metadata:t", "header:cookie may hold a secret and is never read"),
    ):
        done = run_script(code, warnings="ignore", STREAMVITALS_LABELS=declared)
        assert done.stderr.count(says) == 1, done.stderr
