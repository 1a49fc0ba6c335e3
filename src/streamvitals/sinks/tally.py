"""What each record adds to which numbers of a block: pure arithmetic on rows of ``STREAM_LAYOUT``.

Everything that is added is a multiple of 2**-20 (about a microsecond), so that no sum is ever rounded and the
order of adding up processes does not matter: else a process that dies, and whose numbers are added elsewhere
from then on, could lower a counter by its last bit, which Prometheus takes for a restart from 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import compress

from .. import names
from ..names import Metric
from ..stream.outcome import ERROR_TYPES, Outcome
from ..stream.record import ChainRecord, Progress, RetryRecord, StreamLabels, StreamRecord, Usage
from .layout import STREAM_LAYOUT
from .snapshot import ExemplarKey

Row = memoryview | Sequence[float]  # of doubles

_at = STREAM_LAYOUT.at
STREAMS_AT = {o: _at(names.STREAMS, o.value) for o in Outcome}
_CHUNKS_AT = {o: _at(names.CHUNKS, o.value) for o in Outcome}
_DURATION_AT = {o: _at(names.DURATION, o.value) for o in Outcome}
_ERROR_AT = {(o, e): _at(names.STREAM_ERRORS, o.value, e) for o, types in ERROR_TYPES.items() for e in types}
# Where an error type that is not listed is counted: under `other`, or under the outcome's first one.
_UNLISTED_AT = {o: _ERROR_AT[o, names.OTHER if names.OTHER in e else e[0]] for o, e in ERROR_TYPES.items()}
_FIRST_CHUNK_AT = _at(names.TIME_TO_FIRST_CHUNK)
_FIRST_TOKEN_AT = _at(names.TIME_TO_FIRST_TOKEN)
_GAP_AT = _at(names.CHUNK_GAP)
_BUCKETS = range(len(names.GAP_EDGES) + 1)
_SECONDS_AT = (_GAP_AT + len(names.GAP_EDGES) + 1, _at(names.WAIT), _at(names.HOLD))
_RATE_AT = _at(names.TOKEN_RATE)
_STALLS_AT = _at(names.STALLS)
_SDK_RECOVERIES_AT = _at(names.RECOVERIES, "sdk")
_APP_RECOVERIES_AT = _at(names.RECOVERIES, "app")
_CHAIN_AT = {
    "failed": _at(names.OPERATIONS_FAILED),
    "fallback": _at(names.FALLBACKS),
    "recovered": _APP_RECOVERIES_AT,
}
_TOKENS_AT = {kind: _at(names.TOKENS, kind) for kind in names.TOKEN_TYPES}
_USAGE_AT = {v[0]: _at(names.TOKEN_USAGE, *v) for v in names.TOKEN_USAGE.values}
_LIMITS_AT = {
    kind: (_at(names.RATELIMIT_REMAINING, kind), _at(names.RATELIMIT_LIMIT, kind))
    for kind in names.RATELIMIT_KINDS
}
_FINEST = float(1 << 20)
_MOST = float(1 << 32)
# What came within one millisecond came in one piece, and has no rate. Seconds.
_SHORTEST_RATED = 0.001
_GOOD_ENDS = frozenset({Outcome.COMPLETED, Outcome.LENGTH, Outcome.CONTENT_FILTER})
_RATED_ENDS = frozenset({Outcome.COMPLETED, Outcome.LENGTH})


class Changes(defaultdict[int, float]):
    """What is to be added to a row, by index; and the values that its gauges are ``set`` to."""

    __slots__ = ("set",)

    def __init__(self) -> None:
        super().__init__(float)
        self.set: dict[int, float] = {}

    def observe(self, start: int, edges: tuple[float, ...], value: float) -> None:
        """Add one value to the histogram that starts at ``start``."""
        self[start + bisect_left(edges, value)] += 1.0
        self[start + len(edges) + 1] += exact(value)

    def onto(self, row: Row, at: int = 0) -> dict[int, float]:
        """The new values by index, of the row that starts at ``at``; it is not touched."""
        values = {index: row[at + index] + more for index, more in self.items()}
        values.update(self.set)
        return values


def exact(value: float) -> float:
    """The nearest number that can be added up without rounding. Whatever a provider claims: no counter falls
    and none becomes infinite or NaN."""
    if not 0.0 <= value <= _MOST:
        return _MOST if value > 0 else 0.0
    return round(value * _FINEST) / _FINEST


def add_progress(changes: Changes, progress: Progress) -> None:
    """Gaps, waits, stalls and the times to first chunk and token."""
    counts = progress.gap_counts
    for bucket in compress(_BUCKETS, counts):
        changes[_GAP_AT + bucket] += counts[bucket]
    # Differences of running sums: the last bit of one may make it negative.
    for index, seconds in zip(_SECONDS_AT, (progress.gap_sum, progress.wait, progress.hold), strict=True):
        if seconds > 0:
            changes[index] += exact(seconds)
    if progress.stalls:
        changes[_STALLS_AT] += progress.stalls
    if progress.first_chunk is not None:
        changes.observe(_FIRST_CHUNK_AT, names.FIRST_EDGES, progress.first_chunk)
    if progress.first_token is not None:
        changes.observe(_FIRST_TOKEN_AT, names.FIRST_EDGES, progress.first_token)


def add_retry(changes: Changes, retry: RetryRecord) -> None:
    """An attempt made again, and the time slept before it. Raises KeyError for an unknown source."""
    changes[_at(names.RETRIES, retry.source, retry.reason)] += 1.0
    if retry.backoff > 0:
        changes[_at(names.BACKOFF, retry.source)] += exact(retry.backoff)


def add_chain(changes: Changes, chain: ChainRecord) -> None:
    """What became of a chain of attempts. Raises KeyError for an unknown event."""
    changes[_CHAIN_AT[chain.event]] += 1.0


def listed(record: StreamRecord) -> bool:
    """Whether its error type is one that can be counted; what cannot is counted all the same, as another."""
    types = ERROR_TYPES.get(record.outcome)
    return types is None or record.error_type in types or names.OTHER in types


def add_end(changes: Changes, record: StreamRecord, unix_time: Callable[[], float]) -> None:
    """Everything that is counted when a stream ends. ``unix_time`` is asked if there are limits to note."""
    outcome = record.outcome
    _count(changes, outcome, record.error_type, record.duration, record.chunks)
    add_progress(changes, record.progress)
    if len(record.attempts) >= 2 and outcome in _GOOD_ENDS:
        changes[_SDK_RECOVERIES_AT] += 1.0
    if record.chain_attempt >= 2 and outcome in _GOOD_ENDS:
        changes[_APP_RECOVERIES_AT] += 1.0
    if record.usage is not None:
        _add_usage(changes, record, record.usage)
    for limit in record.rate_limits:
        for start, value in zip(_LIMITS_AT.get(limit.kind, ()), (limit.remaining, limit.limit), strict=False):
            if value is not None:
                changes.set[start] = exact(value)
                changes.set[start + 1] = unix_time()


def add_died(changes: Changes, duration: float, chunks: float) -> None:
    """The end of a stream whose process is gone; ``duration`` in seconds."""
    _count(changes, Outcome.ABANDONED, "process_died", duration, chunks)


def exemplars_of(record: StreamRecord, labels: StreamLabels) -> list[tuple[ExemplarKey, float]]:
    """The buckets, and values, that this record may be shown as an example of."""
    seen: list[tuple[Metric, tuple[str, ...], float | None]] = [
        (names.TIME_TO_FIRST_CHUNK, (), record.first_chunk),
        (names.TIME_TO_FIRST_TOKEN, (), record.first_token),
        (names.DURATION, (record.outcome.value,), record.duration),
    ]
    return [
        (ExemplarKey(metric.otel, labels, values, bisect_left(metric.edges, value)), value)
        for metric, values, value in seen
        if value is not None
    ]


def _count(changes: Changes, outcome: Outcome, error_type: str, duration: float, chunks: float) -> None:
    changes[STREAMS_AT[outcome]] += 1.0
    changes[_CHUNKS_AT[outcome]] += chunks
    changes.observe(_DURATION_AT[outcome], names.DURATION_EDGES, duration)
    if outcome in ERROR_TYPES:
        index = _ERROR_AT.get((outcome, error_type))
        changes[_UNLISTED_AT[outcome] if index is None else index] += 1.0


def _add_usage(changes: Changes, record: StreamRecord, usage: Usage) -> None:
    counts = {kind: exact(count) for kind in names.TOKEN_TYPES if (count := getattr(usage, kind)) is not None}
    for kind, count in counts.items():
        changes[_TOKENS_AT[kind]] += count
    for kind in counts.keys() & _USAGE_AT.keys():
        changes.observe(_USAGE_AT[kind], names.TOKEN_EDGES, counts[kind])
    output = counts.get("output")
    if output and record.first_token is not None and record.outcome in _RATED_ENDS:
        seconds = record.duration - record.first_token
        if seconds >= _SHORTEST_RATED:
            changes.observe(_RATE_AT, names.RATE_EDGES, output / seconds)
