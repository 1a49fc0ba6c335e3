"""The life of one stream on a clock that only the test moves: what is told adds up to what happened."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observation_support import OK, Host, finish, token
from streamvitals.names import GAP_EDGES
from streamvitals.outcome import Outcome, Verdict
from streamvitals.stream.observation import Observation
from streamvitals.stream.record import Progress, Stall, StreamRecord

# Multiples of 1/1024 s: binary fractions, whose sums are exact.
SECONDS = st.integers(0, 100 * 1024).map(lambda n: n / 1024)
CHUNKS = st.lists(st.tuples(SECONDS, SECONDS), max_size=30)
ENDS = st.sampled_from(["finished", "cut", "error", "cancelled", "dropped", "closed", "left open"])


def end(host: Host, observation: Observation, how: str, wait: float) -> None:
    """Bring the stream to its end, ``wait`` seconds after the app asked for one more chunk or left it."""
    if how == "finished":
        host.chunk(observation, item=finish())
    host.ask(observation)
    host.now += wait
    if how in ("finished", "cut"):
        observation.exhausted()
    elif how == "error":
        observation.failed(ConnectionResetError(104, "reset"))
    elif how == "cancelled":
        observation.failed(KeyboardInterrupt())
    elif how == "dropped":
        observation.dropped()
    elif how == "closed":
        observation.closed()
    else:
        observation.left_open(Verdict(Outcome.ABANDONED, "dropped"))


@given(retries=CHUNKS, headers=SECONDS, chunks=CHUNKS, how=ENDS, last=SECONDS)
def test_wait_hold_and_backoff_are_the_whole_duration(
    retries: Any, headers: float, chunks: Any, how: str, last: float
) -> None:
    host = Host()
    observation = host.begin()
    began = host.now
    for wait, backoff in retries:
        observation.attempting()
        host.now += wait
        observation.retrying(None, backoff)
        host.now += backoff
    observation.attempting()
    host.now += headers
    observation.responded(OK)
    for wait, hold in chunks:
        host.chunk(observation, wait, hold)
    end(host, observation, how, last)
    record = host.ended()
    assert record.wait + record.hold + record.backoff == record.duration
    assert record.backoff == sum(backoff for _, backoff in retries)
    assert record.duration <= host.now - began
    waits = sum(wait for wait, _ in retries) + headers + sum(wait for wait, _ in chunks)
    # What comes after the last chunk is waited for, unless the stream was finished or the app had left.
    assert record.wait == waits + (last if how in ("cut", "error", "cancelled") else 0.0)
    assert len(record.attempts) == min(16, len(retries) + 1)
    assert len(host.retries) == len(retries)


@given(chunks=CHUNKS, how=ENDS, last=SECONDS)
def test_every_gap_is_counted_once(chunks: Any, how: str, last: float) -> None:
    host = Host()
    observation = host.streaming()
    for wait, hold in chunks:
        host.chunk(observation, wait, hold)
    end(host, observation, how, last)
    record = host.ended()
    gaps = [wait for wait, _ in chunks][1:] + ([0.0] if how == "finished" and chunks else [])
    counts = [0] * (len(GAP_EDGES) + 1)
    for gap in gaps:
        counts[bisect_left(GAP_EDGES, gap)] += 1
    assert list(record.progress.gap_counts) == counts
    assert record.progress.gap_sum == sum(gaps)
    assert record.max_gap == max(gaps, default=0.0)
    assert record.chunks == len(chunks) + (how == "finished")


def parts_of(record: StreamRecord, told: list[Progress]) -> list[Progress]:
    return [*told, record.progress]


@given(chunks=CHUNKS, every=st.floats(0.0, 200.0), how=ENDS, last=SECONDS)
def test_increments_sum_up_to_the_whole_whenever_they_are_told(
    chunks: Any, every: float, how: str, last: float
) -> None:
    host, whole = Host(flush_every=every), Host()
    for each in (host, whole):
        observation = each.streaming()
        for wait, hold in chunks:
            each.chunk(observation, wait, hold)
        end(each, observation, how, last)
    parts, (one,) = parts_of(host.ended(), host.progress), parts_of(whole.ended(), whole.progress)
    assert [sum(column) for column in zip(*(part.gap_counts for part in parts), strict=True)] == list(one.gap_counts)
    assert sum(part.gap_sum for part in parts) == one.gap_sum
    assert sum(part.wait for part in parts) == one.wait
    assert sum(part.hold for part in parts) == one.hold
    assert sum(part.stalls for part in parts) == one.stalls
    for name in ("first_chunk", "first_token"):
        told = [getattr(part, name) for part in parts if getattr(part, name) is not None]
        assert told == [value for value in [getattr(one, name)] if value is not None]
    assert all(min(part.gap_counts) >= 0 and part.wait >= 0 and part.hold >= 0 and part.stalls >= 0 for part in parts)


def test_a_slow_consumer_is_never_blamed_on_the_provider() -> None:
    """The provider answers at once, the app takes an hour for every chunk."""
    host = Host()
    observation = host.streaming()
    for _ in range(5):
        host.chunk(observation, wait=0.0, hold=3600.0)
    end(host, observation, "finished", 0.0)
    record = host.ended()
    assert record.wait == record.max_gap == record.progress.gap_sum == 0.0
    assert record.stalls == 0
    assert record.hold == 5 * 3600.0


def test_a_slow_provider_is_never_blamed_on_the_app() -> None:
    host = Host()
    observation = host.streaming()
    for _ in range(5):
        host.chunk(observation, wait=3600.0)
    end(host, observation, "cut", 0.0)
    record = host.ended()
    assert record.hold == 0.0
    assert record.wait == record.duration == 5 * 3600.0


@pytest.mark.parametrize("seconds", [4.999, 5.0, 7.5])
def test_stalls_are_waits_over_the_threshold_the_wait_for_headers_included(seconds: float) -> None:
    host = Host(stall_after=5.0)
    observation = host.begin()
    observation.attempting()
    host.now += seconds
    observation.responded(OK)
    host.chunk(observation, wait=seconds)
    host.chunk(observation, wait=seconds, hold=100.0)
    end(host, observation, "cut", seconds)
    record = host.ended()
    assert record.stalls == (4 if seconds >= 5.0 else 0)
    assert record.progress.stalls == record.stalls
    assert len(record.stall_times) == record.stalls
    assert all(stall.seconds == seconds for stall in record.stall_times)


def test_stalls_that_are_remembered_are_few_and_all_are_counted() -> None:
    host = Host(stall_after=1.0)
    observation = host.streaming()
    for _ in range(100):
        host.chunk(observation, wait=2.0)
    end(host, observation, "finished", 0.0)
    record = host.ended()
    assert record.stalls == 100
    assert len(record.stall_times) == 16
    assert record.stall_times[0] == Stall(0.0, 2.0, "first_token")
    assert record.stall_times[-1] == Stall(198.0, 2.0, "between_chunks"), "the last one, which may be why it failed"


def test_first_chunk_and_first_token_differ() -> None:
    host = Host()
    observation = host.begin()
    host.now += 0.25
    observation.attempting()
    host.now += 1.0
    observation.responded(OK)
    host.chunk(observation, wait=0.5, item=token(""))  # role and no content
    host.chunk(observation, wait=2.0)
    host.chunk(observation, wait=4.0)
    end(host, observation, "finished", 0.0)
    record = host.ended()
    assert (record.first_chunk, record.first_token, record.last_chunk) == (1.75, 3.75, 7.75)
    assert (record.progress.first_chunk, record.progress.first_token) == (1.75, 3.75)


def test_what_was_never_seen_is_absent() -> None:
    host = Host()
    observation = host.streaming()
    end(host, observation, "cut", 0.0)
    record = host.ended()
    assert record.first_chunk is record.first_token is record.last_chunk is record.usage is None
    assert record.progress.first_chunk is record.progress.first_token is None
    assert record.bytes_received is None
