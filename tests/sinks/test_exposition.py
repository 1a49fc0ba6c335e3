"""The agent's text is prometheus_client's, and what has not changed is not written again."""

from __future__ import annotations

import inspect
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from busy_store import NASTY, busy
from store_support import LABELS, progress, record
from streamvitals import names
from streamvitals.agent.metrics import MetricsPage
from streamvitals.outcome import Outcome
from streamvitals.sinks import exposition
from streamvitals.sinks.exposition import Exposition
from streamvitals.sinks.prometheus import SnapshotCollector
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Exemplar, ExemplarKey, Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import StreamLabels, Usage

HARD = StreamLabels("chat", "openai", "100%s %(a)s\\n", 'end"\\')


def clients(snapshot: Snapshot, *, openmetrics: bool) -> bytes:
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(lambda: snapshot))
    generate: Any = generate_openmetrics if openmetrics else generate_latest
    written: bytes = generate(registry)
    return written


def of(store: Store) -> Snapshot:
    snapshot = store.snapshot(1000.0)
    snapshot.unreported = 2
    return snapshot


@pytest.mark.parametrize("openmetrics", [False, True])
def test_it_is_what_the_client_writes_to_the_byte(openmetrics: bool) -> None:
    written = Exposition()
    for store in (Store(HeapMemory()), busy()):
        sink = StoreSink(store)
        for number in range(4):
            snapshot = of(store)
            assert written.text(snapshot, openmetrics=openmetrics) == clients(snapshot, openmetrics=openmetrics)
            assert written.text(snapshot) == clients(snapshot, openmetrics=False), "the other format has the same lines"
            for labels in (HARD, NASTY, LABELS)[number:]:
                store.open_slot(labels, 990.0)
                sink.on_end(record(store.open_slot(labels, 990.0), labels=labels, duration=10.0**number, chunks=10**7))


def test_exemplars_are_what_the_client_writes_to_the_byte_and_only_the_newest() -> None:
    written, store = Exposition(), busy()
    sink = StoreSink(store, exemplars=True, unix_time=itertools.count(1_700_000_000.25).__next__)
    for labels, number, outcome in itertools.product((HARD, NASTY), range(4), ("completed", "truncated", "rejected")):
        error = next((error for end, error, _ in names.OUTCOME_ERRORS if end == outcome), "")
        sink.on_end(record(
            labels=labels, outcome=Outcome(outcome), error_type=error, duration=3.0**number, first_chunk=0.1,
            first_token=0.1, progress=progress(labels, first_chunk=0.1, first_token=0.1), usage=Usage(1, 20, 3, 4),
            span=SimpleNamespace(trace_id=1000 + number, span_id=2000 + number),
        ))
        snapshot = of(store)
        text = written.text(snapshot, openmetrics=True)
        assert text == clients(snapshot, openmetrics=True)
        assert f'trace_id="{1000 + number:032x}"'.encode() in text
        plain = written.text(snapshot)
        assert plain == clients(snapshot, openmetrics=False)
        assert b"trace_id" not in plain, "the other format has none"
    shown = [line for line in text.splitlines() if b" # {" in line]
    assert {line.partition(b"{")[0] for line in shown} == {
        b"streamvitals_time_to_first_chunk_seconds_bucket", b"streamvitals_time_to_first_token_seconds_bucket",
        b"streamvitals_stream_duration_seconds_bucket", b"streamvitals_output_tokens_per_second_bucket",
    }


def test_a_bucket_without_counts_shows_no_exemplar() -> None:
    """A process may have counted, and kept, between the agent's look at the one and at the other."""
    store = Store(HeapMemory())
    store.open_slot(LABELS, 990.0)
    snapshot = of(store)
    at = ExemplarKey("streamvitals.stream_duration", LABELS, names.DURATION.values[0], 2)
    snapshot.exemplars[at] = Exemplar(1.0, 0.6, "0" * 32, "0" * 16)
    text = Exposition().text(snapshot, openmetrics=True)
    assert b"trace_id" not in text
    assert text == clients(snapshot, openmetrics=True)


def test_without_label_sets_and_with_fewer_than_before() -> None:
    written = Exposition()
    written.text(of(busy()))
    nothing = Snapshot()
    assert written.text(nothing) == clients(nothing, openmetrics=False)
    assert not written._texts


def test_what_has_not_changed_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(HeapMemory())
    sink = StoreSink(store)
    for number in range(20):
        labels = LABELS._replace(model=f"m{number}")
        sink.on_end(record(store.open_slot(labels, 990.0), labels=labels))
    written = Exposition()
    written.text(of(store))
    calls: list[object] = []
    original = exposition._Lines.within

    def within(self: Any, labels: Any, row: Any) -> str:
        if self.series.metric.per_stream:
            calls.append(self.series)
        return original(self, labels, row)

    monkeypatch.setattr(exposition._Lines, "within", within)
    written.text(of(store))
    assert not calls
    labels = LABELS._replace(model="m3")
    sink.on_end(record(store.open_slot(labels, 990.0), labels=labels))
    snapshot = of(store)
    assert written.text(snapshot) == clients(snapshot, openmetrics=False)
    assert 0 < len(calls) <= 10, "the series of that stream's end, of one label set"


# prometheus_client negotiates by more than the format's name since 0.22.
NEGOTIATES = "escaping" in inspect.signature(generate_latest).parameters


@pytest.mark.parametrize(("names", "accept"), [
    ((), ""), ((), "application/openmetrics-text;version=1.0.0"), ((), "text/plain;version=1.0.0;escaping=allow-utf-8"),
    ((), "application/openmetrics-text;version=1.0.0;escaping=dots"), ((), "application/openmetrics-text;version=x.y"),
    (("streamvitals_streams_total",), ""),
])
def test_a_page_is_in_the_format_that_was_asked_for(names: tuple[str, ...], accept: str) -> None:
    snapshot = of(busy())
    body, content_type = MetricsPage(lambda: snapshot)(names, accept)
    openmetrics = "openmetrics" in accept and not (NEGOTIATES and "x.y" in accept)
    assert content_type.startswith("application/openmetrics-text" if openmetrics else "text/plain")
    whole = clients(snapshot, openmetrics=openmetrics)
    if names:
        assert body in whole.replace(b"# EOF\n", b"") or set(body.splitlines()) < set(whole.splitlines())
    elif NEGOTIATES and "dots" in accept:
        assert b"streamvitals__streams" in body
    else:
        assert body == whole
