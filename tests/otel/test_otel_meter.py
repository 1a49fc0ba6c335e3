"""Our metrics on the app's own MeterProvider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from otel_support import LABELS, failed, record
from store_support import call
from streamvitals import names
from streamvitals.otel.meter import MeterSink, on_app_provider
from streamvitals.otel.trace_parent import capture_parent
from streamvitals.outcome import Outcome
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import StreamRecord, Usage


class App:
    """An app that has a MeterProvider, and streams that are counted and reported to it."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.store = Store(HeapMemory())
        self.taken = 0
        self.meter_sink = on_app_provider(self.provider, self.take)
        self.sinks = (StoreSink(self.store), self.meter_sink)

    def take(self) -> Snapshot:
        self.taken += 1
        return self.store.snapshot(now=1000.0)

    def end(self, ended: StreamRecord) -> None:
        for sink in self.sinks:
            sink.on_end(ended)

    def read(self) -> dict[str, Any]:
        """All metrics by name."""
        data = self.reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics if data is not None else []
        return {m.name: m for s in scopes for m in s.metrics}


@pytest.fixture
def app() -> Iterator[App]:
    it = App()
    yield it
    it.provider.shutdown()


def point(metric: Any, **having: str) -> Any:
    wanted = {k.replace("__", "."): v for k, v in having.items()}.items()
    (one,) = (p for p in metric.data.data_points if wanted <= p.attributes.items())
    return one


def test_every_metric_but_the_gap(app: App) -> None:
    app.store.set_build("1", "2", "true")
    app.end(record())
    failed_call = call(app.store, outcome=Outcome.HTTP_ERROR, error_type="500")
    for sink in app.sinks:
        sink.on_call(failed_call)
    app.meter_sink.on_loop_lag(0.003)
    found = app.read()
    expected = {m.otel: m for m in names.ALL_METRICS}
    absent = {"streamvitals.chunk_gap", "streamvitals.ratelimit_remaining", "streamvitals.ratelimit_limit"}
    ours = {name: metric for name, metric in found.items() if name.startswith("streamvitals.")}
    assert set(ours) == set(expected) - absent - {names.UNREPORTED.otel}
    assert {n: m.unit for n, m in ours.items()} == {n: expected[n].unit for n in ours}


def test_counters_and_gauges_are_the_snapshots(app: App) -> None:
    app.end(record())
    app.end(failed())
    app.store.open_slot(LABELS, started=1.0)
    found = app.read()
    streams = found["streamvitals.streams"]
    assert point(streams, outcome="completed").value == 1
    assert point(streams, outcome="truncated").value == 0
    assert streams.data.is_monotonic
    errors = found["streamvitals.stream_errors"]
    assert point(errors, error__type="connection_reset").value == 1
    assert dict(point(errors, error__type="connection_reset").attributes) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini", "server.address": "api.example.com",
        "outcome": "reset", "error.type": "connection_reset", "result": "failed",
    }
    assert point(found["streamvitals.streams_active"]).value == 1
    assert point(found["streamvitals.streams_stalled"], phase="first_token").value == 1
    assert point(found["streamvitals.streams_stalled"], phase="keep_alive").value == 0
    assert point(found["streamvitals.tokens"], type="input", part="cached").value == 8


def test_the_series_of_the_store_stand_at_0_before_anything_ended(app: App) -> None:
    app.store.open_slot(LABELS, started=1.0)
    found = app.read()
    assert len(found["streamvitals.streams"].data.data_points) == len(names.STREAMS.values)
    assert {p.value for p in found["streamvitals.tokens"].data.data_points} == {0}


