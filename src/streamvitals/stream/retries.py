"""The attempts of one operation: the SDK's own retries, with their reasons and the time slept between."""

from __future__ import annotations

from ..names import OTHER, RETRY_REASONS
from .outcome import classify_exception, classify_status
from .record import Attempt, RateLimit

_MAX_NOTED = 16  # remembered one by one; the count and the backoff go on


class Attempts:
    """Fed in order: ``begin``, then ``retry`` for each attempt that failed and is made again, then ``close``."""

    def __init__(self) -> None:
        self.count = 0
        self.backoff = 0.0
        self.last_status: int | None = None
        self.rate_limits: tuple[RateLimit, ...] = ()
        self._noted: list[Attempt] = []
        self._started = 0.0

    def begin(self, now: float) -> None:
        """A request is about to be sent."""
        self.count += 1
        self._started = now
        self.last_status = None

    def answered(self, status: int, rate_limits: tuple[RateLimit, ...]) -> None:
        """The attempt got this status (asked of failed ones only)."""
        self.last_status = status
        self.rate_limits = rate_limits

    def retry(self, now: float, error: BaseException | None, backoff: float) -> str:
        """The attempt failed and another follows after ``backoff`` seconds; returns the reason for it."""
        reason = error_type = OTHER
        if self.last_status is not None:
            reason = str(self.last_status)
            error_type = classify_status(self.last_status).error_type
        elif error is not None:
            outcome, error_type = classify_exception(error, headers_received=False)
            reason = outcome.value
        self.backoff += backoff
        self._note(now, error_type, backoff)
        return reason if reason in RETRY_REASONS else OTHER

    def close(self, end: float, status: int | None, error_type: str) -> tuple[Attempt, ...]:
        """All attempts, the last one ending now."""
        if self.count:
            self.last_status = status if status is not None else self.last_status
            self._note(end, error_type, 0.0)
        return tuple(self._noted)

    def _note(self, now: float, error_type: str, backoff: float) -> None:
        if len(self._noted) >= _MAX_NOTED:
            self._noted.pop()  # the first ones and the very last one say most
        self._noted.append(Attempt(self.count, self._started, now, self.last_status, error_type, backoff))
