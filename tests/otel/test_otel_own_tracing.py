"""The span pipeline of our own: what reaches a collector, and what the app must not notice of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_support import record, run_script
from otlp_receiver import PATIENCE, Receiver, attributes, receiver
from streamvitals.otel.otlp import Losses
from streamvitals.otel.own_tracing import OwnTracing
from streamvitals.otel.span_queue import SpanQueue
from streamvitals.otel.traces import Tracing, start_tracing


@dataclass
class Config:
    otlp_traces: bool = True
    declared: None = None
    conventions: str = "latest"
    spans: str = "auto"


@pytest.fixture
def tracing(collector: Receiver) -> Iterator[Tracing]:
    started = start_tracing(Config())
    yield started
    started.shutdown()


def spans_of_ours(threads: list[threading.Thread]) -> list[threading.Thread]:
    return [t for t in threads if t.name == "streamvitals-spans"]


def test_spans_reach_the_collector(
    tracing: Tracing, collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tracing.sink.make_span(record())
    assert tracing.flush(PATIENCE)
    (span,) = collector.spans()
    assert span.name == "chat gpt-4o-mini"
    assert attributes(span)["gen_ai.response.finish_reasons"] == ("stop",)
    assert context is not None
    assert record().with_span(context).trace_ids == (span.trace_id.hex(), span.span_id.hex())
    (resource,) = collector.resources()
    assert resource["service.name"] == "shop"
    assert resource["service.instance.id"]


def test_headers_and_compression_are_the_standard_variables(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=acme")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=one,deployment.environment=test")
    tracing = start_tracing(Config())
    tracing.sink.make_span(record())
    assert tracing.shutdown(PATIENCE)
    (request,) = collector.requests
    assert request.headers["x-tenant"] == "acme"
    assert request.headers["content-encoding"] == "gzip"
    (resource,) = collector.resources()
    assert resource["service.instance.id"] == "one"
    assert resource["deployment.environment"] == "test"


def test_nothing_runs_before_the_first_span(collector: Receiver) -> None:
    before = threading.enumerate()
    tracing = start_tracing(Config())
    assert threading.enumerate() == before
    tracing.sink.make_span(record())
    assert len(spans_of_ours(threading.enumerate())) == 1
    assert tracing.shutdown(PATIENCE)


def test_no_global_provider_is_set(tracing: Tracing) -> None:
    tracing.sink.make_span(record())
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_spans_after_a_shutdown_wait_for_the_next(tracing: Tracing, collector: Receiver) -> None:
    for streams in (1, 2):
        tracing.sink.make_span(record())
        assert tracing.shutdown(PATIENCE)
        assert len(collector.spans()) == streams
    assert tracing.shutdown(PATIENCE)
    assert not spans_of_ours(threading.enumerate())


def test_an_app_that_sets_its_provider_later_gets_the_spans() -> None:
    with receiver() as collector:
        run_script(
            """
            from otel_support import record
            from opentelemetry import trace
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import SimpleSpanProcessor
            from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
            from streamvitals.otel.traces import start_tracing

            class Config: otlp_traces, declared, conventions, spans = True, None, "latest", "auto"
            tracing = start_tracing(Config())
            tracing.sink.make_span(record(response_id="ours"))
            memory = InMemorySpanExporter()
            provider = TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(memory))
            trace.set_tracer_provider(provider)
            tracing.sink.make_span(record(response_id="theirs"))
            assert tracing.flush(30)
            ids = [s.attributes.get("gen_ai.response.id") for s in memory.get_finished_spans()]
            assert ids == ["theirs"], ids
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        assert [attributes(s).get("gen_ai.response.id") for s in collector.spans()] == ["ours"]


def test_a_provider_that_is_handed_in_is_used() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracing = start_tracing(Config(), provider=provider)
    tracing.sink.make_span(record())
    assert len(memory.get_finished_spans()) == 1
    assert tracing.shutdown()


def test_without_otlp_the_sdk_is_not_even_imported() -> None:
    run_script(
        """
        import sys
        from streamvitals.otel.trace_parent import capture_parent
        assert capture_parent() is None
        assert not any(m.startswith("opentelemetry") for m in sys.modules)
        from streamvitals.otel.traces import start_tracing
        from otel_support import record
        class Config: otlp_traces, declared, conventions, spans = False, None, "latest", "auto"
        start_tracing(Config()).sink.make_span(record())
        assert not any(m.startswith(("opentelemetry.sdk", "requests")) for m in sys.modules)
        """
    )


