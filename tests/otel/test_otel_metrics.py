"""Metrics over OTLP: what the numbers of a snapshot become, on the wire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from otel_support import LABELS, Config, Counted, failed, record, run_script
from otlp_receiver import PATIENCE, Receiver, attributes, receiver
from store_support import call
from streamvitals import names
from streamvitals.otel.metrics import Exporting, PreaggregatedExporter, start_exporting
from streamvitals.outcome import Outcome
from streamvitals.store.layout import PROCESS_LAYOUT, STREAM_LAYOUT
from streamvitals.store.snapshot import Snapshot
from streamvitals.stream.record import Progress, RateLimit, StreamLabels

CUMULATIVE = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
STREAM = {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini", "server.address": "api.example.com",
}


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def exporting(collector: Receiver, counted: Counted) -> Iterator[Exporting]:
    started = start_exporting(counted.take, Config())
    yield started
    started.shutdown(PATIENCE)


def points(metric: Any, **having: str) -> list[Any]:
    """The data points of a metric whose attributes include these (error_type stands for error.type)."""
    wanted = {k.replace("__", "."): v for k, v in having.items()}.items()
    found = getattr(metric, metric.WhichOneof("data")).data_points
    return [p for p in found if wanted <= attributes(p).items()]


def point(metric: Any, **having: str) -> Any:
    (one,) = points(metric, **having)
    return one


def number(metric: Any, **having: str) -> float:
    one = point(metric, **having)
    return float(getattr(one, one.WhichOneof("value")))


def test_what_was_counted_reaches_the_collector(
    exporting: Exporting, collector: Receiver, counted: Counted
) -> None:
    gaps = [0] * (len(names.GAP_EDGES) + 1)
    gaps[3], gaps[-1] = 5, 2
    progress = Progress(LABELS, tuple(gaps), 130.5, 1.5, 0.5, 2, first_chunk=0.5, first_token=0.625)
    counted.sink.on_end(record(progress=progress))
    counted.sink.on_end(failed())
    assert exporting.flush(PATIENCE)
    found = collector.metrics()

    streams = found["streamvitals.streams"]
    assert (streams.unit, streams.description) == (names.STREAMS.unit, names.STREAMS.help)
    assert streams.sum.is_monotonic
    assert streams.sum.aggregation_temporality == CUMULATIVE
    assert number(streams, outcome="completed") == 1
    assert number(streams, outcome="reset") == 1
    assert point(streams, outcome="reset").WhichOneof("value") == "as_int"
    assert attributes(point(streams, outcome="reset")) == {**STREAM, "outcome": "reset", "result": "failed"}
    errors = found["streamvitals.stream_errors"]
    assert number(errors, error__type="connection_reset") == 1
    assert number(found["streamvitals.wait"]) == 3.0
    assert point(found["streamvitals.wait"]).WhichOneof("value") == "as_double"

    gap = point(found["streamvitals.chunk_gap"])
    assert found["streamvitals.chunk_gap"].histogram.aggregation_temporality == CUMULATIVE
    assert tuple(gap.explicit_bounds) == names.GAP_EDGES
    assert list(gap.bucket_counts) == gaps
    assert (gap.count, gap.sum) == (7, 130.5)
    assert not gap.HasField("min")
    assert not gap.HasField("max")
    assert 0 < gap.start_time_unix_nano <= gap.time_unix_nano

    assert number(found["streamvitals.tokens"], type="input", part="uncached") == 12
    assert number(found["streamvitals.streams_active"]) == 0
    (scope,) = collector.requests[-1].message.resource_metrics[0].scope_metrics
    assert scope.scope.name == "streamvitals"
    (resource,) = collector.resources()
    assert resource["service.name"] == "shop"
    assert resource["service.instance.id"]


def test_every_metric_of_ours_is_there_and_no_other(
    exporting: Exporting, collector: Receiver, counted: Counted
) -> None:
    counted.store.set_build("1", "2", "true")
    limits = (RateLimit("requests", 9.0, 10.0), RateLimit("tokens", 90.0, 100.0))
    counted.sink.on_end(record(rate_limits=limits))
    counted.sink.on_call(call(counted.store, outcome=Outcome.HTTP_ERROR, error_type="500"))
    assert exporting.flush(PATIENCE)
    expected = {m.otel: m for m in names.ALL_METRICS}
    del expected[names.UNREPORTED.otel]  # an agent adds it
    found = collector.metrics()
    assert set(found) == set(expected)
    kinds = {"counter": "sum", "histogram": "histogram", "gauge": "gauge"}
    assert {n: m.WhichOneof("data") for n, m in found.items()} == {
        n: kinds[m.kind] for n, m in expected.items()
    }
    keys = {label: names.OWN_LABELS.get(label, label) for m in names.ALL_METRICS for label in m.labels}
    for metric in names.ALL_METRICS:
        if metric.otel in expected:
            own = {keys[label] for label in metric.labels}
            common = set(STREAM) if metric.per_stream else set()
            assert all(set(attributes(p)) == own | common for p in points(found[metric.otel])), metric.otel
    assert number(found["streamvitals.ratelimit_remaining"], kind="tokens") == 90.0
    assert number(found["streamvitals.build_info"], openai_version="2", patched="true") == 1


def test_all_series_stand_at_0_from_the_first_stream(
    exporting: Exporting, collector: Receiver, counted: Counted
) -> None:
    counted.store.open_slot(LABELS, started=999.0)
    assert exporting.flush(PATIENCE)
    found = collector.metrics()
    for metric in names.STREAM_METRICS:
        standing = metric.standing if metric.hidden_at_zero else metric.values
        if standing:
            assert len(points(found[metric.otel])) == len(standing), metric.otel
        else:
            assert metric.otel not in found, "what no provider reported is absent, not 0"
    assert number(found["streamvitals.streams"], outcome="reset") == 0
    assert point(found["streamvitals.stream_duration"], result="failed").count == 0
    assert number(found["streamvitals.streams_active"]) == 1
    for phase in names.PHASES:
        assert number(found["streamvitals.streams_stalled"], phase=phase) == 0


def test_cumulative_counts_go_on_from_one_start(
    exporting: Exporting, collector: Receiver, counted: Counted
) -> None:
    seen = []
    for _ in range(3):
        counted.sink.on_end(record())
        assert exporting.flush(PATIENCE)
        seen.append(point(collector.metrics()["streamvitals.streams"], outcome="completed"))
    assert [p.as_int for p in seen] == [1, 2, 3]
    assert len({p.start_time_unix_nano for p in seen}) == 1
    times = [p.time_unix_nano for p in seen]
    assert times == sorted(times)
    assert times[0] >= seen[0].start_time_unix_nano


def test_deltas_add_up_and_their_windows_join(
    collector: Receiver, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    exporting = start_exporting(counted.take, Config())
    for streams in (0, 1, 3):
        for _ in range(streams):
            counted.sink.on_end(record(duration=0.5))
        counted.store.block(LABELS)
        assert exporting.flush(PATIENCE)
    assert exporting.flush(PATIENCE)
    exported = [collector.metrics(n) for n in range(4)]
    moved = [m["streamvitals.streams"] for m in exported if "streamvitals.streams" in m]
    streams = [points(metric, outcome="completed") for metric in moved]
    assert [p.as_int for (p,) in streams] == [0, 1, 3]
    windows = [(p.start_time_unix_nano, p.time_unix_nano) for (p,) in streams]
    assert [w[0] for w in windows[1:]] == [w[1] for w in windows[:-1]]
    assert exported[1]["streamvitals.streams"].sum.aggregation_temporality == DELTA
    assert not points(exported[1]["streamvitals.streams"], outcome="reset"), "it did not move"
    durations = [
        p for m in exported[1:3] for p in points(m["streamvitals.stream_duration"], result="completed")
    ]
    assert [(p.count, p.sum, max(p.bucket_counts)) for p in durations] == [(1, 0.5, 1), (3, 1.5, 3)]
    assert "streamvitals.streams" not in exported[3], "nothing moved"
    assert exported[3]["streamvitals.streams_active"].WhichOneof("data") == "gauge"
    exporting.shutdown(PATIENCE)


class Memory(MetricExporter):
    """An exporter that keeps what it is given, and fails when told to."""

    def __init__(self, temporality: AggregationTemporality) -> None:
        super().__init__({Counter: temporality, Histogram: temporality})
        self.result = MetricExportResult.SUCCESS
        self.kept: list[MetricsData] = []

    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **kwargs: Any) -> MetricExportResult:
        self.kept.append(metrics_data)
        return self.result

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **kwargs: Any) -> None:
        """Nothing to end."""

    def of(self, name: str) -> list[Any]:
        """The newest data points of a metric."""
        scopes = self.kept[-1].resource_metrics[0].scope_metrics
        return [p for s in scopes for m in s.metrics if m.name == name for p in m.data.data_points]


def reading(exporter: PreaggregatedExporter) -> MeterProvider:
    """A provider with one instrument of the app's, read through this exporter when flushed.

    A gauge: a reader does not call its exporter for a counter that did not move, if deltas are preferred.
    """
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("app").create_observable_gauge("orders", [lambda options: [Observation(1)]])
    return provider


def test_a_delta_that_was_not_delivered_is_told_again(counted: Counted) -> None:
    memory = Memory(AggregationTemporality.DELTA)
    clock = iter(range(100, 1000, 100))
    provider = reading(PreaggregatedExporter(memory, counted.take, clock=lambda: next(clock)))
    told = []
    for result in (MetricExportResult.SUCCESS, MetricExportResult.FAILURE, MetricExportResult.SUCCESS):
        counted.sink.on_end(record())
        memory.result = result
        provider.force_flush()
        (one,) = (p for p in memory.of("streamvitals.streams") if p.attributes["outcome"] == "completed")
        told.append((one.value, one.start_time_unix_nano, one.time_unix_nano))
    assert told == [(1, 100, 200), (1, 200, 300), (2, 200, 400)]
    provider.shutdown()


def test_a_count_that_fell_began_anew() -> None:
    rows = iter([5.0, 2.0])

    def take() -> Snapshot:
        row = [0.0] * STREAM_LAYOUT.size
        row[STREAM_LAYOUT.at(names.STREAMS, "completed", "completed")] = next(rows)
        return Snapshot(streams={LABELS: row})

    memory = Memory(AggregationTemporality.DELTA)
    provider = reading(PreaggregatedExporter(memory, take))
    seen = []
    for _ in range(2):
        provider.force_flush()
        seen += [p.value for p in memory.of("streamvitals.streams") if p.attributes["outcome"] == "completed"]
    assert seen == [5, 2]
    provider.shutdown()


def test_what_else_the_reader_has_goes_along(counted: Counted) -> None:
    memory = Memory(AggregationTemporality.CUMULATIVE)
    provider = reading(PreaggregatedExporter(memory, counted.take))
    provider.force_flush()
    assert [p.value for p in memory.of("orders")] == [1]
    assert memory.of("streamvitals.internal_errors")
    provider.shutdown()


def test_a_snapshot_that_cannot_be_taken_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    def take() -> Snapshot:
        raise OSError("/secret/path")

    memory = Memory(AggregationTemporality.CUMULATIVE)
    provider = reading(PreaggregatedExporter(memory, take))
    provider.force_flush()
    provider.force_flush()
    (said,) = caplog.records
    assert "OSError" in said.getMessage()
    assert "secret" not in caplog.text
    assert not memory.kept
    provider.shutdown()


def test_process_metrics(exporting: Exporting, collector: Receiver, counted: Counted) -> None:
    counted.sink.on_internal_error("otel")
    counted.sink.on_loop_lag(0.003)
    assert exporting.flush(PATIENCE)
    found = collector.metrics()
    assert number(found["streamvitals.internal_errors"], where="otel") == 1
    lag = point(found["streamvitals.event_loop_lag"])
    assert (lag.count, list(lag.bucket_counts)[1]) == (1, 1)
    assert not attributes(lag)
    assert len(lag.bucket_counts) == PROCESS_LAYOUT.series[0].width - 1


def test_label_sets_do_not_mix(exporting: Exporting, collector: Receiver, counted: Counted) -> None:
    other = StreamLabels("chat", "groq", "llama", "api.other.example")
    counted.sink.on_end(record())
    for _ in range(2):
        counted.sink.on_end(record(labels=other, progress=record().progress))
    assert exporting.flush(PATIENCE)
    streams = collector.metrics()["streamvitals.streams"]
    assert number(streams, gen_ai__request__model="gpt-4o-mini", outcome="completed") == 1
    theirs = {"gen_ai__request__model": "llama", "server__address": "api.other.example"}
    assert number(streams, **theirs, outcome="completed") == 2


def test_the_interval_is_the_standard_variable(
    collector: Receiver, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "1")
    exporting = start_exporting(counted.take, Config())
    collector.wait_for(lambda r: len(r.requests) >= 3)
    assert exporting.shutdown(PATIENCE)


def test_nothing_is_done_unless_asked_for(counted: Counted) -> None:
    before = threading.enumerate()
    exporting = start_exporting(counted.take, Config(otlp_metrics=False))
    assert threading.enumerate() == before
    assert exporting.flush()
    assert exporting.shutdown()


SCRIPT = """
import logging
logging.basicConfig(level=logging.DEBUG)
from otel_support import Config, Counted, record
from streamvitals.otel.metrics import start_exporting
counted = Counted()
exporting = start_exporting(counted.take, Config())
counted.sink.on_end(record())
"""


def test_the_last_numbers_go_out_at_exit() -> None:
    with receiver() as collector:
        done = run_script(SCRIPT, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        assert number(collector.metrics()["streamvitals.streams"], outcome="completed") == 1
    assert done.stderr == ""


@pytest.mark.parametrize("status", [400, 503])
def test_a_collector_that_refuses_is_said_once(status: int) -> None:
    with receiver() as collector:
        collector.status = status
        done = run_script(SCRIPT, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        assert collector.attempts == 1, "at exit the first failed attempt is the last"
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING:streamvitals:metrics could not be delivered")


def test_a_collector_that_is_down_is_said_once() -> None:
    with receiver() as gone:
        pass
    done = run_script(SCRIPT, OTEL_EXPORTER_OTLP_ENDPOINT=gone.url)
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING:streamvitals:metrics could not be delivered")


def test_a_collector_that_never_answers_does_not_keep_the_process() -> None:
    with receiver() as collector:
        collector.hang = threading.Event()
        run_script(SCRIPT, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="100000")
        assert not collector.hang.is_set()
        assert collector.attempts == 1


def test_a_flush_that_takes_too_long_says_so(
    exporting: Exporting, collector: Receiver, counted: Counted
) -> None:
    collector.hang = threading.Event()
    assert not exporting.flush(0.0)
    collector.hang.set()


def test_a_forked_child_counts_from_the_fork() -> None:
    with receiver() as collector:
        run_script(
            """
            import os
            from otel_support import record
            from otel_support import Config, Counted
            from streamvitals.otel.metrics import start_exporting
            counted = Counted()
            os.register_at_fork(after_in_child=counted.store.reset_after_fork)
            exporting = start_exporting(counted.take, Config())
            for _ in range(3):
                counted.sink.on_end(record())
            assert exporting.flush(30)
            pid = os.fork()
            counted.sink.on_end(record())
            done = exporting.flush(30)
            if pid == 0:
                os._exit(0 if done else 1)
            assert os.waitpid(pid, 0)[1] == 0
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        told = {}
        for n, resource in enumerate(collector.resources()):
            one = point(collector.metrics(n)["streamvitals.streams"], outcome="completed")
            numbers = (one.as_int, one.start_time_unix_nano)
            told.setdefault(resource["service.instance.id"], []).append(numbers)
        # The parent exports once more at exit.
        (parent, parent_starts), (child, child_starts) = sorted(
            ((([c for c, _ in told_by]), {s for _, s in told_by}) for told_by in told.values()),
            key=lambda pair: -len(pair[0]),
        )
        assert parent == [3, 4, 4]
        assert child == [1]
        assert child_starts.isdisjoint(parent_starts)
        assert min(child_starts) > min(parent_starts)


def test_both_paths_give_a_prometheus_the_same_samples(counted: Counted) -> None:
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus")
    from streamvitals.sinks.prometheus import SnapshotCollector

    counted.store.set_build("1", "2", "true")
    counted.sink.on_end(record(rate_limits=(RateLimit("requests", 9.0, 10.0),)))
    counted.sink.on_end(failed())
    counted.store.open_slot(LABELS, started=1.0)
    memory = Memory(AggregationTemporality.CUMULATIVE)
    provider = reading(PreaggregatedExporter(memory, counted.take))
    provider.force_flush()
    provider.shutdown()
    translator = exporter._CustomCollector(disable_target_info=True)
    translator.add_metrics_data(memory.kept[0])

    def samples(families: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (s.name, frozenset(i for i in s.labels.items() if not i[0].startswith("otel_scope"))): s.value
            for family in families
            for s in family.samples
            if s.name.startswith("streamvitals")
        }

    scraped, over_otlp = samples(SnapshotCollector(counted.take).collect()), samples(translator.collect())
    assert over_otlp == scraped
    assert len(scraped) > 200
