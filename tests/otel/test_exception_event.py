"""The failure of a stream as the conventions' event, through the app's own LoggerProvider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_support import run_script
from streamvitals.faults import ThreadedFaultServer

PROGRAM = """
import json
import openai, streamvitals
from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import {memory}, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

streamvitals.instrument()
client = openai.OpenAI(api_key="sk-secret", base_url={url!r}, max_retries=0)

def stream(model):
    try:
        for chunk in client.chat.completions.create(
            model=model, messages=[{{"role": "user", "content": "hello"}}], stream=True
        ):
            pass
    except Exception:
        pass

stream("sv-reset")
memory, provider = {memory}(), LoggerProvider()
provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
_logs.set_logger_provider(provider)
trace.set_tracer_provider(TracerProvider())
with trace.get_tracer("app").start_as_current_span("request") as span:
    for model in ("sv-ok", "sv-reset", "sv-silent-cut", "sv-no-such"):
        stream(model)
    trace_id = span.get_span_context().trace_id
for one in memory.get_finished_logs():
    record = one.log_record
    print(json.dumps([
        record.event_name, int(record.severity_number.value), dict(record.attributes), record.body,
        record.trace_id == trace_id, record.span_id != 0,
    ]))
"""


@pytest.mark.parametrize(("generation", "names"), [
    ("latest", ["gen_ai.client.inference.exception"]),
    ("both", ["gen_ai.client.inference.exception", "gen_ai.client.operation.exception"]),
])
def test_each_failure_is_an_event_with_its_trace_and_no_text(
    server: ThreadedFaultServer, generation: str, names: list[str]
) -> None:
    export = pytest.importorskip("opentelemetry.sdk._logs.export")
    memory = next((n for n in ("InMemoryLogRecordExporter", "InMemoryLogExporter") if hasattr(export, n)), None)
    done = run_script(
        PROGRAM.format(memory=memory, url=server.base_url), warnings="ignore", STREAMVITALS_CONVENTIONS=generation
    )
    told: list[Any] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in told] == names * 3, "none of the stream before there was a provider"
    assert {(severity, body, mine, spanned) for _, severity, _, body, mine, spanned in told} == {(13, None, True, True)}
    types = [attributes for _, _, attributes, *_ in told]
    assert all(set(attributes) == {"exception.type"} for attributes in types)
    assert types[len(names)] == {"exception.type": "missing_terminal"}, "nothing was raised"
    assert types[-1] == {"exception.type": "BadRequestError"}
