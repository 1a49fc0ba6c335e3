"""One WARNING per failed stream on the logger ``streamvitals``, with the exact point of failure."""

from __future__ import annotations

import logging

from ..stream.outcome import owner
from ..stream.record import ChainRecord, Progress, RetryRecord, StreamRecord

logger = logging.getLogger("streamvitals")
# An app that has not set up logging must not get lines on stderr from us.
logger.addHandler(logging.NullHandler())


class LogSink:
    """Says where a stream broke and whose doing it was; names, numbers and ids only."""

    def on_end(self, record: StreamRecord) -> None:
        if not record.failed or not logger.isEnabledFor(logging.WARNING):
            return
        labels = record.labels
        logger.warning(
            "stream %s (%s): %s of %s at %s after %d chunks, %.3f s; owner: %s; causes: %s",
            record.outcome.value, record.error_type, labels.operation, labels.model, labels.server, record.chunks,
            record.duration, owner(record.outcome, record.error_type), " < ".join(record.cause_chain) or "none raised",
            extra={"streamvitals": point_of_failure(record)},
        )

    def on_progress(self, progress: Progress) -> None:
        """Nothing to say while a stream is alive."""

    def on_retry(self, retry: RetryRecord) -> None:
        """Retries are counted, not logged: the SDK logs its own."""

    def on_chain(self, chain: ChainRecord) -> None:
        """Counted; each failure in it was logged."""

    def on_loop_lag(self, seconds: float) -> None:
        """Counted, not logged."""

    def on_internal_error(self, where: str) -> None:
        """Logged where it was caught."""


def point_of_failure(record: StreamRecord) -> dict[str, object]:
    """Where a stream broke: numbers and closed names, for a log record's ``extra``."""
    since_last = None if record.last_chunk is None else record.duration - record.last_chunk
    return {
        "outcome": record.outcome.value,
        "error_type": record.error_type,
        "owner": owner(record.outcome, record.error_type),
        **record.labels._asdict(),
        "chunk_index": record.chunks,
        "bytes": record.bytes_received,
        "elapsed": record.duration,
        "since_last_chunk": since_last,
        "request_id": record.request_id,
        "attempt": len(record.attempts),
        "causes": record.cause_chain,
    }
