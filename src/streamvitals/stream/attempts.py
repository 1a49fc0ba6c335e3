"""The attempts of one operation: the SDK's own retries, with their reasons and the time slept between."""

from __future__ import annotations

from ..names import OTHER, RETRY_REASONS
from ..outcome import classify_status
from .classify import classify_exception
from .record import Attempt, RateLimit

_MAX_NOTED = 16  # attempts that are kept one by one; past that only the count and the backoff are updated


def only_attempt(sent_at: float | None, end: float, status: int | None, error_type: str) -> tuple[Attempt, ...]:
    """The attempts of an operation that has made one, or none: most keep no more of it than when it was sent."""
    return () if sent_at is None else (Attempt(1, sent_at, end, status, error_type),)


class Attempts:
    """The attempts of one operation, fed in order: ``begin``, then ``retry`` for each that failed, then ``close``."""

    __slots__ = (
        "_noted", "_retry", "_started", "backoff", "count", "last_status", "rate_limits", "request_id",
        "retry_after",
    )

    def __init__(self, sent_at: float | None = None) -> None:
        self.count = 0 if sent_at is None else 1
        self.backoff = 0.0
        self.last_status: int | None = None
        self.rate_limits: tuple[RateLimit, ...] = ()
        self.request_id: str | None = None
        self.retry_after: float | None = None
        self._noted: tuple[Attempt, ...] = ()
        self._started = sent_at or 0.0
        self._retry: tuple[str, float] | None = None

    def begin(self, now: float) -> tuple[str, float] | None:
        """Note that a request is about to be sent; return a retry's reason and the sleep before it."""
        self.count += 1
        self._started = now
        self.last_status = self.request_id = self.retry_after = None
        retry, self._retry = self._retry, None
        return retry

    def answered(
        self,
        status: int,
        rate_limits: tuple[RateLimit, ...],
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Note the status of a failed attempt; ``retry_after`` is in seconds."""
        self.last_status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.rate_limits = rate_limits

    def over_connection(self, request_id: str | None) -> None:
        """Note that the request uses a connection which an earlier request, with this id, has opened."""
        self.request_id = request_id

    def limited(self, rate_limits: tuple[RateLimit, ...]) -> None:
        """Note the provider's limits, as an event has reported them."""
        self.rate_limits = rate_limits

    def retry(self, now: float, error: BaseException | None, backoff: float) -> None:
        """Note that the attempt failed and that the SDK makes another after ``backoff`` seconds."""
        reason = error_type = OTHER
        if self.last_status is not None:
            reason = str(self.last_status)
            error_type = classify_status(self.last_status).error_type
        elif error is not None:
            outcome, error_type = classify_exception(error, headers_received=False)
            reason = outcome.value
        self.backoff += backoff
        self._note(now, error_type, backoff)
        self._retry = (reason if reason in RETRY_REASONS else OTHER, backoff)

    def cut_short(self, now: float) -> bool:
        """Note that the operation has ended; return whether that was in the SDK's sleep, so that no attempt follows."""
        if self._retry is None:
            return False
        self._retry = None
        failed = self._noted[-1]
        slept = min(failed.backoff, now - failed.ended)
        self.backoff += slept - failed.backoff
        self._noted = (*self._noted[:-1], failed._replace(backoff=slept))
        return True

    def close(self, end: float, status: int | None, error_type: str) -> tuple[Attempt, ...]:
        """All attempts, the last one ending now."""
        if self.count and not (self._noted and self._noted[-1].number == self.count):
            self.last_status = status if status is not None else self.last_status
            self._note(end, error_type, 0.0)
        return self._noted

    def _note(self, now: float, error_type: str, backoff: float) -> None:
        # The first attempts and the very last one are the most informative.
        attempt = Attempt(self.count, self._started, now, self.last_status, error_type, backoff)
        self._noted = (*self._noted[: _MAX_NOTED - 1], attempt) if self._noted else (attempt,)
