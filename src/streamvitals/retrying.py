"""Joins failures to the requests that try them again, for one process (the rule is stream/app_retries.py)."""

from __future__ import annotations

import sys
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any

from .names import OTHER, RETRY_REASONS
from .origin import alive, current_origin
from .stream.app_retries import Asked, Failure, Origin, PendingFailures, fingerprint
from .stream.record import ChainRecord, RetryRecord, StreamRecord

if TYPE_CHECKING:
    from .runtime import Runtime

SWEEP_EVERY = 1.0  # seconds, on an event loop that has failures pending


class AppRetries:
    """``pending.failures`` is empty as long as nothing has failed, and then none of this costs anything."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sweeping: weakref.WeakSet[Any] = weakref.WeakSet()
        self.reset()

    def reset(self) -> None:
        """A forked child has nothing to retry."""
        self.pending = PendingFailures(self._runtime.config.retry_window, alive, self._gave_up)
        self._sweeping.clear()

    def failed(self, record: StreamRecord, asks: Asked, origin: Origin, span: object | None, now: float) -> None:
        """A stream failed: wait for somebody to ask again."""
        reason = record.error_type if record.error_type.isdigit() else record.outcome.value
        self.pending.add(
            Failure(
                record.labels, reason if reason in RETRY_REASONS else OTHER, now, record.chain_attempt, origin,
                fingerprint(asks), span, record.retry_after,
            )
        )
        self._sweep_on_loop()

    def retried(self, asks: Asked, now: float) -> Failure | None:
        """The failure that the request which begins now tries again, if it does; counts the retry."""
        failure = self.pending.match(lambda: fingerprint(asks), current_origin(), now)
        if failure is not None:
            self._runtime.submit(RetryRecord(failure.labels, "app", failure.reason, max(0.0, now - failure.at)))
        return failure

    def fell_back(self, asks: Asked, now: float) -> Failure | None:
        """The same for a request that does not stream."""
        failure = self.retried(asks, now)
        if failure is not None:
            self._runtime.submit(ChainRecord(failure.labels, "fallback", failure.attempt))
        return failure

    def fallback_ended(self, failure: Failure, *, worked: bool, now: float) -> None:
        """How the request without streaming went."""
        if worked:
            self._runtime.submit(ChainRecord(failure.labels, "recovered", failure.attempt))
        else:
            self.pending.add(
                Failure(
                    failure.labels, failure.reason, now, failure.attempt + 1, current_origin(), failure.fingerprint
                )
            )

    def sweep(self) -> None:
        """Give up on what nobody can retry any more."""
        if self.pending.failures:
            self.pending.sweep(self._runtime.clock())

    def close(self) -> None:
        """The process ends: nothing will be retried."""
        self.pending.close()

    def _gave_up(self, failure: Failure) -> None:
        self._runtime.submit(ChainRecord(failure.labels, "failed", failure.attempt))

    def _sweep_on_loop(self) -> None:
        """An idle loop has no next event that could notice that nobody tries again."""
        asyncio = sys.modules.get("asyncio")
        try:
            loop = asyncio.get_running_loop() if asyncio is not None else None
        except RuntimeError:
            return
        if loop is not None and loop not in self._sweeping:
            self._sweeping.add(loop)
            loop.call_later(SWEEP_EVERY, self._beat, loop, context=Context())

    def _beat(self, loop: Any) -> None:
        self.sweep()
        self._sweeping.discard(loop)
        if self.pending.failures:
            self._sweep_on_loop()
