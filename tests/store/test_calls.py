"""Calls without a stream in the store and the tree: counted once, shown apart from streams, whatever dies."""

from __future__ import annotations

from typing import Any

import pytest

from store_support import LABELS, Processes, call, ended, record
from streamvitals import names
from streamvitals.outcome import RESULTS, Outcome
from streamvitals.sinks.exposition import Exposition
from streamvitals.store.calls import CALL_LAYOUT, open_now, shown
from streamvitals.store.labels import OTHER_CALLS
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import RateLimit

CALLS = LABELS._replace(operation=names.OF_CALLS + "chat")


@pytest.fixture
def processes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Processes:
    return Processes(str(tmp_path), monkeypatch)


def by_result(snapshot: Snapshot) -> dict[str, float]:
    (row,) = [row for _, _, layout, row in shown(snapshot) if layout is CALL_LAYOUT]
    counts = {means: row[CALL_LAYOUT.at(names.CALLS, means)] for means in RESULTS}
    return {means: count for means, count in counts.items() if count}


def streams(snapshot: Snapshot) -> dict[str, float]:
    return ended(Snapshot(streams={k: row for k, row in snapshot.streams.items() if not k.of_calls}))


@pytest.mark.parametrize(("outcome", "error_type", "means"), names.OUTCOME_ERRORS)
def test_every_end_is_counted_by_result_and_error_type(outcome: str, error_type: str, means: str) -> None:
    store = Store(HeapMemory())
    StoreSink(store).on_call(call(store, outcome=Outcome(outcome), error_type=error_type))
    (one,) = shown(store.snapshot(1.0))
    assert one.labels == LABELS
    counted = {
        (series.metric.otel, series.values) for series in CALL_LAYOUT.series if one.row[series.start]
    } - {("streamvitals.call_duration", ())}
    assert counted == {
        ("streamvitals.calls", (means,)), ("streamvitals.call_errors", (outcome, error_type, means)),
    }


def test_a_record_that_an_interrupt_has_queued_twice_counts_once() -> None:
    store = Store(HeapMemory())
    sink, one = StoreSink(store), call(store)
    sink.on_call(one)
    sink.on_call(one)
    assert by_result(store.snapshot(1.0)) == {"completed": 1}


def test_a_killed_process_leaves_its_hanging_calls_once(processes: Processes) -> None:
    store, sink = processes.start(10)
    sink.on_call(call(store, outcome=Outcome.HTTP_ERROR, error_type="500"))
    call(store)
    sink.on_end(record(store.open_slot(LABELS, 1.0)))
    reader = processes.tree()
    assert list(open_now(reader.snapshot(), names.CALLS_ACTIVE)) == [(CALLS, (), 1)]
    assert list(open_now(reader.snapshot(), names.CALLS_STALLED)) == [(CALLS, (), 1)]
    assert list(open_now(reader.snapshot(), names.ACTIVE)) == [(LABELS, (), 0)]
    processes.die(10)
    for _ in range(2):
        snapshot = processes.tree().snapshot()
        assert by_result(snapshot) == {"failed": 1, "left": 1}
        assert list(open_now(snapshot, names.CALLS_ACTIVE)) == [(CALLS, (), 0)]
        assert streams(snapshot) == {"completed": 1}


def test_the_dead_and_the_living_add_up(processes: Processes) -> None:
    for pid in (1, 2, 3):
        store, sink = processes.start(pid)
        sink.on_call(call(store))
        sink.on_call_retry(CALLS)
    processes.die(2)
    assert by_result(processes.tree().snapshot()) == {"completed": 3}
    (row,) = [one.row for one in shown(processes.tree().snapshot())]
    assert row[CALL_LAYOUT.at(names.CALL_RETRIES)] == 3


def test_label_sets_of_calls_are_bounded_and_never_become_streams() -> None:
    store = Store(HeapMemory())
    sink = StoreSink(store)
    for model in range(300):
        for server in range(3):
            labels = LABELS._replace(model=f"m{model}", server=f"s{server}")
            sink.on_call(call(store, labels))
    snapshot = store.snapshot(1.0)
    assert len(snapshot.streams) <= names.MAX_LABEL_SETS
    assert OTHER_CALLS in snapshot.streams
    assert all(labels.of_calls for labels in snapshot.streams)
    total = sum(one.row[CALL_LAYOUT.at(names.CALLS, "completed")] for one in shown(snapshot))
    assert total == 900


def test_the_newest_limit_is_shown_once_where_there_are_streams_and_calls() -> None:
    store, now = Store(HeapMemory()), 100.0
    sink = StoreSink(store, unix_time=lambda: now)
    limits = (RateLimit("tokens", 5.0, 10.0),)
    sink.on_call(call(store, rate_limits=limits))
    assert _remaining(store) == {CALL_LAYOUT: 5.0}
    now = 90.0
    sink.on_end(record(store.open_slot(LABELS, 1.0), rate_limits=(RateLimit("tokens", 7.0, 10.0),)))
    assert _remaining(store) == {STREAM_LAYOUT: 5.0}, "the call was later"
    now = 110.0
    sink.on_end(record(store.open_slot(LABELS, 1.0), rate_limits=(RateLimit("tokens", 6.0, 10.0),)))
    assert _remaining(store) == {STREAM_LAYOUT: 6.0}


def _remaining(store: Store) -> dict[Any, float]:
    found = {
        one.layout: one.row[one.layout.at(names.RATELIMIT_REMAINING, "tokens")]
        for one in shown(store.snapshot(1.0))
    }
    return {layout: value for layout, value in found.items() if value}


def test_the_text_is_the_same_whether_lines_are_kept_or_made_anew() -> None:
    store = Store(HeapMemory())
    sink, kept = StoreSink(store), Exposition()
    for _ in range(3):
        sink.on_call(call(store, rate_limits=(RateLimit("tokens", 5.0, 10.0),)))
        assert kept.text(store.snapshot(1.0)) == Exposition().text(store.snapshot(1.0))
        sink.on_end(record(store.open_slot(LABELS, 1.0)))
        assert kept.text(store.snapshot(1.0)) == Exposition().text(store.snapshot(1.0))


def test_a_call_that_cannot_be_counted_apart_from_streams_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(HeapMemory())
    store.open_slot(LABELS, 1.0)
    monkeypatch.setattr(store._segments, "take_block", lambda: None)
    assert store.take_call_slot(CALLS) is None
