"""Failures as records of the log over OTLP, where the app has no LoggerProvider."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context

from otel_support import failed, run_script
from otlp_receiver import PATIENCE, Receiver, attributes, receiver
from run_support import RUN, environment, python
from streamvitals.config import Config as Settings
from streamvitals.config.problems import endpoints, of_variables
from streamvitals.faults import ThreadedFaultServer
from streamvitals.otel.traces import start_tracing
from streamvitals.stream.sink import Sink

pytest.importorskip("opentelemetry.sdk._logs", reason="no records of the log")
EVENT = "gen_ai.client.inference.exception"


@dataclass
class Config:
    otlp_traces: bool = False
    declared: Any = None
    conventions: str = "latest"
    spans: str = "auto"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiver() as it:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"{it.url}/v1/logs")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
        yield it


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "streamvitals-logs"]


def test_a_failure_reaches_the_collector_with_its_trace(collector: Receiver) -> None:
    tracing = start_tracing(Config(), logs=True)
    assert isinstance(tracing.sink, Sink)
    assert ours() == [], "nothing runs before the first failure"
    span = TracerProvider().get_tracer("app").start_span("request")
    context = span.get_span_context()
    tracing.sink.on_end(failed(trace_parent=set_span_in_context(span), cause_chain=("ReadError", "OSError")))
    tracing.sink.on_end(failed(error_type="missing_terminal"))
    assert tracing.flush(PATIENCE)
    first, second = collector.logs()
    assert (first.event_name, first.severity_text) == (EVENT, "WARN")
    assert attributes(first) == {"exception.type": "ReadError"}
    assert first.body.WhichOneof("value") is None
    assert first.trace_id.hex() == f"{context.trace_id:032x}"
    assert first.span_id.hex() == f"{context.span_id:016x}"
    assert first.observed_time_unix_nano > first.time_unix_nano > 0
    assert (attributes(second), second.trace_id) == ({"exception.type": "missing_terminal"}, b"")
    (resource,) = collector.resources()
    assert resource["service.name"] == "shop"
    assert tracing.shutdown(PATIENCE)
    assert ours() == []


def test_a_collector_that_refuses_or_rejects_is_counted_and_said_once(
    collector: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[str] = []
    tracing = start_tracing(Config(), logs=True, on_error=faults.append)
    collector.rejected = 1
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            tracing.sink.on_end(failed())
            assert not tracing.flush(PATIENCE)
    assert faults == ["otel"] * 2
    (said,) = caplog.records
    assert said.getMessage().startswith("failures could not be delivered over OTLP (rejected by the collector)")
    collector.rejected, collector.status = 0, 404
    tracing.sink.on_end(failed())
    assert not tracing.shutdown(PATIENCE)
    assert faults == ["otel"] * 3


def test_an_outage_holds_a_bounded_number_of_records(collector: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "1")
    collector.hang = threading.Event()
    faults: list[str] = []
    tracing = start_tracing(Config(), logs=True, on_error=faults.append)
    tracing.sink.on_end(failed())
    collector.wait_for(lambda it: it.attempts == 1)
    for _ in range(10):
        tracing.sink.on_end(failed())
    assert faults == ["otel"] * 6
    collector.hang.set()
    assert tracing.flush(PATIENCE)
    assert len(collector.logs()) == 5
    assert tracing.shutdown(PATIENCE)


def test_without_the_package_spans_are_made_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "streamvitals.otel.own_logs", None)
    provider = TracerProvider()
    with caplog.at_level(logging.WARNING):
        tracing = start_tracing(Config(), provider=provider, logs=True)
    assert tracing.sink.make_span(failed()) is not None
    tracing.sink.on_end(failed())
    assert "no failures over OTLP: streamvitals.otel.own_logs" in caplog.text


@pytest.mark.parametrize(("env", "wanted"), [
    ({}, False), ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, False),
    ({"OTEL_LOGS_EXPORTER": "otlp"}, True), ({"OTEL_LOGS_EXPORTER": "console"}, False),
    ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://h:4318/v1/logs"}, True),
    ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://h:4318/v1/logs", "OTEL_LOGS_EXPORTER": "none"}, False),
    ({"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
])
def test_they_are_sent_only_if_asked_for_by_name(env: dict[str, str], wanted: bool) -> None:
    config, bad = Settings.read(env)
    assert (config.otlp_logs, bad) == (wanted, ())
    signals = [where.signal for where in endpoints(env, config)]
    assert ("logs" in signals) == wanted
    assert bool(of_variables(env)) == ("grpc" in env.values())


PROGRAM = """
import openai, os, sys
client = openai.OpenAI(api_key="sk-secret", base_url={url!r}, max_retries=0)
def stream(model):
    try:
        for chunk in client.chat.completions.create(
            model=model, messages=[{{"role": "user", "content": "hello"}}], stream=True
        ):
            pass
    except Exception:
        pass
stream("sv-ok")
stream("sv-reset")
if os.fork() == 0:
    stream("sv-silent-cut")
    sys.exit()
os.wait()
"""


def test_under_run_each_process_sends_its_own(server: ThreadedFaultServer, collector: Receiver) -> None:
    env = environment(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_LOGS_EXPORTER="otlp", OTEL_METRICS_EXPORTER="none",
        STREAMVITALS_PORT="0",
    )
    program = python("-W", "ignore", "-c", PROGRAM.format(url=server.base_url))
    subprocess.run([*RUN, "--", *program], env=env, check=True, capture_output=True)
    collector.wait_for(lambda it: len(it.logs()) == 2)
    types = {attributes(record)["exception.type"] for record in collector.logs()}
    assert "missing_terminal" in types
    assert len(types) == 2
    spans = {span.span_id for span in collector.spans()}
    assert {record.span_id for record in collector.logs()} <= spans, "each leads to the stream's span"
    assert len({resource["service.instance.id"] for resource in collector.resources()}) == 2
    assert b"secret" not in b"".join(request.message.SerializeToString() for request in collector.requests)


def test_the_apps_own_provider_comes_first(server: ThreadedFaultServer, collector: Receiver) -> None:
    run_script(
        f"""
        import openai, streamvitals
        from opentelemetry import _logs
        from opentelemetry.sdk._logs import LoggerProvider
        _logs.set_logger_provider(LoggerProvider())
        streamvitals.instrument()
        client = openai.OpenAI(api_key="k", base_url={server.base_url!r}, max_retries=0)
        for chunk in client.chat.completions.create(
            model="sv-silent-cut", messages=[{{"role": "user", "content": "hello"}}], stream=True
        ):
            pass
        streamvitals.flush()
        """,
        warnings="ignore", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{collector.url}/v1/logs",
    )
    assert collector.logs() == []
