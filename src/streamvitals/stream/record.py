"""The records that sinks are given: immutable facts about a stream.

Named tuples, because making one costs a third of what a frozen dataclass does. Their annotations are not postponed:
each that is would be compiled when a program starts.
"""

from typing import Any, NamedTuple

from ..names import OF_CALLS
from ..outcome import GOOD_ENDS, Outcome, result


class StreamLabels(NamedTuple):
    """The label set of a stream: what ``names.STREAM_LABELS`` lists, in that order, and the user's custom labels.

    ``custom`` are those that have a value, as pairs of name and value, in the order of their declaration. What is
    counted of calls without a stream has a label set of its own, with ``names.OF_CALLS`` before the operation."""

    operation: str
    provider: str
    model: str
    server: str
    custom: tuple[tuple[str, str], ...] = ()

    @property
    def of_calls(self) -> bool:
        """Whether it is of calls without a stream."""
        return self.operation.startswith(OF_CALLS)

    @property
    def shown(self) -> "StreamLabels":
        """The labels as they are shown."""
        return self._replace(operation=self.operation[len(OF_CALLS) :]) if self.of_calls else self


class Usage(NamedTuple):
    """Token counts as the provider reported them; None where it did not.

    ``cached`` and ``cache_write`` are within ``input``, ``reasoning`` is within ``output``, and so are the counts by
    modality within theirs."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    cache_write: int | None = None
    text_input: int | None = None
    image_input: int | None = None
    audio_input: int | None = None
    text_cached: int | None = None
    image_cached: int | None = None
    audio_cached: int | None = None
    text_output: int | None = None
    image_output: int | None = None
    audio_output: int | None = None


class RateLimit(NamedTuple):
    """One limit as the provider's headers report it; ``kind`` is "requests" or "tokens".

    ``reset`` is the number of seconds until the full limit is available again."""

    kind: str
    remaining: float | None = None
    limit: float | None = None
    reset: float | None = None


class Attempt(NamedTuple):
    """One HTTP request of an operation. Times are seconds on the observation's monotonic clock."""

    number: int
    started: float
    ended: float
    status: int | None = None
    error_type: str = ""
    backoff: float = 0.0


class StallAfter(NamedTuple):
    """For how many seconds a stream must be silent to be stalled: before the first token of the answer, and later."""

    first_token: float = 60.0
    between_chunks: float = 5.0


STALL_AFTER = StallAfter()


class Stall(NamedTuple):
    """A wait that was too long, from ``began`` seconds after the request.

    ``phase`` is "first_token" or "between_chunks"; ``keep_alive``: meanwhile came what only keeps a connection alive.
    """

    began: float
    seconds: float
    phase: str
    keep_alive: bool = False


class TraceIds(NamedTuple):
    """The ids of a span: lower-case hex, as in the labels of an exemplar."""

    trace_id: str
    span_id: str


class RetryRecord(NamedTuple):
    """An attempt failed and is made again; ``reason`` is one of ``names.RETRY_REASONS``, ``backoff`` in seconds.
    ``given_up``: the operation has been failing for so long that it counts as failed for its users from now on."""

    labels: StreamLabels
    source: str
    reason: str
    backoff: float
    given_up: bool = False


class ChainRecord(NamedTuple):
    """What became of a chain of attempts that the application made itself.

    ``event`` is "failed" (not tried again, or in vain for too long), "fallback" (tried again without streaming) or
    "recovered" (the fallback worked; if a stream worked instead, its own record says so). ``attempts`` is the number of
    failed attempts.
    """

    labels: StreamLabels
    event: str
    attempts: int
    operation: object | None = None


class Progress(NamedTuple):
    """What a stream has gathered since its last ``Progress``. The counts are per bucket of ``names.GAP_EDGES``,
    the overflow bucket last, not cumulative. ``first_chunk`` and ``first_token`` are seconds since the
    request, each reported once."""

    labels: StreamLabels
    gap_counts: tuple[float, ...]
    gap_sum: float
    wait: float
    hold: float
    stalls: int
    first_chunk: float | None = None
    first_token: float | None = None


class Inside(NamedTuple):
    """The inference of another instrumentation that a stream is a part of; ``name`` is the instrumentation's.

    ``span`` is its span, to put our facts on (None: nothing can be put on it). ``has_metrics``: it counts the stream in
    the conventions' metrics."""

    name: str
    span: Any = None
    has_metrics: bool = False


class CallRecord(NamedTuple):
    """A call without a stream that ended, the SDK's retries included. ``duration`` is in seconds."""

    labels: StreamLabels
    outcome: Outcome
    error_type: str
    duration: float
    rate_limits: tuple[RateLimit, ...] = ()
    hints: tuple[str, ...] = ()
    slot: Any = None

    @property
    def result(self) -> str:
        """What its end means to those who asked: one of ``outcome.RESULTS``."""
        return result(self.outcome, self.error_type)


class StreamEnd(NamedTuple):
    """What is counted of a stream that ended: the fields of its record that every stream needs.

    Of most streams nobody wants more. ``ended`` is the end on the observation's clock."""

    labels: StreamLabels
    outcome: Outcome
    error_type: str
    duration: float
    chunks: int
    max_gap: float
    first_token: float | None
    http_attempts: int
    progress: Progress
    finish_reasons: tuple[str, ...]
    response_id: str | None
    usage: Usage | None
    rate_limits: tuple[RateLimit, ...]
    cause_chain: tuple[str, ...]
    clock_origin: float
    ended: float
    hints: tuple[str, ...]
    replayed: bool
    chain_attempt: int
    given_up: bool
    operation: Any
    slot: object | None

    @property
    def failed(self) -> bool:
        """As that of the record."""
        return self.outcome not in NOT_FAILURES

    @property
    def tokens_per_second(self) -> float | None:
        """As that of the record."""
        return token_rate(self)


