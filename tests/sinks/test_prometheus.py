"""What is exposed, read back with the client's own parsers."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterable
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from busy_store import NASTY, busy
from contract import CONTRACT, NOT_PER_STREAM, STREAM_LABELS
from store_support import LABELS, progress, record
from streamvitals import names
from streamvitals.outcome import Outcome
from streamvitals.sinks.prometheus import SnapshotCollector
from streamvitals.store import segment
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import RateLimit


def registry(store: Store) -> CollectorRegistry:
    made = CollectorRegistry()

    def take() -> Snapshot:
        snapshot = store.snapshot(1000.0)
        snapshot.unreported = 0  # as an agent would
        return snapshot

    made.register(SnapshotCollector(take))
    return made


def text(store: Store) -> str:
    return generate_latest(registry(store)).decode()


def openmetrics(store: Store) -> str:
    return generate_openmetrics(registry(store)).decode()


def samples(families: Iterable[Metric]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "the same series twice"
            found[key] = sample.value
    return found


FORMATS = pytest.mark.parametrize(("render", "parse"), [(text, parse_text), (openmetrics, parse_openmetrics)])


@FORMATS
def test_what_is_exposed_is_the_contract(render, parse) -> None:  # type: ignore[no-untyped-def]
    expected = {}
    for name, kind, own in CONTRACT:
        labels = {*own, *(() if name in NOT_PER_STREAM else STREAM_LABELS)}
        for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            expected[name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    families = list(parse(render(busy())))
    found = {s.name: set(s.labels) for family in families for s in family.samples}
    assert found == expected
    for family in families:
        for sample in family.samples:
            assert set(sample.labels) == expected[sample.name]
    kinds = {name.removesuffix("_total"): kind for name, kind, _ in CONTRACT}
    assert {family.name.removesuffix("_total"): family.type for family in families} == kinds


@FORMATS
def test_every_series_of_names_is_exposed_and_no_other(render, parse) -> None:  # type: ignore[no-untyped-def]
    found = samples(parse(render(busy())))
    expected = set()
    for metric in names.ALL_METRICS:
        if metric is names.BUILD_INFO:
            continue
        for labels in (LABELS, NASTY) if metric.per_stream else ((),):
            common = dict(zip(names.STREAM_LABELS, labels[:4], strict=True)) if labels else {}
            for values in metric.values:
                own = {**common, **dict(zip(metric.labels, values, strict=True))}
                if metric.kind != "histogram":
                    name = metric.prometheus + ("_total" if metric.kind == "counter" else "")
                    expected.add((name, frozenset(own.items())))
                    continue
                for suffix in ("_sum", "_count"):
                    expected.add((metric.prometheus + suffix, frozenset(own.items())))
                for edge in (*metric.edges, math.inf):
                    le = "+Inf" if edge == math.inf else str(edge)
                    expected.add((metric.prometheus + "_bucket", frozenset({**own, "le": le}.items())))
    build = {"version": "0.1", "openai_version": "3.52.0", "patched": "true"}
    expected.add(("streamvitals_build_info", frozenset(build.items())))
    assert set(found) == expected


def test_values_are_those_of_the_snapshot() -> None:
    store = Store(HeapMemory())
    sink = StoreSink(store)
    for duration in (0.05, 0.1, 3.0, 1e4):
        sink.on_end(record(duration=duration))
    sink.on_end(record(outcome=Outcome.RESET, error_type="other", rate_limits=(RateLimit("tokens", 0.0),)))
    slot = store.open_slot(LABELS, 990.0)
    slot.view[slot.at + segment.ANSWERED] = 1.0
    found = samples(parse_text(text(store)))

    def get(name: str, **own: str) -> float | None:
        return found.get((name, frozenset({**dict(zip(names.STREAM_LABELS, LABELS[:4], strict=True)), **own}.items())))

    assert get("streamvitals_streams_total", outcome="completed", result="completed") == 4
    assert get("streamvitals_stream_errors_total", outcome="reset", error_type="other", result="failed") == 1
    bucket = "streamvitals_stream_duration_seconds_bucket"
    assert [get(bucket, result="completed", le=le) for le in ("0.1", "2.0", "4.0", "600.0", "+Inf")] == [2, 2, 3, 3, 4]
    assert get("streamvitals_stream_duration_seconds_count", result="completed") == 4
    total = get("streamvitals_stream_duration_seconds_sum", result="completed")
    assert total == pytest.approx(10003.15, abs=1e-5)
    assert get("streamvitals_streams_active") == 1
    phases = [get("streamvitals_streams_stalled", phase=phase) for phase in names.PHASES]
    assert phases == [0, 1, 0]
    assert get("streamvitals_ratelimit_remaining", kind="tokens") == 0, "nothing left is something to say"
    assert get("streamvitals_ratelimit_limit", kind="tokens") is None
    assert get("streamvitals_ratelimit_remaining", kind="requests") is None


@FORMATS
def test_all_is_at_zero_from_the_first_stream_but_what_no_provider_has_said(render, parse) -> None:  # type: ignore[no-untyped-def]
    store = Store(HeapMemory())
    store.close_slot(store.open_slot(LABELS, 990.0))
    found = samples(parse(render(store)))
    assert set(found.values()) == {0.0}
    there = {name for name, _ in found}
    assert {"streamvitals_retries_total", "streamvitals_recoveries_total", "streamvitals_stalls_total"} < there
    assert not there & {"streamvitals_ratelimit_remaining", "streamvitals_ratelimit_limit"}
    streams = [name for name, _ in found if name == "streamvitals_streams_total"]
    assert len(streams) == len(Outcome) + 1, "timeout has two results"


@FORMATS
def test_before_any_stream_the_process_has_its_own_series(render, parse) -> None:  # type: ignore[no-untyped-def]
    found = samples(parse(render(Store(HeapMemory()))))
    assert {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name, _ in found} == {
        "streamvitals_event_loop_lag_seconds", "streamvitals_internal_errors_total",
        "streamvitals_hints_total", "streamvitals_processes_unreported",
    }


def test_exemplars_lead_to_a_trace_of_their_bucket() -> None:
    store = Store(HeapMemory())
    sink = StoreSink(store, exemplars=True, unix_time=lambda: 1_700_000_000.0)
    span = SimpleNamespace(trace_id=0xABC, span_id=0xDEF)
    sink.on_end(record(span=span, duration=3.0, progress=progress(first_chunk=0.5), first_token=None))
    found = {}
    for family in parse_openmetrics(openmetrics(store)):
        for sample in family.samples:
            if sample.exemplar is not None:
                found[sample.name, sample.labels.get("result"), sample.labels["le"]] = sample.exemplar
    assert set(found) == {
        ("streamvitals_time_to_first_chunk_seconds_bucket", None, "0.5"),
        ("streamvitals_stream_duration_seconds_bucket", "completed", "4.0"),
    }
    for exemplar in found.values():
        assert exemplar.labels == {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}"}
        assert exemplar.timestamp is not None
        assert float(exemplar.timestamp) == 1_700_000_000.0
    assert "trace_id" not in text(store)


def test_registering_takes_no_snapshot_and_no_name_twice() -> None:
    def take() -> Snapshot:
        raise AssertionError

    made = CollectorRegistry()
    made.register(SnapshotCollector(take))
    with pytest.raises(ValueError, match="Duplicated"):
        made.register(SnapshotCollector(take))


def test_hostile_names_do_not_break_out_of_their_label() -> None:
    store = Store(HeapMemory())
    evil = 'x"} 1\nstreamvitals_streams_total{outcome="reset"} 99\n'
    for model in (evil, "\ud800", "\x00", "a\\"):
        store.open_slot(LABELS._replace(model=model), 990.0)
    for found in (samples(parse_text(text(store))), samples(parse_openmetrics(openmetrics(store)))):
        assert all(value != 99 for value in found.values())
        assert len({key for name, key in found if name == "streamvitals_streams_active"}) >= 3


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_object_to() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text(busy()), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