def test_spans_are_flushed_at_exit() -> None:
    with receiver() as collector:
        run_script(SCRIPT, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        assert len(collector.spans()) == 1


SCRIPT = """
import logging
logging.basicConfig(level=logging.DEBUG)
from otel_support import record
from streamvitals.otel.traces import start_tracing
class Config: otlp_traces, declared, conventions, spans = True, None, "latest", "auto"
tracing = start_tracing(Config())
tracing.sink.make_span(record())
"""


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_collector_that_refuses_is_said_once(status: int) -> None:
    with receiver() as collector:
        collector.status = status
        done = run_script(SCRIPT, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING:streamvitals:spans could not be delivered")
    assert done.stdout == ""
    assert collector.attempts == 1, "at exit the first failed attempt is the last"


def test_a_collector_that_is_down_is_said_once() -> None:
    with receiver() as gone:
        pass
    done = run_script(SCRIPT, OTEL_EXPORTER_OTLP_ENDPOINT=gone.url)
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING:streamvitals:spans could not be delivered")


def test_a_collector_that_never_answers_does_not_keep_the_process() -> None:
    with receiver() as collector:
        collector.hang = threading.Event()
        # The exporter itself would wait for longer than this test does.
        done = run_script(
            SCRIPT, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="100000"
        )
        assert not collector.hang.is_set()
        assert collector.attempts == 1
    assert done.stderr == ""


def test_a_last_span_at_interpreter_exit_is_exported() -> None:
    # From Python 3.12 on no thread can be started any more when atexit functions run.
    with receiver() as collector:
        run_script(
            """
            import atexit
            from otel_support import record
            from streamvitals.otel.traces import start_tracing
            class Config: otlp_traces, declared, conventions, spans = True, None, "latest", "auto"
            tracing = start_tracing(Config())
            atexit.register(tracing.sink.make_span, record())
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        assert len(collector.spans()) == 1


def test_without_a_thread_the_shutdown_exports(
    tracing: Tracing, collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if spans_of_ours([thread]):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    tracing.sink.make_span(record())
    tracing.sink.make_span(record())
    assert tracing.shutdown(PATIENCE)
    assert len(collector.spans()) == 2


FORK = """
import os, sys
from otel_support import record
from streamvitals.otel.traces import start_tracing
class Config: otlp_traces, declared, conventions, spans = True, None, "latest", "auto"
tracing = start_tracing(Config())

def stream(name):
    tracing.sink.make_span(record(response_id=name))

def child(name):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            stream(name)
            code = 0 if tracing.flush(30) else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
"""


def test_forked_workers_of_a_master_that_streamed() -> None:
    with receiver() as collector:
        run_script(
            FORK + "stream('parent 1'); assert tracing.flush(30); child('child 1'); child('child 2')\n"
            "stream('parent 2'); assert tracing.flush(30)",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        ids = [attributes(s).get("gen_ai.response.id") for s in collector.spans()]
        assert [i for i in ids if i] == ["parent 1", "child 1", "child 2", "parent 2"]
        first, one, two, last = (r["service.instance.id"] for r in collector.resources())
        assert first == last
        assert len({first, one, two}) == 3
        traces = {s.trace_id for s in collector.spans()}
        assert len(traces) == 4, "a child must not draw its parent's ids again"


def test_a_master_that_does_not_stream_has_no_threads_to_fork_with() -> None:
    with receiver() as collector:
        run_script(
            FORK + "import threading; child('child'); assert threading.active_count() == 1",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        assert len(collector.spans()) == 1


def test_a_fork_while_the_parent_is_exporting() -> None:
    with receiver() as collector:
        collector.hang = threading.Event()
        code = FORK + (
            "stream('stuck'); sys.stdin.readline()\n"  # the parent's exporter waits for its answer by then
            "child('child'); stream('parent'); assert tracing.flush(30)"
        )
        proc = _start(code, collector.url)
        collector.wait_for(lambda r: r.attempts == 1)
        collector.hang.set()  # answers the child; the parent's request may be answered or not by the fork
        out, err = proc.communicate("go\n", timeout=2 * PATIENCE)
        assert proc.returncode == 0, out + err
        ids = [attributes(s).get("gen_ai.response.id") for s in collector.spans()]
        assert sorted(i for i in ids if i) == ["child", "parent", "stuck"]


def _start(code: str, url: str) -> Any:
    import os
    import subprocess
    import sys

    from otel_support import SRC, TESTS

    env = {**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{TESTS}", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
    env["OTEL_BSP_SCHEDULE_DELAY"] = "1"
    return subprocess.Popen(
        [sys.executable, "-c", code], env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_of_multiprocessing_that_just_ends(method: str, tmp_path: Any) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        f"""
import multiprocessing
from otel_support import record
from streamvitals.otel.traces import start_tracing
class Config: otlp_traces, declared, conventions, spans = True, None, "latest", "auto"

def work():
    start_tracing(Config()).sink.make_span(record())

if __name__ == "__main__":
    worker = multiprocessing.get_context({method!r}).Process(target=work)
    worker.start()
    worker.join()
    assert worker.exitcode == 0
"""
    )
    with receiver() as collector:
        run_script(
            f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
            if method == "fork"
            else f"import subprocess, sys; subprocess.run([sys.executable, {str(script)!r}], check=True)",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        assert len(collector.spans()) == 1


def test_the_apps_random_numbers_stay_the_same() -> None:
    with receiver() as collector:
        collector.status = 503
        run_script(
            """
            import random
            from otel_support import record
            from streamvitals.otel.traces import start_tracing
            class Config: otlp_traces, declared, conventions, spans = True, None, "latest", "auto"
            tracing = start_tracing(Config())
            before = random.getstate()
            tracing.sink.make_span(record())
            assert not tracing.shutdown(30)
            assert random.getstate() == before
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        assert collector.attempts == 1


def test_the_apps_instrumentation_does_not_see_the_exporter(tracing: Tracing, collector: Receiver) -> None:
    requests = pytest.importorskip("opentelemetry.instrumentation.requests")
    urllib3 = pytest.importorskip("opentelemetry.instrumentation.urllib3")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    instrumentors = (requests.RequestsInstrumentor(), urllib3.URLLib3Instrumentor())
    for one in instrumentors:
        one.instrument(tracer_provider=provider)
    try:
        tracing.sink.make_span(record())
        assert tracing.flush(PATIENCE)
        assert len(collector.spans()) == 1
        assert "traceparent" not in collector.requests[0].headers
        assert not memory.get_finished_spans()
        _get(collector.url)
        assert memory.get_finished_spans(), "the instrumentation itself works"
    finally:
        for one in instrumentors:
            one.uninstrument()


def _get(url: str) -> None:
    import requests

    with requests.Session() as session:
        session.get(url, timeout=PATIENCE)


def test_what_the_exporters_loggers_say_for_the_app_is_heard(
    tracing: Tracing, collector: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tracing.sink.make_span(record())
    assert tracing.flush(PATIENCE)
    assert not caplog.records
    _get(collector.url)
    assert any(r.name == "urllib3.connectionpool" for r in caplog.records)


class Stuck(SpanExporter):
    """Takes one batch and does not come back before it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.names: list[str] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.entered.set()
        self.let_go.wait(PATIENCE)
        self.names += [s.name for s in spans]
        return SpanExportResult.SUCCESS


def test_a_stuck_exporter_costs_the_oldest_spans_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    stuck, errors = Stuck(), []
    own = OwnTracing(errors.append, lambda timeout: stuck)
    tracer = own.tracer()
    tracer.start_span("first").end()
    assert stuck.entered.wait(PATIENCE)
    for n in range(10):
        tracer.start_span(f"span {n}").end()
    assert errors == ["otel"] * 6
    stuck.let_go.set()
    assert own.flush(PATIENCE)
    assert stuck.names == ["first", "span 6", "span 7", "span 8", "span 9"]
    assert own.shutdown(PATIENCE)


def test_a_flush_that_takes_too_long_says_so() -> None:
    stuck = Stuck()
    own = OwnTracing(None, lambda timeout: stuck)
    own.tracer().start_span("one").end()
    assert not own.flush(0.0)
    stuck.let_go.set()
    assert own.shutdown(PATIENCE)
    assert stuck.names == ["one"]


def test_an_exporter_that_raises_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            raise ValueError("https://user:secret@collector.example")

    errors: list[str] = []
    own = OwnTracing(errors.append, lambda timeout: Broken())
    for _ in range(3):
        own.tracer().start_span("one").end()
        assert not own.flush(PATIENCE)
    assert errors == ["otel"] * 3
    (said,) = caplog.records
    assert "ValueError" in said.getMessage()
    assert "secret" not in caplog.text
    own.shutdown(PATIENCE)


def test_a_signal_handler_may_end_a_stream_in_the_middle_of_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")  # so that every span wakes the thread
    memory = InMemorySpanExporter()
    own = OwnTracing(None, lambda timeout: memory)
    own.tracer().start_span("one").end()
    queue = own._queue
    assert queue is not None

    def interrupted() -> None:
        with queue._changed:
            own.tracer().start_span("two").end()

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert own.shutdown(PATIENCE)
    assert [s.name for s in memory.get_finished_spans()] == ["one", "two"]


@pytest.mark.parametrize("value", ["0", "-1", "many", ""])
def test_a_wrong_queue_size_is_the_default(value: str) -> None:
    queue = SpanQueue(lambda timeout: Stuck(), Losses("spans", None), {"OTEL_BSP_MAX_QUEUE_SIZE": value})
    assert queue._items.maxlen == 2048
