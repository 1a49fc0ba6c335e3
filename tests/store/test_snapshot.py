"""Adding up what several processes counted."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from store_support import (
    LABELS,
    progress,
    record,
)
from streamvitals import names
from streamvitals.outcome import RESULTS, Outcome
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Snapshot, merged
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import RateLimit, StallAfter, StreamLabels, Usage

NOW = 1000.0


def look(store: Store, now: float = NOW, stall_after: float = 5.0) -> Snapshot:
    return store.snapshot(now, StallAfter(stall_after, stall_after))


LABEL_SETS = st.builds(
    StreamLabels, st.just("chat"), st.just("openai"), st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"]),
    st.sampled_from([(), (("tenant", "acme"),)]),
)
SECONDS = st.floats(min_value=0.0, max_value=1000.0, allow_nan=False)
ENDS = st.builds(
    lambda labels, pair, duration, first, chunks, output, limit: record(
        labels=labels, outcome=Outcome(pair[0]), error_type=pair[1], duration=duration, chunks=chunks,
        first_token=duration / 2, usage=Usage(output=output), rate_limits=(RateLimit("tokens", limit),),
        progress=progress(labels, wait=duration / 3, first_chunk=first),
    ),
    LABEL_SETS, st.sampled_from([*names.OUTCOME_ERRORS, ("completed", "", ""), ("length", "", "")]), SECONDS, SECONDS,
    st.integers(0, 50), st.integers(0, 10**6), SECONDS,
)


def told(ends: list[Any]) -> Snapshot:
    """The snapshot of a process that saw these ends."""
    clock = iter(range(1, 10**6))
    store = Store(HeapMemory())
    sink = StoreSink(store, unix_time=lambda: float(next(clock)))
    for one in ends:
        sink.on_end(one)
    return look(store)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENDS, max_size=6), st.lists(ENDS, max_size=6), st.lists(ENDS, max_size=6))
def test_adding_snapshots_up_is_associative_and_commutative_to_the_last_bit(
    one: list[Any], two: list[Any], three: list[Any]
) -> None:
    a, b, c = told(one), told(two), told(three)
    assert merged([a, b]) == merged([b, a])
    assert merged([merged([a, b]), c]) == merged([a, merged([b, c])])
    assert merged([a, Snapshot()]) == a


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ENDS, max_size=5), max_size=4))
def test_the_sum_of_processes_is_what_a_naive_count_of_their_records_says(processes: list[list[Any]]) -> None:
    everything = merged(told(ends) for ends in processes)
    streams: Counter[Any] = Counter()
    chunks: Counter[Any] = Counter()
    buckets: Counter[Any] = Counter()
    waits: dict[Any, Fraction] = {}
    for one in (one for ends in processes for one in ends):
        streams[one.labels, one.outcome.value, one.result] += 1
        chunks[one.labels, one.result] += one.chunks
        buckets[one.labels, one.result, sum(edge < one.duration for edge in names.DURATION_EDGES)] += 1
        waits[one.labels] = waits.get(one.labels, Fraction(0)) + Fraction(one.progress.wait)
    assert set(everything.streams) == {labels for labels, *_ in streams}
    for labels, row in everything.streams.items():
        for outcome, means in names.OUTCOME_RESULTS:
            assert row[STREAM_LAYOUT.at(names.STREAMS, outcome, means)] == streams[labels, outcome, means]
        for means in RESULTS:
            assert row[STREAM_LAYOUT.at(names.CHUNKS, means)] == chunks[labels, means]
            at = STREAM_LAYOUT.at(names.DURATION, means)
            for bucket in range(len(names.DURATION_EDGES) + 1):
                assert row[at + bucket] == buckets[labels, means, bucket]
        # Each is rounded to a multiple of 2**-20 once, and never again.
        assert abs(Fraction(row[STREAM_LAYOUT.at(names.WAIT)]) - waits[labels]) <= Fraction(20, 2**21)


def test_of_a_gauge_the_newest_value_wins_whichever_comes_first() -> None:
    def said(remaining: float, when: float) -> Snapshot:
        store = Store(HeapMemory())
        StoreSink(store, unix_time=lambda: when).on_end(record(rate_limits=(RateLimit("tokens", remaining),)))
        return look(store)

    old, new, same_time = said(9.0, 1.0), said(3.0, 2.0), said(4.0, 2.0)
    at = STREAM_LAYOUT.at(names.RATELIMIT_REMAINING, "tokens")
    for order in ([old, new], [new, old]):
        assert merged(order).streams[LABELS][at] == 3.0
    assert merged([new, same_time]) == merged([same_time, new])
