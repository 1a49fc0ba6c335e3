"""One WARNING per failed stream on the logger ``streamvitals``, with the exact point of failure."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..names import FIRST_TOKEN
from ..outcome import owner
from ..stream.record import StreamEnd, StreamRecord
from ..stream.sink import Sink
from .budget import Budget

logger = logging.getLogger("streamvitals")
# Prevents Python's last-resort handler, which may block; without handlers of the app process/visible.py is used.
logger.addHandler(logging.NullHandler())

# At most 20 warnings in any minute, and the first of each outcome and error type.
BURST = 10  # warnings at once
EVERY = 6.0  # seconds until one more may be logged


class LogSink(Sink):
    """Logs where a stream broke and who its owner is; names, numbers and ids only.

    When a provider is down every stream fails: after ``BURST`` warnings there is one every ``EVERY`` seconds, with the
    number of suppressed ones. The first warning of each kind is always logged.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = Budget(BURST, EVERY, clock)
        self._seen: set[tuple[str, str]] = set()

    def needs_record(self, end: StreamEnd) -> bool:
        """Streams that failed are logged, and they always have a record."""
        return False

    def on_end(self, record: StreamRecord) -> None:
        """Log a stream that failed."""
        if not logger.isEnabledFor(logging.WARNING):
            return
        if not record.failed:
            self._recovered()
            return
        kind = (record.outcome.value, record.error_type)
        if not self._budget.spend() and kind in self._seen:
            self._budget.suppress()
            return
        self._seen.add(kind)
        suppressed = self._budget.take_suppressed()
        point = point_of_failure(record)
        point["suppressed"] = suppressed
        labels = record.labels
        logger.warning(
            "stream %s (%s): %s of %s at %s after %d chunks, %.3f s%s; request: %s; owner: %s; causes: %s%s%s",
            record.outcome.value, record.error_type, labels.operation, _one_line(labels.model),
            _one_line(labels.server), record.chunks, record.duration, _silence(record),
            _one_line(record.request_id or "unknown"),
            point["owner"], " < ".join(record.cause_chain) or "none raised",
            "".join(f"; {name}: {_one_line(value)}" for name, value in labels.custom),
            f"; and {suppressed} more not logged" if suppressed else "",
            extra={"streamvitals": point},
        )

    def _recovered(self) -> None:
        """Report the suppressed warnings now, which otherwise would wait for the next failure."""
        if self._budget.suppressed and self._budget.spend():
            self.report_suppressed()

    def report_suppressed(self) -> None:
        """Log how many failures have not been logged: the process ends, or streams work again."""
        suppressed = self._budget.take_suppressed()
        if suppressed:
            logger.warning(
                "and %d more streams failed, not logged", suppressed, extra={"streamvitals": {"suppressed": suppressed}}
            )


def _silence(record: StreamRecord) -> str:
    if not record.stall_times:
        return ""
    stall = record.stall_times[-1]
    where = "before the first token" if stall.phase == FIRST_TOKEN else "between chunks"
    what = "nothing but keep-alives" if stall.keep_alive else "silence"
    return f", {stall.seconds:.3f} s of {what} {where}"


def _one_line(text: str) -> str:
    """The text in one line: a name from outside must not be able to forge a log line of ours."""
    return "".join(c if c.isprintable() else "?" for c in text[:128])


def point_of_failure(record: StreamRecord) -> dict[str, object]:
    """Where a stream broke: numbers, ids and names from closed lists. Seconds are on the stream's own clock."""
    labels = record.labels._asdict()
    custom = labels.pop("custom")
    stall = record.stall_times[-1] if record.stall_times else None
    trace_id, span_id = record.trace_ids or (None, None)
    return {
        "outcome": record.outcome.value,
        "error_type": record.error_type,
        "owner": owner(record.outcome, record.error_type),
        **labels,
        **({"labels": dict(custom)} if custom else {}),
        "chunk_index": record.chunks,
        "bytes": record.bytes_received,
        "elapsed": record.duration,
        "since_last_chunk": record.since_last_chunk,
        "last_stall": None if stall is None else stall.seconds,
        "last_stall_phase": None if stall is None else stall.phase,
        "last_stall_keep_alive": None if stall is None else stall.keep_alive,
        "last_event_id": record.last_event_id,
        "request_id": record.request_id,
        "trace_id": trace_id,
        "span_id": span_id,
        "http_attempts": record.http_attempts,
        "chain_attempt": record.chain_attempt,
        "retry_after": record.retry_after,
        "retry_after_honored": record.retry_after_honored,
        "causes": record.cause_chain,
        "hints": record.hints,
    }
