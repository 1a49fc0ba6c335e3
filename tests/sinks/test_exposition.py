"""The agent's text is prometheus_client's, and what has not changed is not written again."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from busy_store import NASTY, busy
from store_support import LABELS, record
from streamvitals.agent.metrics import MetricsPage
from streamvitals.sinks import exposition
from streamvitals.sinks.exposition import Exposition
from streamvitals.sinks.prometheus import SnapshotCollector
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import StreamLabels

HARD = StreamLabels("chat", "openai", "100%s %(a)s\\n", 'end"\\')


def clients(snapshot: Snapshot, *, openmetrics: bool) -> bytes:
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(lambda: snapshot))
    generate: Any = generate_openmetrics if openmetrics else generate_latest
    written: bytes = generate(registry)
    return written


def of(store: Store) -> Snapshot:
    snapshot = store.snapshot(1000.0, 5.0)
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


@pytest.mark.parametrize(("names", "accept"), [
    ((), ""), ((), "application/openmetrics-text;version=1.0.0"), ((), "text/plain;version=1.0.0;escaping=allow-utf-8"),
    ((), "application/openmetrics-text;version=1.0.0;escaping=dots"), ((), "application/openmetrics-text;version=x.y"),
    (("streamvitals_streams_total",), ""),
])
def test_a_page_is_in_the_format_that_was_asked_for(names: tuple[str, ...], accept: str) -> None:
    snapshot = of(busy())
    body, content_type = MetricsPage(lambda: snapshot)(names, accept)
    openmetrics = "openmetrics" in accept and "x.y" not in accept
    assert content_type.startswith("application/openmetrics-text" if openmetrics else "text/plain")
    whole = clients(snapshot, openmetrics=openmetrics)
    if names:
        assert body in whole.replace(b"# EOF\n", b"") or set(body.splitlines()) < set(whole.splitlines())
    elif "dots" in accept:
        assert b"streamvitals__streams" in body
    else:
        assert body == whole
