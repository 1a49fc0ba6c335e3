"""The tail of a failed stream's text: off unless asked for, bounded, redacted, and nowhere but where it may be."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

import streamvitals
from streamvitals.config import Config, ConfigError
from streamvitals.faults import ThreadedFaultServer
from streamvitals.stream.chunks import ChatChunks
from streamvitals.stream.partial import TailReader
from streamvitals.testing import RecordList, recorded


def stream(server: ThreadedFaultServer, scenario: str, config: Config) -> RecordList:
    with recorded(config) as records, openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
        made: Any = client.chat.completions.create(model=f"sv-{scenario}", messages=[], stream=True)
        try:
            for _ in made:
                pass
        except openai.OpenAIError:
            pass
    return records


def shout(text: str) -> str:
    return text.upper()


def fail(text: str) -> str:
    raise RuntimeError(text)


def test_off_by_default(server: ThreadedFaultServer) -> None:
    (record,) = stream(server, "reset", Config())
    assert record.partial is None


def test_the_tail_of_a_failed_stream_and_of_no_other(server: ThreadedFaultServer) -> None:
    (record,) = stream(server, "reset", Config(capture_partial=12))
    assert record.partial == "ken1 token2 "
    assert "token2" not in repr(record)
    (record,) = stream(server, "ok", Config(capture_partial=12))
    assert record.partial is None


def test_redacted_and_nothing_at_all_where_the_hook_fails(server: ThreadedFaultServer) -> None:
    (record,) = stream(server, "reset", Config(capture_partial=7, redact=f"{__name__}:shout"))
    assert record.partial == "TOKEN2 "
    records = stream(server, "reset", Config(capture_partial=7, redact=f"{__name__}:fail"))
    assert [r.partial for r in records] == [None]
    assert records.faults == ["observe"]


def test_a_hook_that_cannot_be_found_is_an_error_before_any_text_is_kept() -> None:
    with (
        pytest.raises(ConfigError, match=r"STREAMVITALS_REDACT='no\.such:hook'"),
        recorded(Config(capture_partial=7, redact="no.such:hook")),
    ):
        pass


def test_in_the_journal_but_not_in_the_log(
    server: ThreadedFaultServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = tmp_path / "journal.jsonl"
    with caplog.at_level(logging.WARNING, "streamvitals"):
        stream(server, "reset", Config(capture_partial=12, journal=str(journal)))
    assert json.loads(journal.read_text())["partial"] == "ken1 token2 "
    assert len(caplog.records) == 1
    assert "token2" not in repr(vars(caplog.records[0]))


@given(st.lists(st.text(max_size=30), max_size=40), st.integers(1, 50))
def test_the_tail_is_the_end_of_the_whole_however_it_came(pieces: list[str], limit: int) -> None:
    reader = TailReader(ChatChunks(), limit)
    for piece in pieces:
        reader.read({"choices": [{"index": 0, "delta": {"content": piece}}]})
    whole = "".join(pieces).encode("utf-8", "replace")
    assert reader.tail() == whole[-limit:].decode("utf-8", "ignore")
    assert sum(map(len, reader._pieces)) <= 2 * limit + 30


def test_an_event_of_the_failed_streams_span(server: ThreadedFaultServer) -> None:
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    provider = trace.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(memory))
    streamvitals.instrument(
        registry=CollectorRegistry(), tracer_provider=provider, config=Config(capture_partial=7)
    )
    try:
        with openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
            for scenario in ("silent-cut", "ok"):
                list(client.chat.completions.create(model=f"sv-{scenario}", messages=[], stream=True))
    finally:
        streamvitals.uninstrument()
    events = {
        span.name: [event.attributes["streamvitals.partial"] for event in span.events if event.name == "partial"]
        for span in memory.get_finished_spans()
        if span.name.startswith("chat")
    }
    assert events == {"chat sv-silent-cut": ["token2 "], "chat sv-ok": []}
