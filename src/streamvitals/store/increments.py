"""Adds a record to a row: arithmetic on rows of ``STREAM_LAYOUT`` and ``PROCESS_LAYOUT``.

The row of a label set is one that nobody reads yet (store.py), so an interrupt leaves nothing that is half counted.

Everything that is added is a multiple of 2**-20 (about a microsecond), so that no sum is ever rounded and the order in
which processes are added up does not matter. Otherwise the death of a process, after which its numbers are added in
another place, could lower a counter by its last bit, which Prometheus takes for a restart from 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Protocol

from .. import names
from ..outcome import ERROR_TYPES, GOOD_ENDS, Outcome, may_be_charged, result
from ..stream.record import CallRecord, ChainRecord, Progress, RateLimit, RetryRecord, StreamEnd, StreamRecord
from .layout import PROCESS_LAYOUT, STREAM_LAYOUT
from .measured import MOST, SHIFT, quantized, token_parts, usage_measured


class Row(Protocol):
    """What a row's doubles are kept in: a view of a segment, or a list."""

    def __getitem__(self, index: int, /) -> float: ...

    def __setitem__(self, index: int, value: float, /) -> None: ...


class _Histogram:
    """The place of a histogram in a row."""

    __slots__ = ("_edges", "_start", "_sum_at")

    def __init__(self, start: int, edges: tuple[float, ...]) -> None:
        self._start, self._edges, self._sum_at = start, edges, start + len(edges) + 1

    def add(self, row: Row, value: float) -> None:
        """Add a value."""
        row[self._start + bisect_left(self._edges, value)] += 1.0
        row[self._sum_at] += value + SHIFT - SHIFT if 0.0 <= value <= MOST else quantized(value)

    def bucket(self, value: float) -> int:
        """The index in the row of the bucket that a value is in."""
        return self._start + bisect_left(self._edges, value)


_at = STREAM_LAYOUT.at
_GAP_AT = _at(names.CHUNK_GAP)
_BUCKETS = range(len(names.GAP_EDGES) + 1)
_GAP_SUM_AT, _WAIT_AT, _HOLD_AT = _GAP_AT + len(names.GAP_EDGES) + 1, _at(names.WAIT), _at(names.HOLD)
_STALLS_AT = _at(names.STALLS)
_FIRST_CHUNK = _Histogram(_at(names.TIME_TO_FIRST_CHUNK), names.FIRST_EDGES)
_FIRST_TOKEN = _Histogram(_at(names.TIME_TO_FIRST_TOKEN), names.FIRST_EDGES)
_TOKEN_RATE = _Histogram(_at(names.TOKEN_RATE), names.RATE_EDGES)
_SDK_RECOVERIES_AT = _at(names.RECOVERIES, "sdk")
_APP_RECOVERIES_AT = _at(names.RECOVERIES, "app")
_CHAIN_AT = {
    "failed": _at(names.OPERATIONS_FAILED),
    "fallback": _at(names.FALLBACKS),
    "recovered": _APP_RECOVERIES_AT,
}
_TOKENS_AT = tuple(_at(names.TOKENS, *part) for part in names.TOKEN_PARTS)
_HISTOGRAMS = {
    (s.metric.otel, s.values): _Histogram(s.start, s.metric.edges)
    for s in STREAM_LAYOUT.series if s.metric.kind == "histogram"
}
_LIMITS_AT = {
    kind: (_at(names.RATELIMIT_REMAINING, kind), _at(names.RATELIMIT_LIMIT, kind))
    for kind in names.RATELIMIT_KINDS
}
_FAULTS_AT = {v[0]: PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, *v) for v in names.INTERNAL_ERRORS.values}
_HINTS_AT = {v[0]: PROCESS_LAYOUT.at(names.HINTS_SEEN, *v) for v in names.HINTS_SEEN.values}
_LAG = _Histogram(PROCESS_LAYOUT.at(names.LOOP_LAG), names.LAG_EDGES)


class _Plan:
    """The indexes at which a stream with this outcome and result is counted.

    ``errors`` has, for each error type, its index and the plan of its result."""

    __slots__ = ("chunks", "duration", "errors", "good", "streams", "unlisted", "unmetered")

    def __init__(self, outcome: Outcome, error_type: str = "") -> None:
        means = result(outcome, error_type)
        self.streams = _at(names.STREAMS, outcome.value, means)
        self.chunks = _at(names.CHUNKS, means)
        self.duration = _Histogram(_at(names.DURATION, means), names.DURATION_EDGES)
        self.good = outcome in GOOD_ENDS
        self.unmetered = _at(names.UNMETERED, means) if may_be_charged(outcome, error_type) else 0
        self.errors: dict[str, tuple[int, _Plan]] = {}
        self.unlisted = (0, self)
        for kind in () if error_type else ERROR_TYPES.get(outcome, ()):
            same = (result(outcome, kind), may_be_charged(outcome, kind)) == (means, bool(self.unmetered))
            at = _at(names.STREAM_ERRORS, outcome.value, kind, result(outcome, kind))
            self.errors[kind] = (at, self if same else _Plan(outcome, kind))
        if self.errors:
            # An error type that is not listed is counted under `other`, or under the outcome's first one.
            self.unlisted = self.errors.get(names.OTHER) or next(iter(self.errors.values()))


_PLANS = {outcome: _Plan(outcome) for outcome in Outcome}
_DIED_AT = _PLANS[Outcome.ABANDONED].unmetered