def test_histograms_get_one_value_per_stream_whatever_its_chunks(app: App) -> None:
    for chunks in (1, 1000):
        app.end(record(chunks=chunks, usage=Usage(10, 18)))
    found = app.read()
    for name, total in (
        ("streamvitals.time_to_first_chunk", 1.0), ("streamvitals.time_to_first_token", 1.25),
        ("streamvitals.stream_duration", 4.0), ("gen_ai.client.inference.duration", 4.0),
        ("gen_ai.client.inference.time_to_first_chunk", 1.0),
    ):
        one = point(found[name])
        assert (one.count, one.sum) == (2, total)
    assert point(found["streamvitals.stream_duration"]).attributes["result"] == "completed"
    assert point(found["gen_ai.client.inference.operation.output_tokens"]).sum == 36
    assert point(found["streamvitals.output_tokens"]).sum == pytest.approx(2 * 18 / 1.375)


def test_the_edges_are_ours_where_the_api_takes_advice(app: App) -> None:
    app.end(record())
    bounds = tuple(point(app.read()["streamvitals.stream_duration"]).explicit_bounds)
    if bounds[0] == 0.0:
        pytest.skip("this version of the API takes no advice on edges")
    assert bounds == names.DURATION_EDGES


def test_the_conventions_duration_has_an_error_type_only_for_errors(app: App) -> None:
    app.end(failed())
    app.end(failed(Outcome.CANCELLED, "cancelled"))
    durations = app.read()["gen_ai.client.inference.duration"]
    assert [p.attributes.get("error.type") for p in durations.data.data_points] == ["connection_reset", None]


def test_what_is_unknown_is_not_recorded(app: App) -> None:
    app.end(record(first_chunk=None, first_token=None, usage=None))
    app.end(failed(usage=Usage(10, None)))
    found = app.read()
    assert point(found["streamvitals.time_to_first_chunk"]).count == 1
    assert "streamvitals.output_tokens" not in found
    assert "gen_ai.client.inference.operation.input_tokens" not in found
    assert point(found["gen_ai.client.inference.usage.input_tokens"]).value == 10


def test_a_collection_takes_one_snapshot(app: App) -> None:
    for collections in (1, 2, 3):
        app.read()
        assert app.taken == collections


def test_two_readers_take_one_each() -> None:
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    provider = MeterProvider(readers, shutdown_on_exit=False)
    taken = []
    on_app_provider(provider, lambda: taken.append(1) or Snapshot())  # type: ignore[func-returns-value]
    for reader in readers:
        reader.get_metrics_data()
    assert len(taken) == 2
    provider.shutdown()


def test_deltas_are_the_providers_to_make() -> None:
    reader = InMemoryMetricReader({ObservableCounter: AggregationTemporality.DELTA})
    provider = MeterProvider([reader], shutdown_on_exit=False)
    store = Store(HeapMemory())
    on_app_provider(provider, lambda: store.snapshot(1000.0))
    seen = []
    for _ in range(3):
        StoreSink(store).on_end(record())
        data = reader.get_metrics_data()
        assert data is not None
        (scope,) = data.resource_metrics[0].scope_metrics
        (streams,) = (m for m in scope.metrics if m.name == "streamvitals.streams")
        seen.append(point(streams, outcome="completed").value)
    assert seen == [1, 1, 1]
    provider.shutdown()


def test_it_can_be_closed_and_taken_up_again(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.end(record())
    app.meter_sink.close()
    assert "streamvitals.streams" not in app.read()
    again = on_app_provider(app.provider, app.take)
    assert isinstance(again, MeterSink)
    assert point(app.read()["streamvitals.streams"], outcome="completed").value == 1
    again.on_end(record())
    assert point(app.read()["streamvitals.stream_duration"]).count == 2
    assert not caplog.records


def test_exemplars_show_the_streams_trace(app: App) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("app")
    with tracer.start_as_current_span("the stream's") as span:
        parent = capture_parent()
    with tracer.start_as_current_span("somebody else's"):
        app.end(record()._replace(trace_parent=parent))
    one = point(app.read()["streamvitals.stream_duration"])
    if not getattr(one, "exemplars", None):
        pytest.skip("this version of the SDK has no exemplars")
    assert {e.trace_id for e in one.exemplars} == {span.get_span_context().trace_id}


def test_a_provider_that_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    sink = on_app_provider(NoOpMeterProvider(), Snapshot)
    sink.on_end(record())
    sink.on_loop_lag(0.1)
    assert not caplog.records
