"""The conventions' own metrics, as a collector and a reader of the app's get them, against the table of the facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import conventions_table as table
from otel_support import LABELS, Config, Counted, failed, record
from otlp_receiver import PATIENCE, Receiver, attributes
from streamvitals import conventions, names
from streamvitals.otel.meter import MeterSink, on_app_provider
from streamvitals.otel.metrics import start_exporting
from streamvitals.outcome import Outcome
from streamvitals.store.inferences import MAX_SETS
from streamvitals.store.snapshot import Snapshot
from streamvitals.stream.record import Inside, StreamRecord, Usage

TIMES = ((0, 2, 0, 1, *(0,) * 11), 0.0625)
EVERYTHING = record(
    usage=Usage(300, 50, 40, 20, 8, 100, 150, None, 30, None, None, None, None, 10), chunk_times=TIMES,
    service_tier="default", system_fingerprint="fp",
)
FETCH = failed(
    labels=LABELS._replace(operation="fetch_response"), replayed=True, chunk_times=TIMES, service_tier="default"
)
Points = dict[str, Any]


class Otlp:
    """What a collector gets of streams counted in a store."""

    def __init__(self, collector: Receiver, generation: str) -> None:
        self._collector = collector
        self.counted = Counted(conventional=True)
        self._exporting = start_exporting(self.counted.take, Config(conventions=generation))

    def send(self, *records: StreamRecord) -> Points:
        for one in records:
            self.counted.sink.on_end(one)
        assert self._exporting.flush(PATIENCE)
        return {name: found for name, found in self._collector.metrics().items() if name.startswith("gen_ai.")}

    def close(self) -> None:
        self._exporting.shutdown()


@pytest.fixture
def otlp(collector: Receiver) -> Iterator[Otlp]:
    made = Otlp(collector, conventions.LATEST)
    yield made
    made.close()


def points(metric: Any) -> list[Any]:
    return list(getattr(metric, metric.WhichOneof("data")).data_points)


def point(metric: Any, **wanted: Any) -> Any:
    keys = {key.replace("__", "."): value for key, value in wanted.items()}
    (one,) = (p for p in points(metric) if keys.items() <= attributes(p).items())
    return one


def check(found: Points, wanted: dict[str, table.Metric]) -> None:
    """Names, units, instruments, boundaries, and of each point that it has what is required and nothing unheard of."""
    assert set(found) <= set(wanted)
    for name, metric in found.items():
        fact = wanted[name]
        assert metric.unit == fact.unit
        assert metric.WhichOneof("data") == {"counter": "sum", "histogram": "histogram"}[fact.instrument], name
        assert fact.instrument != "counter" or metric.sum.is_monotonic
        for one in points(metric):
            sent = set(attributes(one))
            assert {key for key, level in fact.attributes.items() if level == table.REQUIRED} <= sent, name
            assert sent <= {*fact.attributes, *table.OURS}, name
            if "server.address" in sent:
                assert "server.port" in sent, name
            if fact.instrument == "histogram":
                assert tuple(one.explicit_bounds) == fact.boundaries, name


def test_every_metric_of_the_table_is_sent_as_it_says(otlp: Otlp) -> None:
    found = otlp.send(EVERYTHING, failed(chunk_times=TIMES), FETCH)
    assert set(found) == set(table.METRICS)
    check(found, table.METRICS)
    for name, metric in found.items():
        possible = {key for p in points(metric) for key in attributes(p)}
        assert set(table.METRICS[name].attributes) - possible <= {*table.LEFT_OUT, "gen_ai.request.model"}, name


def test_our_own_metrics_keep_their_boundaries(otlp: Otlp, collector: Receiver) -> None:
    otlp.send(EVERYTHING)
    ours = collector.metrics()["streamvitals.stream_duration"]
    assert {tuple(p.explicit_bounds) for p in points(ours)} == {names.DURATION_EDGES}


def test_the_duration_has_the_error_type_of_the_span_and_the_outcome(otlp: Otlp) -> None:
    durations = otlp.send(
        record(duration=1.0), failed(duration=4.0), failed(Outcome.API_ERROR, "other", duration=8.0),
        failed(Outcome.ABANDONED, "closed", duration=2.0),
    )["gen_ai.client.inference.duration"]
    assert point(durations, error__type="connection_reset", streamvitals__outcome="reset").sum == 4.0
    assert point(durations, error__type="_OTHER").sum == 8.0, "Prometheus has `other`"
    good = [p for p in points(durations) if "error.type" not in attributes(p)]
    fine = {attributes(p)["streamvitals.outcome"]: p.sum for p in good}
    assert fine == {"completed": 1.0, "abandoned": 2.0}, "an end that is the app's own is no error"


def test_tokens_are_counted_by_modality_and_add_up(otlp: Otlp) -> None:
    found = otlp.send(EVERYTHING)
    counts = {
        name.removeprefix("gen_ai.client.inference.usage."): {
            attributes(p)["gen_ai.token.modality"]: p.as_int for p in points(metric)
        }
        for name, metric in found.items() if ".usage." in name
    }
    assert counts == {
        "input_tokens": {"text": 100, "image": 150, "unknown": 50},
        "output_tokens": {"audio": 10, "unknown": 40},
        "cache_read.input_tokens": {"text": 30, "unknown": 10},
        "cache_write.input_tokens": {"unknown": 8},
        "reasoning.output_tokens": {"unknown": 20},
    }
    assert {modality for found in counts.values() for modality in found} <= table.MODALITIES
    per_call = point(found["gen_ai.client.inference.operation.input_tokens"])
    assert (per_call.count, per_call.sum) == (1, 300)
    assert "gen_ai.token.modality" not in attributes(per_call)


@pytest.mark.parametrize("usage", [Usage(10, 5, text_input=8, audio_input=8), Usage(10, 5)])
def test_what_is_of_no_modality_is_never_taken_for_text(otlp: Otlp, usage: Usage) -> None:
    inputs = otlp.send(record(usage=usage))["gen_ai.client.inference.usage.input_tokens"]
    assert {attributes(p)["gen_ai.token.modality"]: p.as_int for p in points(inputs)} == {"unknown": 10}


def test_a_failed_inference_has_its_tokens_counted_and_no_part_in_the_percentiles(otlp: Otlp) -> None:
    found = otlp.send(failed(usage=Usage(10, 0)))
    assert point(found["gen_ai.client.inference.usage.input_tokens"]).as_int == 10
    assert "gen_ai.client.inference.operation.input_tokens" not in found
    assert "gen_ai.client.inference.usage.output_tokens" not in found
    good = otlp.send(record(usage=Usage(0, 0)))
    zero = point(good["gen_ai.client.inference.operation.output_tokens"])
    assert (zero.count, zero.sum, zero.bucket_counts[0]) == (1, 0, 1)


def test_a_fetched_response_was_inferred_before(otlp: Otlp) -> None:
    found = otlp.send(FETCH)
    assert set(found) == {"gen_ai.client.operation.duration"}
    assert attributes(point(found["gen_ai.client.operation.duration"]))["gen_ai.operation.name"] == "fetch_response"


def test_an_agents_turn_is_no_inference(otlp: Otlp) -> None:
    assert otlp.send(record(labels=LABELS._replace(operation="invoke_agent"))) == {}


def test_a_stream_inside_anothers_inference_is_counted_by_that_one(otlp: Otlp, collector: Receiver) -> None:
    assert otlp.send(record(inside=Inside("another", has_metrics=True))) == {}
    ours = collector.metrics()["streamvitals.streams"]
    assert sum(p.as_int for p in points(ours)) == 1
    assert otlp.send(record(inside=Inside("one without metrics"))) != {}


def test_times_between_chunks_are_in_their_buckets(otlp: Otlp) -> None:
    one = point(otlp.send(EVERYTHING, EVERYTHING)["gen_ai.client.inference.time_per_output_chunk"])
    assert (one.count, one.sum, list(one.bucket_counts)) == (6, 0.125, [0, 4, 0, 2, *(0,) * 11])
    assert set(attributes(one)) == set(table.M), "neither how it ended, nor the provider's tier"


def test_what_differs_in_what_a_metric_does_not_say_is_one_point(otlp: Otlp) -> None:
    first = otlp.send(record(), failed(), record(service_tier="flex"))["gen_ai.client.inference.time_to_first_chunk"]
    assert point(first).count == 3


def test_only_what_was_added_is_sent_as_a_delta(collector: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    otlp = Otlp(collector, conventions.LATEST)
    try:
        otlp.send(record(duration=2.0))
        found = otlp.send(record(duration=3.0))
        assert point(found["gen_ai.client.inference.duration"]).sum == 3.0
        assert otlp.send() == {}
    finally:
        otlp.close()


def test_the_old_generation_is_what_older_dashboards_show(collector: Receiver) -> None:
    otlp = Otlp(collector, conventions.OLD)
    try:
        found = otlp.send(EVERYTHING, failed(chunk_times=TIMES))
    finally:
        otlp.close()
    assert set(found) == set(table.OLD_METRICS)
    check(found, table.OLD_METRICS)
    usage = found["gen_ai.client.token.usage"]
    assert point(usage, gen_ai__token__type="input").sum == 300
    assert point(usage, gen_ai__token__type="output").sum == 50


def test_the_old_names_are_those_of_opentelemetrys_own_package() -> None:
    semconv = pytest.importorskip("opentelemetry.semconv._incubating.metrics.gen_ai_metrics")
    known = {v for k, v in vars(semconv).items() if k.startswith("GEN_AI_") and isinstance(v, str)}
    if "gen_ai.client.operation.time_to_first_chunk" not in known:
        pytest.skip("these conventions are older than streaming")
    assert set(table.OLD_METRICS) <= known


def test_both_generations_side_by_side(collector: Receiver) -> None:
    otlp = Otlp(collector, conventions.BOTH)
    try:
        found = otlp.send(EVERYTHING, FETCH)
    finally:
        otlp.close()
    assert set(found) == {*table.METRICS, *table.OLD_METRICS}
    durations = points(found["gen_ai.client.operation.duration"])
    assert {attributes(p)["gen_ai.operation.name"] for p in durations} == {"chat", "fetch_response"}


def test_the_number_of_series_is_bounded_whatever_a_provider_sends(otlp: Otlp) -> None:
    sent = 3 * MAX_SETS
    for number in range(sent):
        otlp.counted.sink.on_end(record(response_model=f"model-{number}", server_port=number, usage=None))
    durations = otlp.send()["gen_ai.client.inference.duration"]
    assert len(points(durations)) <= MAX_SETS + 1
    assert sum(p.count for p in points(durations)) == sent, "none is lost"
    assert sum("gen_ai.response.model" in attributes(p) for p in points(durations)) == MAX_SETS // 2


def test_nothing_is_kept_while_nothing_is_exported() -> None:
    counted = Counted()
    counted.sink.on_end(EVERYTHING)
    assert counted.take().inferences == {}


def test_the_values_are_the_conventions() -> None:
    ours = {*names.OPERATIONS} - table.OPERATIONS
    without_a_word = {"transcription", "translation", "speech", "moderation", "other"}
    assert ours == without_a_word
    assert {*names.PROVIDERS} >= table.PROVIDERS - {"gcp.gen_ai", "moonshot_ai"}


class App:
    """An app with a provider of its own."""

    def __init__(self, generation: str) -> None:
        self.reader = InMemoryMetricReader()
        self._sink: MeterSink = on_app_provider(
            MeterProvider([self.reader]), Snapshot, generation=generation
        )

    def send(self, *records: StreamRecord) -> dict[str, Any]:
        for one in records:
            self._sink.on_end(one)
        data = self.reader.get_metrics_data()
        assert data is not None
        (scope,) = data.resource_metrics[0].scope_metrics
        return {metric.name: metric for metric in scope.metrics if metric.name.startswith("gen_ai.")}


@pytest.mark.parametrize(
    ("generation", "wanted"),
    [(conventions.LATEST, table.METRICS), (conventions.OLD, table.OLD_METRICS),
     (conventions.BOTH, table.METRICS | table.OLD_METRICS)],
)
def test_the_apps_own_provider_gets_the_same(
    collector: Receiver, generation: str, wanted: dict[str, table.Metric]
) -> None:
    records = (EVERYTHING, failed(chunk_times=TIMES), FETCH)
    found = App(generation).send(*records)
    otlp = Otlp(collector, generation)
    try:
        exported = otlp.send(*records)
    finally:
        otlp.close()
    assert set(found) == set(exported) == set(wanted)
    for name, metric in found.items():
        assert metric.unit == wanted[name].unit
        ours = {_key(p.attributes): _numbers(p) for p in metric.data.data_points}
        theirs = {_key(attributes(p)): _exported(p) for p in points(exported[name])}
        assert ours == theirs, name


def _key(found: Any) -> frozenset[tuple[str, Any]]:
    return frozenset(found.items())


def _numbers(one: Any) -> Any:
    if not hasattr(one, "bucket_counts"):
        return one.value
    return tuple(one.explicit_bounds), list(one.bucket_counts), pytest.approx(one.sum)


def _exported(one: Any) -> Any:
    if not hasattr(one, "bucket_counts"):
        return one.as_int
    return tuple(one.explicit_bounds), list(one.bucket_counts), one.sum
