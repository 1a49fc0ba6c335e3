"""Computes the new numbers of a row from a record: arithmetic on rows of ``STREAM_LAYOUT`` and ``PROCESS_LAYOUT``.

Each function returns the new numbers and changes no row, so that an interrupted caller can write them again. They are
in one list, index and number in turn, as they are written to the redo record (segment.py). No index comes twice, except
that of a gauge which is set again.

Everything that is added is a multiple of 2**-20 (about a microsecond), so that no sum is ever rounded and the order in
which processes are added up does not matter. Otherwise the death of a process, after which its numbers are added in
another place, could lower a counter by its last bit, which Prometheus takes for a restart from 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

from .. import names
from ..outcome import ERROR_TYPES, GOOD_ENDS, Outcome, may_be_charged, result
from ..stream.record import CallRecord, ChainRecord, Progress, RateLimit, RetryRecord, StreamRecord
from .layout import PROCESS_LAYOUT, STREAM_LAYOUT
from .measured import MOST, SHIFT, quantized, token_parts, usage_measured

Row = Sequence[float]
New = list[Any]  # an index, its number, another index, ...

_at = STREAM_LAYOUT.at
_GAP_AT = _at(names.CHUNK_GAP)
_BUCKETS = range(len(names.GAP_EDGES) + 1)
_SECONDS_AT = (_GAP_AT + len(names.GAP_EDGES) + 1, _at(names.WAIT), _at(names.HOLD))
_STALLS_AT = _at(names.STALLS)
_FIRST_CHUNK_AT = _at(names.TIME_TO_FIRST_CHUNK)
_FIRST_TOKEN_AT = _at(names.TIME_TO_FIRST_TOKEN)
_TOKEN_RATE_AT = _at(names.TOKEN_RATE)
_SDK_RECOVERIES_AT = _at(names.RECOVERIES, "sdk")
_APP_RECOVERIES_AT = _at(names.RECOVERIES, "app")
_CHAIN_AT = {
    "failed": _at(names.OPERATIONS_FAILED),
    "fallback": _at(names.FALLBACKS),
    "recovered": _APP_RECOVERIES_AT,
}
_TOKENS_AT = tuple(_at(names.TOKENS, *part) for part in names.TOKEN_PARTS)
_HISTOGRAM_AT = {(s.metric.otel, s.values): s.start for s in STREAM_LAYOUT.series if s.metric.kind == "histogram"}
_LIMITS_AT = {
    kind: (_at(names.RATELIMIT_REMAINING, kind), _at(names.RATELIMIT_LIMIT, kind))
    for kind in names.RATELIMIT_KINDS
}
_FAULTS_AT = {v[0]: PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, *v) for v in names.INTERNAL_ERRORS.values}
_HINTS_AT = {v[0]: PROCESS_LAYOUT.at(names.HINTS_SEEN, *v) for v in names.HINTS_SEEN.values}
_LAG_AT = PROCESS_LAYOUT.at(names.LOOP_LAG)


class _Plan:
    """The indexes at which a stream with this outcome and result is counted.

    ``errors`` has, for each error type, its index and the plan of its result."""

    __slots__ = ("chunks", "duration", "errors", "good", "streams", "unlisted", "unmetered")

    def __init__(self, outcome: Outcome, error_type: str = "") -> None:
        means = result(outcome, error_type)
        self.streams = _at(names.STREAMS, outcome.value, means)
        self.chunks = _at(names.CHUNKS, means)
        self.duration = _at(names.DURATION, means)
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


def ended(row: Row, record: StreamRecord, unix_time: Callable[[], float]) -> New:
    """Everything that is counted when a stream ends; the count of its outcome is first.

    ``unix_time`` is called if there are limits to store."""
    plan = _PLANS[record.outcome]
    new = _end(row, plan, record.error_type, record.duration, record.chunks)
    _add_progress(new, row, record.progress)
    if plan.good and not record.given_up:
        if len(record.attempts) >= 2:
            new += (_SDK_RECOVERIES_AT, row[_SDK_RECOVERIES_AT] + 1.0)
        if record.chain_attempt >= 2:
            new += (_APP_RECOVERIES_AT, row[_APP_RECOVERIES_AT] + 1.0)
    if record.usage is not None:
        for at, count in zip(_TOKENS_AT, token_parts(record.usage), strict=True):
            if count:
                new += (at, row[at] + count)
        for metric, values, value in usage_measured(record):
            _observe(new, row, _HISTOGRAM_AT[metric.otel, values], metric.edges, value)
    elif not record.replayed:
        at = plan.errors.get(record.error_type, plan.unlisted)[1].unmetered if plan.errors else plan.unmetered
        if at:
            new += (at, row[at] + 1.0)
    _set_limits(new, record.rate_limits, unix_time)
    return new


def call_ended(row: Row, record: CallRecord, unix_time: Callable[[], float]) -> New:
    """Everything that is counted when a call without a stream ends, in the places of a stream's."""
    new = _end(row, _PLANS[record.outcome], record.error_type, record.duration, 0.0)
    _set_limits(new, record.rate_limits, unix_time)
    return new


