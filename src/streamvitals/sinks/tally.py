"""What each record adds to which numbers of a block: pure arithmetic on rows of ``STREAM_LAYOUT``.

Everything that is added is a multiple of 2**-20 (about a microsecond), so that no sum is ever rounded and the
order of adding up processes does not matter: else a process that dies, and whose numbers are added elsewhere
from then on, could lower a counter by its last bit, which Prometheus takes for a restart from 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import compress

from .. import names
from ..stream.outcome import ERROR_TYPES, GOOD_ENDS, Outcome
from ..stream.record import ChainRecord, Progress, RetryRecord, StreamLabels, StreamRecord
from .layout import STREAM_LAYOUT
from .measured import Measured, exact, first_times, measured, usage_measured
from .snapshot import ExemplarKey

Row = memoryview | Sequence[float]  # of doubles

_at = STREAM_LAYOUT.at
STREAMS_AT = {o: _at(names.STREAMS, o.value) for o in Outcome}
_CHUNKS_AT = {o: _at(names.CHUNKS, o.value) for o in Outcome}
_DURATION_AT = {o: _at(names.DURATION, o.value) for o in Outcome}
_ERROR_AT = {(o, e): _at(names.STREAM_ERRORS, o.value, e) for o, types in ERROR_TYPES.items() for e in types}
# Where an error type that is not listed is counted: under `other`, or under the outcome's first one.
_UNLISTED_AT = {o: _ERROR_AT[o, names.OTHER if names.OTHER in e else e[0]] for o, e in ERROR_TYPES.items()}
_GAP_AT = _at(names.CHUNK_GAP)
_BUCKETS = range(len(names.GAP_EDGES) + 1)
_SECONDS_AT = (_GAP_AT + len(names.GAP_EDGES) + 1, _at(names.WAIT), _at(names.HOLD))
_STALLS_AT = _at(names.STALLS)
_SDK_RECOVERIES_AT = _at(names.RECOVERIES, "sdk")
_APP_RECOVERIES_AT = _at(names.RECOVERIES, "app")
_CHAIN_AT = {
    "failed": _at(names.OPERATIONS_FAILED),
    "fallback": _at(names.FALLBACKS),
    "recovered": _APP_RECOVERIES_AT,
}
_TOKENS_AT = {kind: _at(names.TOKENS, kind) for kind in names.TOKEN_TYPES}
_HISTOGRAM_AT = {(s.metric.otel, s.values): s.start for s in STREAM_LAYOUT.series if s.metric.kind == "histogram"}
_LIMITS_AT = {
    kind: (_at(names.RATELIMIT_REMAINING, kind), _at(names.RATELIMIT_LIMIT, kind))
    for kind in names.RATELIMIT_KINDS
}


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
    _observe(changes, first_times(progress.first_chunk, progress.first_token))


def add_retry(changes: Changes, retry: RetryRecord) -> None:
    """An attempt made again, and the time slept before it. Raises KeyError for an unknown source."""
    changes[_at(names.RETRIES, retry.source, retry.reason)] += 1.0
    if retry.backoff > 0:
        changes[_at(names.BACKOFF, retry.source)] += exact(retry.backoff)
    if retry.given_up:
        changes[_CHAIN_AT["failed"]] += 1.0


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
    if outcome in GOOD_ENDS and not record.given_up:
        if len(record.attempts) >= 2:
            changes[_SDK_RECOVERIES_AT] += 1.0
        if record.chain_attempt >= 2:
            changes[_APP_RECOVERIES_AT] += 1.0
    if record.usage is not None:
        for kind in names.TOKEN_TYPES:
            count = getattr(record.usage, kind)
            if count is not None:
                changes[_TOKENS_AT[kind]] += exact(count)
        _observe(changes, usage_measured(record))
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
    return [
        (ExemplarKey(metric.otel, labels, values, bisect_left(metric.edges, value)), value)
        for metric, values, value in measured(record)
        if not metric.otel_only
    ]


def _count(changes: Changes, outcome: Outcome, error_type: str, duration: float, chunks: float) -> None:
    changes[STREAMS_AT[outcome]] += 1.0
    changes[_CHUNKS_AT[outcome]] += chunks
    changes.observe(_DURATION_AT[outcome], names.DURATION_EDGES, duration)
    if outcome in ERROR_TYPES:
        index = _ERROR_AT.get((outcome, error_type))
        changes[_UNLISTED_AT[outcome] if index is None else index] += 1.0


def _observe(changes: Changes, seen: Iterable[Measured]) -> None:
    for metric, values, value in seen:
        changes.observe(_HISTOGRAM_AT[metric.otel, values], metric.edges, value)
