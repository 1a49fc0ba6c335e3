"""Records, stores and pretended processes for the tests of the store and the tree; not named test_*."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from streamvitals import names
from streamvitals.agent.tree import Tree
from streamvitals.names import Metric
from streamvitals.outcome import RESULTS, Outcome
from streamvitals.store import memory
from streamvitals.store.layout import PROCESS_LAYOUT, STREAM_LAYOUT
from streamvitals.store.memory import MappedMemory
from streamvitals.store.segment import Identity
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import CallRecord, Progress, StreamLabels, StreamRecord

LABELS = StreamLabels("chat", "openai", "gpt-4o-mini", "api.example.com")
OTHER_SET = StreamLabels("other", "other", "other", "other")
NO_GAPS = (0,) * (len(names.GAP_EDGES) + 1)


def call(store: Store, labels: StreamLabels = LABELS, **facts: Any) -> CallRecord:
    """A call without a stream that completed after half a second, or what the arguments make of it."""
    slot = store.take_call_slot(labels._replace(operation=names.OF_CALLS + labels.operation))
    assert slot is not None
    slot.open(1.0)
    return CallRecord(slot.labels, Outcome.COMPLETED, "", 0.5, slot=slot)._replace(**facts)


def progress(labels: StreamLabels = LABELS, **facts: Any) -> Progress:
    """A progress that says nothing but what is named."""
    nothing = Progress(labels=labels, gap_counts=NO_GAPS, gap_sum=0.0, wait=0.0, hold=0.0, stalls=0)
    return nothing._replace(**facts)


def record(slot: object = None, **facts: Any) -> StreamRecord:
    """A completed stream of 3 chunks in 1.5 s, or what the arguments make of it."""
    labels = facts.pop("labels", LABELS)
    plain = StreamRecord(
        labels=labels, outcome=Outcome.COMPLETED, error_type="", started=1_700_000_000.0, duration=1.5, chunks=3,
        max_gap=0.0, wait=0.0, hold=0.0, stalls=0, first_chunk=0.5, first_token=0.5, last_chunk=1.5,
        bytes_received=None, attempts=(), backoff=0.0, progress=facts.pop("progress", progress(labels)), slot=slot,
    )
    return plain._replace(**facts)


def value(snapshot: Snapshot, metric: Metric, *values: str, labels: StreamLabels = LABELS) -> float:
    """A counter's or gauge's value; of a histogram the number of observations.

    ``values`` are those of its first labels: the sum of all series that have them."""
    layout, row = (STREAM_LAYOUT, snapshot.streams[labels]) if metric.per_stream else (PROCESS_LAYOUT, snapshot.process)
    found = [s.start for s in layout.series if s.metric is metric and s.values[: len(values)] == values]
    assert found, (metric.otel, values)
    return sum(sum(row[at : at + len(metric.edges) + 1]) for at in found)


def total(snapshot: Snapshot, metric: Metric, *values: str) -> float:
    """The same over all label sets."""
    return sum(value(snapshot, metric, *values, labels=labels) for labels in snapshot.streams)


def ended(snapshot: Snapshot) -> dict[str, float]:
    """How many streams ended in which way, those that happened only."""
    counts = {o.value: total(snapshot, names.STREAMS, o.value) for o in Outcome}
    return {outcome: count for outcome, count in counts.items() if count}


def assert_consistent(snapshot: Snapshot) -> None:
    """What one stream's end counts in several places agrees in all of them."""
    for row in snapshot.streams.values():
        for means in RESULTS:
            streams = sum(
                row[STREAM_LAYOUT.at(names.STREAMS, *ends)] for ends in names.OUTCOME_RESULTS if ends[1] == means
            )
            at = STREAM_LAYOUT.at(names.DURATION, means)
            assert sum(row[at : at + len(names.DURATION_EDGES) + 1]) == streams, means
        for outcome, means in names.OUTCOME_RESULTS:
            streams = row[STREAM_LAYOUT.at(names.STREAMS, outcome, means)]
            ends = [ends for ends in names.OUTCOME_ERRORS if (ends[0], ends[2]) == (outcome, means)]
            errors = [row[STREAM_LAYOUT.at(names.STREAM_ERRORS, *each)] for each in ends]
            assert not errors or sum(errors) == streams, outcome


def counting_numbers(snapshot: Snapshot) -> Iterator[tuple[object, float]]:
    """Every number that must never fall, with a key."""
    for labels, row in snapshot.streams.items():
        for series in STREAM_LAYOUT.series:
            if series.metric.kind != "gauge":
                for offset in range(series.width):
                    yield (labels, series.metric.otel, series.values, offset), row[series.start + offset]
    yield from (((i,), number) for i, number in enumerate(snapshot.process))


def check_that_nothing_fell(reader: Tree, last: dict[object, float]) -> Snapshot:
    """Look, and compare with the last look."""
    snapshot = reader.snapshot()
    for key, number in counting_numbers(snapshot):
        assert number >= last.get(key, 0.0), key
        last[key] = number
    return snapshot


def call_traced(tracer: Any, act: Callable[[], object]) -> None:
    """Call ``act`` with a tracer that may raise. What was being handled where it raises may stay so for good, as the
    context of all that the thread raises later; in a generator, which keeps that for itself, it does not."""

    def apart() -> Iterator[None]:
        trace_instructions(tracer)
        try:
            act()
        finally:
            sys.settrace(None)
        yield

    next(apart())


def trace_instructions(tracer: Any) -> None:
    """sys.settrace for one that wants opcode events. Some 3.12 looks only now whether any frame does."""
    sys._getframe().f_trace_opcodes = True
    sys.settrace(tracer)


def segments(directory: str) -> list[str]:
    """The names of the mapped files."""
    return sorted(name for name in os.listdir(directory) if name.endswith(".sv"))


class Processes:
    """Processes that are only pretended: stores over real files, with identities of our choosing."""

    def __init__(self, directory: str, monkeypatch: Any) -> None:
        self.directory = directory
        self.living: set[int] = set()
        self.now = 1000.0
        self._monkeypatch = monkeypatch
        self._stores = itertools.count(1)

    def start(self, pid: int, image: int = 1) -> tuple[Store, StoreSink]:
        """A store in a process of this pid."""
        identity = Identity(pid, 100, image, 0, next(self._stores))
        self._monkeypatch.setattr(memory, "process_identity", lambda: identity)
        self.living.add(pid)
        store = Store(MappedMemory(self.directory))
        return store, StoreSink(store)

    def die(self, *pids: int) -> None:
        """From now on these are gone; what their stores hold in files stays."""
        self.living.difference_update(pids)

    def alive(self, identity: Identity) -> bool:
        return identity.pid in self.living

    def tree(self, **options: Any) -> Tree:
        """A new reader of the directory."""
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        return Tree(self.directory, clock=clock, alive=self.alive, **options)
