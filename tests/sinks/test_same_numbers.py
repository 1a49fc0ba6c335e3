"""One record, several paths: every number that a scrape, OTLP, an app's own MeterProvider, a span, the log and the
journal tell of the same streams is the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from otel_support import CLOCK, LABELS, failed, record
from store_support import call
from streamvitals import names
from streamvitals.otel.meter import on_app_provider
from streamvitals.otel.points import Window, to_metrics
from streamvitals.otel.traces import TraceSink, tracer_of
from streamvitals.outcome import ERROR_TYPES, Outcome
from streamvitals.sinks.exposition import Exposition
from streamvitals.sinks.journal import JournalSink
from streamvitals.sinks.log import point_of_failure
from streamvitals.sinks.prometheus import SnapshotCollector
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import (
    Attempt,
    CallRecord,
    ChainRecord,
    Progress,
    RateLimit,
    RetryRecord,
    StreamRecord,
    Usage,
)

Key = tuple[str, frozenset[tuple[str, str]]]
CUMULATIVE = {"counter": AggregationTemporality.CUMULATIVE, "histogram": AggregationTemporality.CUMULATIVE}
DOTTED = {dotted: label for label, dotted in {**names.STREAM_LABELS, **names.OWN_LABELS}.items()}
# Not to be had where single values only can be given: the counts of gaps come bucketed.
NOT_BY_METER = {names.CHUNK_GAP.otel}


class Paths:
    """The same records, everywhere."""

    def __init__(self, left_out: frozenset[str] = frozenset()) -> None:
        self.store = Store(HeapMemory())
        self.left_out = left_out
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.meter = on_app_provider(self.provider, self.take, left_out)
        self.sinks = (StoreSink(self.store, conventional=True, unix_time=lambda: 1.7e9), self.meter)

    def take(self) -> Snapshot:
        snapshot = self.store.snapshot(now=1000.0)
        snapshot.left_out = self.left_out
        return snapshot

    def tell(self, *told: StreamRecord | RetryRecord | ChainRecord | CallRecord | float) -> None:
        for item in told:
            for sink in self.sinks:
                if isinstance(item, StreamRecord):
                    sink.on_end(item)
                elif isinstance(item, RetryRecord):
                    sink.on_retry(item)
                elif isinstance(item, CallRecord):
                    sink.on_call(item)
                elif isinstance(item, ChainRecord):
                    sink.on_chain(item)
                else:
                    sink.on_loop_lag(item)

    def scraped(self) -> dict[Key, list[float]]:
        registry = CollectorRegistry()
        registry.register(SnapshotCollector(self.take))
        found: dict[Key, list[float]] = {}
        for family in registry.collect():
            for sample in family.samples:
                labels = frozenset((k, v) for k, v in sample.labels.items() if k != "le")
                if not sample.name.endswith("_count"):
                    found.setdefault((family.name, labels), []).append(sample.value)
        return found

    def exported(self) -> dict[Key, list[float]]:
        return dict(_points(to_metrics(self.take(), None, Window(0, 0, 1), CUMULATIVE)))

    def metered(self) -> dict[Key, list[float]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        (scope,) = data.resource_metrics[0].scope_metrics
        return dict(_points(scope.metrics))


def _points(metrics: Any) -> Iterator[tuple[Key, list[float]]]:
    """As the translation to Prometheus has them: buckets added up, then the sum."""
    by_name = {metric.otel: metric.prometheus for metric in names.ALL_METRICS}
    for metric in metrics:
        for point in metric.data.data_points:
            labels = frozenset((DOTTED.get(k, k), v) for k, v in point.attributes.items())
            key = by_name.get(metric.name, metric.name), labels
            if hasattr(point, "bucket_counts"):
                counts = point.bucket_counts
                yield key, [*(float(sum(counts[: n + 1])) for n in range(len(counts))), point.sum]
            else:
                yield key, [point.value]


def _same(one: dict[Key, list[float]], other: dict[Key, list[float]]) -> None:
    assert set(one) == set(other)
    for key, numbers in one.items():
        assert other[key] == pytest.approx(numbers, rel=1e-9, abs=1e-4), key


def assert_same(paths: Paths) -> None:
    scraped, exported, metered = paths.scraped(), paths.exported(), paths.metered()
    _same(scraped, {k: v for k, v in exported.items() if not k[0].startswith("gen_ai.")})
    absent = {m.prometheus for m in names.ALL_METRICS if m.otel in NOT_BY_METER}
    # The API's histograms begin with their first value, not at 0.
    begun = {k: v for k, v in exported.items() if k[0] not in absent and (len(v) == 1 or v[-2])}
    _same(begun, metered)


def times(record: StreamRecord) -> StreamRecord:
    """With the progress that the observation would have made of it."""
    told = record.progress._replace(
        first_chunk=record.first_chunk, first_token=record.first_token, wait=record.wait, hold=record.hold,
        stalls=record.stalls, gap_counts=(0, 2, *(0,) * (len(names.GAP_EDGES) - 1)), gap_sum=0.003,
    )
    return record._replace(progress=told)


MIXED = [
    times(record()),
    times(record(duration=0.6254, usage=Usage(10, 50))),  # its tokens within a millisecond
    times(record(duration=0.626, usage=Usage(10, 50))),  # exactly one
    times(record(outcome=Outcome.LENGTH, usage=Usage(None, 7))),
    times(record(outcome=Outcome.CONTENT_FILTER, usage=Usage(3, 7, 0, 0))),
    times(record(replayed=True)),
    times(record(usage=None, first_token=None, first_chunk=None)),
    times(record(usage=Usage(0, 0))),
    times(record(usage=Usage(10**400, 10**400))),
    times(failed()),
    times(failed(Outcome.TIMEOUT, "read_timeout", usage=Usage(10, 7), first_token=None)),
    times(failed(Outcome.CANCELLED, "cancelled", usage=Usage(10, 7))),
    times(record(chain_attempt=3, attempts=tuple(Attempt(n, CLOCK, CLOCK + 1.0, 500) for n in (1, 2)))),
    times(record(rate_limits=(RateLimit("requests", 3.0, 60.0), RateLimit("tokens", 0.0, None)))),
]


def test_every_number_of_every_path() -> None:
    paths = Paths()
    paths.store.set_build("1", "2", "true")
    paths.tell(
        *MIXED, RetryRecord(LABELS, "app", "reset", 0.5), RetryRecord(LABELS, "sdk", "500", 1.5),
        *(ChainRecord(LABELS, event, 2) for event in ("failed", "fallback", "recovered")), 0.003, 12.0,
        call(paths.store, rate_limits=(RateLimit("requests", 2.0, 60.0),)),
        call(paths.store, outcome=Outcome.HTTP_ERROR, error_type="500", duration=7.0),
        call(paths.store, LABELS._replace(operation="embeddings"), rate_limits=(RateLimit("tokens", 2.0, 60.0),)),
    )
    call(paths.store)
    assert_same(paths)
    paths.provider.shutdown()


@pytest.mark.parametrize("group", names.GROUPS)
def test_what_is_left_out_is_on_no_path_and_all_else_is(group: str) -> None:
    every = {metric.otel for metrics in names.GROUPS.values() for metric in metrics}
    hidden = frozenset(metric.otel for metric in names.GROUPS[group])
    paths, whole = Paths(hidden), Paths()
    for each in (paths, whole):
        each.store.open_slot(LABELS, 1.0)
        each.tell(*MIXED, 0.003, call(each.store, outcome=Outcome.HTTP_ERROR, error_type="500"))
    by_name = {metric.prometheus: metric.otel for metric in names.ALL_METRICS}

    def written(of: Paths) -> set[str]:
        text = Exposition().text(of.take()).decode()
        return {by_name[family.name] for family in text_string_to_metric_families(text) if family.samples}

    for look in (Paths.scraped, Paths.exported, Paths.metered):
        shown, all_of_them = ({by_name.get(name, name) for name, _ in look(of)} for of in (paths, whole))
        assert shown == all_of_them - hidden, look
    assert written(paths) == written(whole) - hidden
    assert every - hidden <= written(paths)
    for each in (paths, whole):
        each.provider.shutdown()


def test_tokens_within_a_millisecond_have_no_rate_on_any_path() -> None:
    paths = Paths()
    paths.tell(times(record(duration=0.6254, usage=Usage(10, 50))), times(record(replayed=True)))
    rates = [v for k, v in paths.exported().items() if k[0] == names.TOKEN_RATE.prometheus]
    assert rates == []
    assert not [k for k in paths.metered() if k[0] == names.TOKEN_RATE.prometheus]
    paths.provider.shutdown()


SECONDS = st.floats(0.0, 1000.0) | st.sampled_from([*names.FIRST_EDGES, *names.DURATION_EDGES, 0.001, 0.0011])
TOKENS = st.none() | st.integers(0, 5000) | st.just(1 << 32)
OUTCOMES = st.sampled_from([(o, e) for o in Outcome for e in ERROR_TYPES.get(o, ("",))])


@given(
    st.lists(
        st.tuples(OUTCOMES, SECONDS, st.none() | SECONDS, st.none() | SECONDS, TOKENS, TOKENS, st.booleans()),
        min_size=1, max_size=4,
    )
)
@example([((Outcome.COMPLETED, ""), 1.0, 0.5, 0.9999, 10, 50, False)])
def test_whatever_the_streams_were(streams: list[Any]) -> None:
    paths = Paths()
    for (outcome, error), duration, chunk, token, asked, answered, replayed in streams:
        usage = None if asked is None and answered is None else Usage(asked, answered)
        ended = record(outcome=outcome, error_type=error, duration=duration, first_chunk=chunk, first_token=token,
                       usage=usage, replayed=replayed)
        paths.tell(times(ended))
    assert_same(paths)
    paths.provider.shutdown()


def test_log_journal_and_span_tell_the_same_of_a_failure(tmp_path: Path) -> None:
    attempts = tuple(Attempt(n, CLOCK, CLOCK + 1.0, 500, "500") for n in (*range(1, 16), 30))  # not all are noted
    ended = times(failed(attempts=attempts, last_chunk=2.0000001, duration=2.0, request_id="req_1"))
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    TraceSink(tracer_of(provider)).make_span(ended)
    JournalSink(str(tmp_path / "journal")).on_end(ended)
    point, line = point_of_failure(ended), json.loads((tmp_path / "journal").read_text())
    span = exporter.get_finished_spans()[-1].attributes
    assert span is not None
    for name, attribute in (
        ("chunk_index", "streamvitals.failure.chunk_index"), ("bytes", "streamvitals.failure.bytes"),
        ("elapsed", "streamvitals.failure.elapsed"), ("since_last_chunk", "streamvitals.failure.since_last_chunk"),
        ("error_type", "error.type"), ("outcome", "streamvitals.outcome"), ("chain_attempt", "streamvitals.attempt"),
        ("model", "gen_ai.request.model"), ("server", "server.address"), ("operation", "gen_ai.operation.name"),
        ("request_id", "streamvitals.request_id"),
    ):
        assert point[name] == line[name] == span[attribute], name
    assert point["http_attempts"] == line["http_attempts"] == 30
    assert span["http.request.resend_count"] == 29
    assert point["since_last_chunk"] == 0.0
    provider.shutdown()


def test_progress_that_was_told_before_is_not_told_again_at_the_end() -> None:
    """A long stream flushes its times; the app's MeterProvider hears of them once, at the end."""
    paths = Paths()
    ended = record()
    early = Progress(LABELS, (0,) * (len(names.GAP_EDGES) + 1), 0.0, 1.0, 0.0, 0, ended.first_chunk, ended.first_token)
    for sink in paths.sinks:
        sink.on_progress(early)
        sink.on_end(ended)
    assert_same(paths)
    paths.provider.shutdown()
