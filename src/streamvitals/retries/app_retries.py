"""Joins failures to the requests that try them again, for one process (the rule is retries/failures.py)."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from contextvars import Context
from functools import cache, partial
from typing import Any, Protocol, cast

from ..names import OTHER, RETRY_REASONS
from ..stream.observation import Observation
from ..stream.record import ChainRecord, RetryRecord, StreamRecord
from ..stream.request import Key
from ..stream.request_key import NO_KEY, RequestKey, fingerprint
from ..stream.responses import Responses, progress_of
from ..stream.retry import FIRST_ATTEMPT, Retry
from .failures import Chain, Failure, Origin, PendingFailures
from .origin import alive, current_origin, running_task

SWEEP_EVERY = 1.0  # seconds between sweeps on an event loop that has pending failures
_SWEPT_AT_A_BEAT = 500  # a millisecond or two, in which the loop does nothing else


class Host(Protocol):
    """What is asked of the process; process/runtime.py fulfils it."""

    clock: Callable[[], float]

    def submit(self, item: RetryRecord | ChainRecord) -> None:
        """Hand a record to the sinks."""


class AppRetries:
    """Remembers what has failed within ``window`` seconds. Costs nothing while ``failures`` is empty: callers check."""

    def __init__(self, host: Host, window: float) -> None:
        self._host = host
        self._window = window
        self._sweeping: weakref.WeakSet[Any] = weakref.WeakSet()
        self.responses = Responses()  # what is known of them outlives a fork
        self._taking_up: dict[Key, Observation] = {}  # open streams of requests that name a response
        self.reset()

    def reset(self) -> None:
        """Forget all failures: a forked child has nothing to retry."""
        self.pending = PendingFailures(self._window, alive, self._gave_up)
        self.failures = self.pending.failures  # those that may be tried again; empty in nearly every process
        self._sweeping.clear()
        self._taking_up.clear()

    def begin(self, named: Key | None, key: RequestKey | None, now: float) -> Retry:
        """Find which attempt of a failed operation this request is, as it begins, and count the retry."""
        failure = self._failure_of(named, key, now)
        return FIRST_ATTEMPT if failure is None else failure.retried(now)

    def takes_up(self, named: Key, observation: Observation) -> None:
        """Note that the stream of a request that names a response has begun."""
        self._taking_up[named] = observation

    def ended(self, named: Key, observation: Observation) -> None:
        """Note that the stream of a request that names a response has ended."""
        if self._taking_up.get(named) is observation:
            self._taking_up.pop(named, None)

    def failed(
        self, observation: Observation, record: StreamRecord, origin: Origin, key: RequestKey | None,
        span: object | None, now: float,
    ) -> None:
        """Remember a failed stream until its request is sent again, unless its response is already being resumed.
        ``origin`` is the flow that failed, as ``current_origin`` returned it."""
        facts, key = observation.facts, key or NO_KEY
        first: Failure | None = observation.retry.failure
        chain = cast("Chain | None", observation.chain) or Chain(now)
        # A response that the provider itself has reported as failed cannot be resumed.
        response = None if "failed" in record.finish_reasons else facts.key_of(record.response_id)
        reason = record.error_type if record.error_type.isdigit() else record.outcome.value
        failure = Failure(
            first.labels if first is not None and facts.named is not None else record.labels,
            reason if reason in RETRY_REASONS else OTHER, now, record.chain_attempt, origin,
            # A request that names no response is matched by its fingerprint.
            first.fingerprint if first is not None and facts.named is None else fingerprint(key),
            chain, span, record.retry_after, response, key.background or facts.fetch,
        )
        other = self._taking_up.get(response) if response is not None else None
        if response is not None and self.responses.came_whole(response, observation.started):
            self._again(failure, now)
            self._recovered(failure)
        elif other is not None and other.started > observation.started and other.retry.failure is None:
            self._again(failure, now)
            other.tries_again(failure.retried(other.started))
        else:
            self._await(failure)

    def _await(self, failure: Failure) -> None:
        self.pending.add(failure)
        self._sweep_on_loop()

    def _again(self, failure: Failure, now: float) -> None:
        self._host.submit(RetryRecord(failure.labels, "app", failure.reason, max(0.0, now - failure.at)))

    def _failure_of(self, response: Key | None, key: RequestKey | None, now: float) -> Failure | None:
        """The failure that a request which begins now tries again, if any; counts the retry. A request that names a
        ``response`` resumes it in any flow; any other request must be the same one, in the same flow."""
        if response is not None:
            failure = self.pending.take_up(response, now)
        elif key is not None:
            print_of = cache(partial(fingerprint, key))
            # Finding the flows that wait for the task is slow, and most retry loops do not need it.
            task = running_task()
            failure = self.pending.match_own(print_of, task, now) if task is not None else None
            failure = failure or self.pending.match(print_of, current_origin(), now)
        else:
            return None
        if failure is not None and not failure.polled:
            self._again(failure, now)
        return failure

    def fell_back(self, response: Key | None, key: RequestKey, now: float) -> Callable[[object | None], None] | None:
        """Note that a request without streaming begins. If it tries a failed stream again, count a fallback and return
        a function to call with the result, or with None if there is none."""
        failure = self._failure_of(response, key, now)
        if failure is None:
            return None
        if not failure.polled:
            self._host.submit(ChainRecord(failure.labels, "fallback", failure.attempt, failure.chain))
        return partial(self._fallback_ended, failure, response is not None)

    def _fallback_ended(self, failure: Failure, named: bool, result: object | None) -> None:
        now = self._host.clock()
        worked = result is not None and (not named or progress_of(result))
        if worked:
            self._recovered(failure)
        elif worked is None:  # the response is still in progress, which is no failure: the app will fetch it again
            chain = failure.chain if failure.chain.failed else Chain(now)
            self._await(failure._replace(at=now, polled=True, anywhere=True, chain=chain))
        else:
            self._await(
                failure._replace(
                    at=now, attempt=failure.attempt + 1, origin=current_origin(), span=None,
                    retry_after=None, polled=named,
                )
            )

    def _recovered(self, failure: Failure) -> None:
        """Count a recovery, unless the operation has already been counted as failed."""
        if not failure.chain.failed:
            self._host.submit(ChainRecord(failure.labels, "recovered", failure.attempt, failure.chain))

    def sweep(self) -> None:
        """Give up on failures that can no longer be retried."""
        if self.failures:
            self.pending.sweep(self._host.clock())

    def sweep_some(self) -> None:
        """Sweep a few failures at each request, so that its cost does not grow with the number pending."""
        self.pending.sweep_some(self._host.clock())

    def close(self) -> None:
        """Give up on all failures, since the process ends."""
        self.pending.close()

    def _gave_up(self, failure: Failure) -> None:
        self._host.submit(ChainRecord(failure.labels, "failed", failure.attempt, failure.chain))

    def _sweep_on_loop(self) -> None:
        """Sweep on a timer: on an idle loop no other event would notice that a failure was not retried."""
        asyncio = sys.modules.get("asyncio")
        try:
            loop = asyncio.get_running_loop() if asyncio is not None else None
        except RuntimeError:
            return
        if loop is not None and loop not in self._sweeping:
            self._sweeping.add(loop)
            loop.call_later(SWEEP_EVERY, self._beat, loop, context=Context())

    def _beat(self, loop: Any) -> None:
        if len(self.failures) > _SWEPT_AT_A_BEAT:
            self.pending.sweep_some(self._host.clock(), _SWEPT_AT_A_BEAT)
        else:
            self.sweep()
        self._sweeping.discard(loop)
        if self.failures:
            self._sweep_on_loop()
