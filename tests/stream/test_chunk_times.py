"""Times from chunk to chunk: each chunk but the first has one, however it is read."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from observation_support import Host, chunk, finish, token
from streamvitals.conventions import SECONDS
from streamvitals.otel.chunk_times import spread
from streamvitals.stream.observe import streamvitals_observe
from streamvitals.stream.partial import TailReader


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    host = Host()
    observation = host.streaming()
    host.chunk(observation, 1.0)
    observation.exhausted()
    assert host.ended().chunk_times is None


@pytest.mark.parametrize("captured", [False, True])
def test_wait_and_hold_are_both_in_it(captured: bool) -> None:
    host = Host()
    observation = host.begin(TailReader(host.begin().reader, 100) if captured else None)
    observation.time_chunks()
    waits, holds = [0.5, 0.25, 0.001, 3.0, 0.25, 100.0, 0.5], [0.0, 0.25, 0.001, 0.0, 0.0, 1.0, 0.5]

    def chunks():  # type: ignore[no-untyped-def]
        for number, wait in enumerate(waits):
            host.now += wait
            yield token() if number < len(waits) - 1 else finish()

    for hold, _ in zip(holds, streamvitals_observe(chunks(), observation), strict=False):
        host.now += hold
    observation.exhausted()
    record = host.ended()
    times = [hold + wait for hold, wait in zip(holds, waits[1:], strict=False)]
    counts = [0] * (len(SECONDS) + 1)
    for time in times:
        counts[bisect_left(SECONDS, time)] += 1
    assert record.chunk_times is not None
    assert record.chunk_times == (tuple(counts), pytest.approx(sum(times)))
    assert sum(counts) == record.chunks - 1


def test_a_stream_of_one_chunk_has_no_time_and_one_of_none_nothing() -> None:
    for chunks, wanted in ((1, ((0,) * (len(SECONDS) + 1), 0.0)), (0, None)):
        host = Host()
        observation = host.streaming()
        observation.time_chunks()
        for _ in range(chunks):
            host.chunk(observation, 1.0, 0.0, chunk({}))
        observation.exhausted()
        assert host.ended().chunk_times == wanted


@pytest.mark.parametrize("seed", range(20))
def test_values_made_of_buckets_lie_in_them_and_have_their_sum(seed: int) -> None:
    rng = random.Random(seed)
    times = [rng.choice((rng.expovariate(20.0), rng.expovariate(0.02), *SECONDS)) for _ in range(rng.randint(1, 200))]
    counts = [0] * (len(SECONDS) + 1)
    for time in times:
        counts[bisect_left(SECONDS, time)] += 1
    made = [value for value, count in spread(counts, sum(times)) for _ in range(count)]
    again = [0] * len(counts)
    for value in made:
        again[bisect_left(SECONDS, value)] += 1
    assert again == counts
    assert sum(made) == pytest.approx(sum(times))