class StreamRecord(NamedTuple):
    """One stream from request to end: everything that may be reported of it, and no content.

    Durations are seconds. ``started`` is Unix time. ``chunk_index`` is the number of chunks received when the stream
    failed. ``cause_chain`` holds class names only. ``hints`` are from ``names.HINTS``: what could not be known.
    ``replayed``: the stream fetched a response that was generated for another request. ``given_up``: its operation had
    been failing for so long that it was counted as failed before this stream ended. ``unfinished`` are the positions
    of the choices that have no finish reason. ``chunk_times`` are counts per bucket of ``conventions.SECONDS``, and the
    sum: chunk to chunk, None where nobody wants them. ``request`` are attributes of the request. ``span`` is the
    context of the stream's span, if it has one that is sampled. ``headers`` is when the response's headers came, and
    ``max_gap_at`` when the longest gap began, both after the request. ``operation`` is a stream.retry.Chain, of an
    operation of which an attempt has failed.
    """

    labels: StreamLabels
    outcome: Outcome
    error_type: str
    started: float
    duration: float
    chunks: int
    max_gap: float
    wait: float
    hold: float
    stalls: int
    first_chunk: float | None
    first_token: float | None
    last_chunk: float | None
    bytes_received: int | None
    attempts: tuple[Attempt, ...]
    backoff: float
    progress: Progress
    finish_reasons: tuple[str, ...] = ()
    response_model: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    usage: Usage | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    http_status: int | None = None
    cause_chain: tuple[str, ...] = ()
    method: str = "POST"
    url_path: str = ""
    server_port: int | None = None
    stall_times: tuple[Stall, ...] = ()
    clock_origin: float = 0.0
    last_event_id: str | None = None
    partial: str | None = None
    hints: tuple[str, ...] = ()
    replayed: bool = False
    retry_after: float | None = None
    chain_attempt: int = 1
    retry_after_honored: bool | None = None
    chain_wait: float = 0.0
    retry_of: object | None = None
    given_up: bool = False
    service_tier: str | None = None
    system_fingerprint: str | None = None
    unfinished: tuple[int, ...] = ()
    chunk_times: tuple[tuple[int, ...], float] | None = None
    request: tuple[tuple[str, Any], ...] = ()
    inside: Inside | None = None
    trace_parent: object | None = None
    headers: float | None = None
    max_gap_at: float | None = None
    operation: Any = None
    slot: object | None = None
    span: Any = None

    def __repr__(self) -> str:
        """Leaves out the captured text, and what is not the stream's own."""
        told = ((name, getattr(self, name)) for name in self._fields if name not in _NOT_SHOWN)
        return f"StreamRecord({', '.join(f'{name}={value!r}' for name, value in told)})"

    @property
    def failed(self) -> bool:
        """Whether a user or the app's owner would call it a failure; ends by the app and limits are not."""
        return self.outcome not in NOT_FAILURES

    @property
    def result(self) -> str:
        """What its end means to those who asked: one of ``outcome.RESULTS``."""
        return result(self.outcome, self.error_type)

    def with_span(self, context: object) -> "StreamRecord":
        """This record with the context of its span. Not ``_replace``, which takes several times as long."""
        return tuple.__new__(StreamRecord, (*self[:-1], context))

    @property
    def trace_ids(self) -> TraceIds | None:
        """The ids of its span; None if it has none or was not sampled."""
        span = self.span
        return None if span is None else TraceIds(format(span.trace_id, "032x"), format(span.span_id, "016x"))

    @property
    def http_attempts(self) -> int:
        """How many requests were sent; if there were many, ``attempts`` does not have all of them."""
        return self.attempts[-1].number if self.attempts else 0

    @property
    def since_last_chunk(self) -> float | None:
        """How long nothing had come when it ended; None if nothing ever came."""
        return None if self.last_chunk is None else max(0.0, self.duration - self.last_chunk)

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens per second from the first token to the end. None where that does not measure the provider: the
        usage is unknown, it did not complete, the tokens came in one piece, or had been generated before."""
        return token_rate(self)


def token_rate(end: StreamEnd | StreamRecord) -> float | None:
    """What ``StreamRecord.tokens_per_second`` says."""
    usage = end.usage
    if usage is None or not usage.output or end.first_token is None:
        return None
    if end.replayed or end.outcome not in _RATED_ENDS:
        return None
    seconds = end.duration - end.first_token
    return min(usage.output, MOST_TOKENS) / seconds if seconds >= SHORTEST_RATED else None


# Tokens that came within one millisecond came in one piece, and have no rate. Seconds.
SHORTEST_RATED = 0.001
MOST_TOKENS = 1 << 32  # a larger count is not believed; a number of 400 digits would break what shows it
_RATED_ENDS = frozenset({Outcome.COMPLETED, Outcome.LENGTH})
_NOT_SHOWN = frozenset({"partial", "retry_of", "inside", "trace_parent", "operation", "slot", "span"})
NOT_FAILURES = frozenset(
    {*GOOD_ENDS, Outcome.CANCELLED, Outcome.ABANDONED}
)
