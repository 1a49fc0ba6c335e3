"""What is counted, beside a model that adds everything up one by one, without plans and without a row of its own."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from store_support import LABELS, progress, record
from streamvitals import names
from streamvitals.names import Metric
from streamvitals.outcome import ERROR_TYPES, GOOD_ENDS, Outcome
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.store.memory import HeapMemory
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import (
    Attempt,
    ChainRecord,
    Progress,
    RateLimit,
    RetryRecord,
    StreamEnd,
    StreamRecord,
    Usage,
)

# Typed by hand, but for `timeout`, whose `pool_timeout` is `rejected`.
_RESULTS = {
    "completed": "completed", "length": "limit", "content_filter": "limit", "truncated": "failed", "reset": "failed",
    "timeout": "failed", "malformed": "failed", "api_error": "failed", "rate_limited": "failed",
    "http_error": "failed", "connect_error": "failed", "rejected": "rejected", "cancelled": "left", "abandoned": "left",
}
SECONDS = st.one_of(st.floats(0.0, 700.0), st.sampled_from([-1e-17, 0.0, 0.001, 0.1, 2.0**-21, 3 * 2.0**-21, 1e300]))
TOKENS = st.none() | st.integers(0, 2**40)
LIMIT = st.none() | st.floats(0.0, 1e6)
PROGRESS = st.builds(
    progress,
    gap_counts=st.lists(
        st.integers(0, 3), min_size=len(names.GAP_EDGES) + 1, max_size=len(names.GAP_EDGES) + 1
    ).map(tuple),
    gap_sum=SECONDS, wait=SECONDS, hold=SECONDS, stalls=st.integers(0, 2),
    first_chunk=st.none() | SECONDS, first_token=st.none() | SECONDS,
)
ENDS = st.sampled_from([(o, e) for o in Outcome for e in (*ERROR_TYPES.get(o, ("",)), "unheard of")])


@st.composite
def records(draw: Any) -> StreamRecord:
    outcome, error_type = draw(ENDS)
    gathered = draw(PROGRESS)
    return record(
        outcome=outcome, error_type=error_type, duration=draw(SECONDS), chunks=draw(st.integers(0, 10**9)),
        progress=gathered, first_token=gathered.first_token, replayed=draw(st.booleans()),
        attempts=tuple(Attempt(n, 0.0, 1.0) for n in range(1, draw(st.integers(1, 4)))),
        chain_attempt=draw(st.integers(1, 3)),
        given_up=draw(st.booleans()), usage=draw(st.none() | st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS)),
        rate_limits=tuple(draw(st.lists(
            st.builds(RateLimit, st.sampled_from([*names.RATELIMIT_KINDS, "x"]), LIMIT, LIMIT), max_size=3
        ))),
    )


class Model:
    """A row, and each fact added to it by the names of its series."""

    def __init__(self) -> None:
        self.row = [0.0] * STREAM_LAYOUT.size

    def add(self, metric: Metric, *values: str, more: float = 1.0) -> None:
        self.row[STREAM_LAYOUT.at(metric, *values)] += finest(more)

    def observe(self, metric: Metric, *values: str, value: float) -> None:
        at = STREAM_LAYOUT.at(metric, *values)
        self.row[at + bisect_left(metric.edges, value)] += 1
        self.row[at + len(metric.edges) + 1] += finest(value)

    def told(self, item: Progress | RetryRecord | ChainRecord | StreamRecord) -> None:
        {Progress: self.progress, RetryRecord: self.retry, ChainRecord: self.chain, StreamRecord: self.end}[type(item)](
            item  # type: ignore[arg-type]
        )

    def progress(self, gathered: Progress) -> None:
        for bucket, count in enumerate(gathered.gap_counts):
            self.row[STREAM_LAYOUT.at(names.CHUNK_GAP) + bucket] += count
        self.row[STREAM_LAYOUT.at(names.CHUNK_GAP) + len(names.GAP_EDGES) + 1] += finest(gathered.gap_sum)
        self.add(names.WAIT, more=gathered.wait)
        self.add(names.HOLD, more=gathered.hold)
        self.add(names.STALLS, more=gathered.stalls)
        for metric, seconds in (
            (names.TIME_TO_FIRST_CHUNK, gathered.first_chunk), (names.TIME_TO_FIRST_TOKEN, gathered.first_token)
        ):
            if seconds is not None:
                self.observe(metric, value=seconds)

    def retry(self, retry: RetryRecord) -> None:
        self.add(names.RETRIES, retry.source, retry.reason)
        self.add(names.BACKOFF, retry.source, more=retry.backoff)
        if retry.given_up:
            self.add(names.OPERATIONS_FAILED)

    def chain(self, chain: ChainRecord) -> None:
        values = ("app",) if chain.event == "recovered" else ()
        metric = {"failed": names.OPERATIONS_FAILED, "fallback": names.FALLBACKS, "recovered": names.RECOVERIES}
        self.add(metric[chain.event], *values)

    def end(self, ended: StreamRecord) -> None:
        outcome, means = ended.outcome.value, _RESULTS[ended.outcome.value]
        if ended.error_type == "pool_timeout":
            means = "rejected"
        self.add(names.STREAMS, outcome, means)
        self.row[STREAM_LAYOUT.at(names.CHUNKS, means)] += ended.chunks
        self.observe(names.DURATION, means, value=ended.duration)
        types = ERROR_TYPES.get(ended.outcome, ())
        if types:
            listed = ended.error_type in types or "other" in types
            error_type = ended.error_type if ended.error_type in types else "other" if listed else types[0]
            self.add(names.STREAM_ERRORS, outcome, error_type, means)
        self.progress(ended.progress)
        if ended.outcome in GOOD_ENDS and not ended.given_up:
            self.add(names.RECOVERIES, "sdk", more=len(ended.attempts) > 1)
            self.add(names.RECOVERIES, "app", more=ended.chain_attempt > 1)
        if ended.usage is not None:
            for kind, whole, rest, within in (
                ("input", ended.usage.input, "uncached",
                 {"cached": ended.usage.cached, "cache_write": ended.usage.cache_write}),
                ("output", ended.usage.output, "visible", {"reasoning": ended.usage.reasoning}),
            ):
                tokens, inner = finest(whole or 0), sum(finest(part or 0) for part in within.values())
                self.add(names.TOKENS, kind, rest, more=tokens - inner if inner <= tokens else tokens)
                for part, count in within.items():
                    self.add(names.TOKENS, kind, part, more=count or 0)
        elif not (ended.replayed or outcome in ("http_error", "rejected", "connect_error") or ended.error_type in (
            "429", "connect_timeout", "write_timeout", "pool_timeout"
        )):
            self.add(names.UNMETERED, means)
        if ended.tokens_per_second is not None:
            self.observe(names.TOKEN_RATE, value=ended.tokens_per_second)
        for limit in ended.rate_limits:
            for metric, number in ((names.RATELIMIT_REMAINING, limit.remaining), (names.RATELIMIT_LIMIT, limit.limit)):
                if number is not None and limit.kind in names.RATELIMIT_KINDS:
                    at = STREAM_LAYOUT.at(metric, limit.kind)
                    self.row[at : at + 2] = finest(number), 5000.0


def finest(value: float) -> float:
    """To the next multiple of 2**-20, of which a sum has no rounding."""
    return round(min(max(value, 0), 2**32) * 2**20) / 2**20


RETRIES = st.builds(
    RetryRecord, st.just(LABELS), st.sampled_from(["sdk", "app"]), st.sampled_from(names.RETRY_REASONS), SECONDS,
    st.booleans(),
)
CHAINS = st.builds(ChainRecord, st.just(LABELS), st.sampled_from(["failed", "fallback", "recovered"]), st.just(1))


@given(st.lists(st.one_of(records(), records(), PROGRESS, RETRIES, CHAINS), max_size=8))
def test_what_is_counted_is_what_a_naive_sum_says(items: list[Any]) -> None:
    store, without_records, model = Store(HeapMemory()), Store(HeapMemory()), Model()
    sink = StoreSink(store, unix_time=lambda: 5000.0)
    briefly = StoreSink(without_records, unix_time=lambda: 5000.0)
    for item in items:
        model.told(item)
        if isinstance(item, StreamRecord):
            sink.on_end(item._replace(slot=store.open_slot(LABELS, 1.0)))
            briefly.on_end(StreamEnd(*(getattr(item, name, 0.0) for name in StreamEnd._fields)))
        else:
            for one in (sink, briefly):
                {Progress: one.on_progress, RetryRecord: one.on_retry, ChainRecord: one.on_chain}[type(item)](item)
    assert without_records.block(LABELS).numbers() == model.row
    assert store.snapshot(1.0).streams.get(LABELS, model.row) == model.row
    assert store.block(LABELS).numbers() == model.row