def died(row: Row, duration: float, chunks: float) -> New:
    """Count the end of a stream or a call whose process is gone; ``duration`` is in seconds."""
    new = _end(row, _PLANS[Outcome.ABANDONED], "process_died", duration, chunks)
    return [*new, _DIED_AT, row[_DIED_AT] + 1.0]


def progressed(row: Row, progress: Progress) -> New:
    """Count gaps, waits, stalls and the times to first chunk and token."""
    new: New = []
    _add_progress(new, row, progress)
    return new


def retried(row: Row, retry: RetryRecord) -> New:
    """Count a retry and the time slept before it. Raises KeyError for an unknown source."""
    at = _at(names.RETRIES, retry.source, retry.reason)
    new = [at, row[at] + 1.0]
    if retry.backoff > 0:
        at = _at(names.BACKOFF, retry.source)
        new += (at, row[at] + quantized(retry.backoff))
    if retry.given_up:
        at = _CHAIN_AT["failed"]
        new += (at, row[at] + 1.0)
    return new


def chained(row: Row, chain: ChainRecord) -> New:
    """Count what became of a chain of attempts. Raises KeyError for an unknown event."""
    at = _CHAIN_AT[chain.event]
    return [at, row[at] + 1.0]


def lagged(row: Row, seconds: float) -> New:
    """Count a lag of the event loop; ``row`` is the process's, as in ``faulted`` and ``hinted``."""
    new: New = []
    _observe(new, row, _LAG_AT, names.LAG_EDGES, seconds)
    return new


def faulted(row: Row, where: str) -> New:
    """Count a fault of ours; an unknown place is counted as ``other``."""
    at = _FAULTS_AT.get(where, _FAULTS_AT[names.OTHER])
    return [at, row[at] + 1.0]


def hinted(row: Row, hint: str) -> New:
    """Count a hint: something of a stream could not be known."""
    at = _HINTS_AT.get(hint, _HINTS_AT[names.OTHER])
    return [at, row[at] + 1.0]


def write(row: list[float], new: New) -> None:
    """Put the new numbers into the row."""
    turns = iter(new)
    for at, number in zip(turns, turns, strict=True):
        row[at] = number


def listed(record: StreamRecord) -> bool:
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
    found = [(plan.duration + bisect_left(names.DURATION_EDGES, duration), duration)]
    if chunk is not None:
        found.append((_FIRST_CHUNK_AT + bisect_left(names.FIRST_EDGES, chunk), chunk))
    if token is not None:
        found.append((_FIRST_TOKEN_AT + bisect_left(names.FIRST_EDGES, token), token))
    rate = record.tokens_per_second if record.usage is not None else None
    if rate is not None:
        found.append((_TOKEN_RATE_AT + bisect_left(names.RATE_EDGES, rate), rate))
    return found


def _end(row: Row, plan: _Plan, error_type: str, duration: float, chunks: float) -> New:
    error_at = 0
    if plan.errors:
        error_at, plan = plan.errors.get(error_type, plan.unlisted)
    at, chunks_at = plan.streams, plan.chunks
    new = [at, row[at] + 1.0, chunks_at, row[chunks_at] + chunks]
    _observe(new, row, plan.duration, names.DURATION_EDGES, duration)
    if error_at:
        new += (error_at, row[error_at] + 1.0)
    return new


def _set_limits(new: New, limits: Sequence[RateLimit], unix_time: Callable[[], float]) -> None:
    for limit in limits:
        for at, number in zip(_LIMITS_AT.get(limit.kind, ()), (limit.remaining, limit.limit), strict=False):
            if number is not None:
                new += (at, quantized(number), at + 1, unix_time())


def _add_progress(new: New, row: Row, progress: Progress) -> None:
    _, counts, gap_sum, wait, hold, stalls, first_chunk, first_token = progress
    for bucket in compress(_BUCKETS, counts):
        at = _GAP_AT + bucket
        new += (at, row[at] + counts[bucket])
    # These are differences of running sums: rounding may make one slightly negative.
    for at, seconds in zip(_SECONDS_AT, (gap_sum, wait, hold), strict=True):
        if 0.0 < seconds <= MOST:
            new += (at, row[at] + (seconds + SHIFT - SHIFT))  # quantized(seconds), without the call
        elif seconds > 0.0:
            new += (at, row[at] + MOST)
    if stalls:
        new += (_STALLS_AT, row[_STALLS_AT] + stalls)
    if first_chunk is not None:
        _observe(new, row, _FIRST_CHUNK_AT, names.FIRST_EDGES, first_chunk)
    if first_token is not None:
        _observe(new, row, _FIRST_TOKEN_AT, names.FIRST_EDGES, first_token)


def _observe(new: New, row: Row, start: int, edges: tuple[float, ...], value: float) -> None:
    """Add a value to the histogram that starts at ``start``."""
    at, sum_at = start + bisect_left(edges, value), start + len(edges) + 1
    rounded = value + SHIFT - SHIFT if 0.0 <= value <= MOST else quantized(value)
    new += (at, row[at] + 1.0, sum_at, row[sum_at] + rounded)