def ended(row: Row, record: StreamEnd | StreamRecord, *, unix_time: Callable[[], float]) -> None:
    """Add everything that is counted when a stream ends. ``unix_time`` is called if there are limits to store."""
    plan = _PLANS[record.outcome]
    _end(row, plan, record.error_type, record.duration, record.chunks)
    progressed(row, record.progress)
    if plan.good and not record.given_up:
        if record.http_attempts >= 2:
            row[_SDK_RECOVERIES_AT] += 1.0
        if record.chain_attempt >= 2:
            row[_APP_RECOVERIES_AT] += 1.0
    if record.usage is not None:
        for at, count in zip(_TOKENS_AT, token_parts(record.usage), strict=True):
            if count:
                row[at] += count
        for metric, values, value in usage_measured(record):
            _HISTOGRAMS[metric.otel, values].add(row, value)
    elif not record.replayed:
        at = plan.errors.get(record.error_type, plan.unlisted)[1].unmetered if plan.errors else plan.unmetered
        if at:
            row[at] += 1.0
    if record.rate_limits:
        _set_limits(row, record.rate_limits, unix_time)


def call_ended(row: Row, record: CallRecord, *, unix_time: Callable[[], float]) -> None:
    """Add everything that is counted when a call without a stream ends, in the places of a stream's."""
    _end(row, _PLANS[record.outcome], record.error_type, record.duration, 0.0)
    _set_limits(row, record.rate_limits, unix_time)


def died(row: Row, duration: float, chunks: float) -> None:
    """Add the end of a stream or a call whose process is gone; ``duration`` is in seconds."""
    _end(row, _PLANS[Outcome.ABANDONED], "process_died", duration, chunks)
    row[_DIED_AT] += 1.0


def progressed(row: Row, progress: Progress) -> None:
    """Add gaps, waits, stalls and the times to first chunk and token."""
    _, counts, gap_sum, wait, hold, stalls, first_chunk, first_token = progress
    for bucket in compress(_BUCKETS, counts):
        row[_GAP_AT + bucket] += counts[bucket]
    # These are differences of running sums: rounding may make one slightly negative.
    if gap_sum > 0.0:
        row[_GAP_SUM_AT] += gap_sum + SHIFT - SHIFT if gap_sum <= MOST else MOST  # quantized(), without the call
    if wait > 0.0:
        row[_WAIT_AT] += wait + SHIFT - SHIFT if wait <= MOST else MOST
    if hold > 0.0:
        row[_HOLD_AT] += hold + SHIFT - SHIFT if hold <= MOST else MOST
    if stalls:
        row[_STALLS_AT] += stalls
    if first_chunk is not None:
        _FIRST_CHUNK.add(row, first_chunk)
    if first_token is not None:
        _FIRST_TOKEN.add(row, first_token)


def retried(row: Row, retry: RetryRecord) -> None:
    """Add a retry and the time slept before it. Raises KeyError for an unknown source."""
    row[_at(names.RETRIES, retry.source, retry.reason)] += 1.0
    if retry.backoff > 0:
        row[_at(names.BACKOFF, retry.source)] += quantized(retry.backoff)
    if retry.given_up:
        row[_CHAIN_AT["failed"]] += 1.0


def chained(row: Row, chain: ChainRecord) -> None:
    """Add what became of a chain of attempts. Raises KeyError for an unknown event."""
    row[_CHAIN_AT[chain.event]] += 1.0


def lagged(row: Row, seconds: float) -> None:
    """Add a lag of the event loop; ``row`` is the process's, as in ``faulted`` and ``hinted``."""
    _LAG.add(row, seconds)


def faulted(row: Row, where: str) -> None:
    """Add a fault of ours; an unknown place is counted as ``other``."""
    row[_FAULTS_AT.get(where, _FAULTS_AT[names.OTHER])] += 1.0


def hinted(row: Row, hint: str) -> None:
    """Add a hint: something of a stream could not be known."""
    row[_HINTS_AT.get(hint, _HINTS_AT[names.OTHER])] += 1.0


def listed(record: StreamEnd | StreamRecord) -> bool:
    """Whether the record's error type has a counter of its own; if not it is counted under another."""
    types = _PLANS[record.outcome].errors
    return not types or record.error_type in types or names.OTHER in types


def exemplars_of(record: StreamRecord) -> list[tuple[int, float]]:
    """The buckets for which this record may be an exemplar, by their index in the row, with its values.

    They are those of ``measured``, which takes three times as long."""
    duration, chunk, token = record.duration, record.first_chunk, record.first_token
    plan = _PLANS[record.outcome]
    if plan.errors:
        _, plan = plan.errors.get(record.error_type, plan.unlisted)
    found = [(plan.duration.bucket(duration), duration)]
    if chunk is not None:
        found.append((_FIRST_CHUNK.bucket(chunk), chunk))
    if token is not None:
        found.append((_FIRST_TOKEN.bucket(token), token))
    rate = record.tokens_per_second if record.usage is not None else None
    if rate is not None:
        found.append((_TOKEN_RATE.bucket(rate), rate))
    return found


def _end(row: Row, plan: _Plan, error_type: str, duration: float, chunks: float) -> None:
    if plan.errors:
        error_at, plan = plan.errors.get(error_type, plan.unlisted)
        if error_at:
            row[error_at] += 1.0
    row[plan.streams] += 1.0
    row[plan.chunks] += chunks
    plan.duration.add(row, duration)


def _set_limits(row: Row, limits: Sequence[RateLimit], unix_time: Callable[[], float]) -> None:
    for limit in limits:
        for at, number in zip(_LIMITS_AT.get(limit.kind, ()), (limit.remaining, limit.limit), strict=False):
            if number is not None:
                row[at], row[at + 1] = quantized(number), unix_time()
