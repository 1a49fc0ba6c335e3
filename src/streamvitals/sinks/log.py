"""One WARNING per failed stream on the logger ``streamvitals``, with the exact point of failure."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..outcome import owner
from ..stream.record import ChainRecord, Progress, RetryRecord, StreamRecord
from .budget import Budget

logger = logging.getLogger("streamvitals")
# Not Python's last resort, which may block: process/visible.py decides what is seen without the app's handlers.
logger.addHandler(logging.NullHandler())

# At most 20 in any minute, and the first of each outcome and error type.
BURST = 10  # warnings at once
EVERY = 6.0  # seconds until one more may be logged


class LogSink:
    """Says where a stream broke and whose doing it was; names, numbers and ids only.

    When a provider is down every stream fails: past ``BURST`` warnings, one every ``EVERY`` seconds, which says
    how many were suppressed; one of a kind that has not been seen yet is always said. ``span_ids`` gives the trace
    and span id of the newest record's span.
    """

    def __init__(
        self, span_ids: Callable[[], object | None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._span_ids = span_ids
        self._budget = Budget(BURST, EVERY, clock)
        self._seen: set[tuple[str, str]] = set()

    def on_end(self, record: StreamRecord) -> None:
        """Log a stream that failed."""
        if not logger.isEnabledFor(logging.WARNING):
            return
        if not record.failed:
            self._well_again()
            return
        kind = (record.outcome.value, record.error_type)
        if not self._budget.spend() and kind in self._seen:
            self._budget.refuse()
            return
        self._seen.add(kind)
        suppressed = self._budget.refused()
        point = point_of_failure(record)
        point["suppressed"] = suppressed
        ids = self._span_ids()
        point["trace_id"], point["span_id"] = getattr(ids, "trace_id", None), getattr(ids, "span_id", None)
        labels = record.labels
        logger.warning(
            "stream %s (%s): %s of %s at %s after %d chunks, %.3f s; request: %s; owner: %s; causes: %s%s",
            record.outcome.value, record.error_type, labels.operation, _one_line(labels.model),
            _one_line(labels.server), record.chunks, record.duration, _one_line(record.request_id or "unknown"),
            point["owner"], " < ".join(record.cause_chain) or "none raised",
            f"; and {suppressed} more not logged" if suppressed else "",
            extra={"streamvitals": point},
        )

    def _well_again(self) -> None:
        """All is well again: what was not logged is not to be forgotten until the next failure."""
        if self._budget.unsaid and self._budget.spend():
            self.tell_suppressed()

    def tell_suppressed(self) -> None:
        """The process ends, or all is well: say how many failures have not been logged."""
        suppressed = self._budget.refused()
        if suppressed:
            logger.warning(
                "and %d more streams failed, not logged", suppressed, extra={"streamvitals": {"suppressed": suppressed}}
            )

    def on_progress(self, progress: Progress) -> None:
        """Nothing to say while a stream is alive."""

    def on_retry(self, retry: RetryRecord) -> None:
        """Counted, not logged: the SDK logs its own retries."""

    def on_chain(self, chain: ChainRecord) -> None:
        """Counted; each failure in it was logged."""

    def on_loop_lag(self, seconds: float) -> None:
        """Counted, not logged."""

    def on_internal_error(self, where: str) -> None:
        """Logged where it was caught."""


def _one_line(text: str) -> str:
    """What others chose, so that it cannot pass for a line of ours."""
    return "".join(c if c.isprintable() else "?" for c in text[:128])


def point_of_failure(record: StreamRecord) -> dict[str, object]:
    """Where a stream broke: numbers, ids and closed names. Seconds are of the stream's own clock."""
    return {
        "outcome": record.outcome.value,
        "error_type": record.error_type,
        "owner": owner(record.outcome, record.error_type),
        **record.labels._asdict(),
        "chunk_index": record.chunks,
        "bytes": record.bytes_received,
        "elapsed": record.duration,
        "since_last_chunk": record.since_last_chunk,
        "last_event_id": record.last_event_id,
        "request_id": record.request_id,
        "http_attempts": record.http_attempts,
        "chain_attempt": record.chain_attempt,
        "retry_after": record.retry_after,
        "retry_after_honored": record.retry_after_honored,
        "causes": record.cause_chain,
        "hints": record.hints,
    }
