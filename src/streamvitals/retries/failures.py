"""The application's own retries: a request that failed, sent again by the same task, thread or trace."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import count, islice
from typing import Any, NamedTuple

from ..stream.record import StreamLabels
from ..stream.request import Key
from ..stream.retry import Retry

# An operation that has been failing for longer has failed for its users, even if it is still retried: no user waits two
# minutes for a chat. It is also longer than the waits of retries that are meant to end, such as tenacity's usual ones.
FAILED_AFTER = 120.0  # seconds since its first failed attempt
# More are given up, and counted as failed although they may be tried again. Each holds a kilobyte.
_MAX_PENDING = 10_000
_MAX_CANDIDATES = 16  # failures of the same request in the same flow that are checked, newest first
_SWEPT_AT_ONCE = 2  # a request adds one at most
_numbers = count(1)


class Waiting(NamedTuple):
    """A flow (task, thread or work of a pool) that waits for the one that failed, directly or through others.

    The flow and what it ``awaits`` are held weakly. ``queued``: a pool on the way had more work queued, so its next
    request may have been made before anything failed."""

    flow: Callable[[], object | None]
    awaits: Callable[[], object | None]
    queued: bool = False

    def still(self, earlier: Waiting) -> bool:
        """Whether the same flow still waits for the same thing as earlier: then no failure has reached it."""
        awaited = self.awaits()
        return awaited is not None and awaited is earlier.awaits()


class Origin(NamedTuple):
    """The flow of the program that sent a request, the flows that wait for it, and its trace.

    ``flow`` is a task, else the work that a thread does for a pool, else the thread; None where that has no object."""

    thread: int
    flow: Callable[[], object | None] | None = None  # a weak reference: a task would keep its frames alive
    trace: int = 0
    waiting: tuple[Waiting, ...] = ()

    def same(self, other: Origin) -> bool:
        """Whether both are the same flow of the program; ``self`` is the earlier one, whose attempt failed.

        Equal traces count only if the earlier flow is over. Two flows that run side by side do not retry for each
        other, nor do two flows that the same third one waits for, if no failure has reached that one.
        """
        traced = bool(self.trace) and self.trace == other.trace
        if self.flow is None or other.flow is None:
            return traced or (self.flow is other.flow and self.thread == other.thread)
        common = [
            (earlier, later)
            for later in (Waiting(other.flow, nothing), *other.waiting)
            for earlier in (Waiting(self.flow, nothing), *self.waiting)
            if later.flow() is earlier.flow() is not None
        ]
        if any(not later.still(earlier) and not earlier.queued for earlier, later in common):
            return True
        return traced and not common and goes_on(self.flow()) is not True

    def askers(self) -> list[int]:
        """A number for each object by which this origin can be the same flow as another, while that object lives."""
        flows = [self.flow() if self.flow is not None else None, *(waiting.flow() for waiting in self.waiting)]
        found = [id(one) for one in flows if one is not None]
        if self.flow is None:
            found.append(-1 - self.thread)
        if self.trace:
            found.append(self.trace << 64)
        return found


def goes_on(flow: Any) -> bool | None:
    """Whether a flow is still running; None where that cannot be known, as for a request that a server answers.

    A flow is a task, a thread, a greenlet or the work that a thread does for a pool."""
    if hasattr(flow, "done"):
        return not flow.done()
    if hasattr(flow, "is_alive"):
        return bool(flow.is_alive())
    if hasattr(flow, "dead"):
        return not flow.dead  # a greenlet
    if hasattr(flow, "coro"):
        return getattr(flow.coro, "cr_frame", None) is not None  # trio's task
    return None


def nothing() -> None:
    """Takes the place of a weak reference, and refers to nothing."""


class Chain:
    """The attempts of one operation that has begun to fail: since when, and whether it has been counted as failed.

    ``number`` is its own within the process; ``kept`` is where the records of its failed attempts stand."""

    __slots__ = ("_uncounted", "kept", "number", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.number = next(_numbers)
        self.kept: list[Any] = []
        self._uncounted = [True]  # removed by the one thread that counts it

    @property
    def failed(self) -> bool:
        """Whether the operation has been counted as failed: a later success is then no recovery."""
        return not self._uncounted

    def fail(self) -> bool:
        """Count the operation as failed; False if it had been counted before."""
        try:
            return self._uncounted.pop()
        except IndexError:
            return False

    def overdue(self, now: float) -> bool:
        """Count the operation as failed if it has been failing for too long; True only once."""
        return now - self.since >= FAILED_AFTER and self.fail()


class Failure(NamedTuple):
    """An attempt that failed and may be made again. Times in seconds on the runtime's clock.

    ``response``: a request that names this response resumes it. ``anywhere``: that request may come from another flow
    than the first one. ``polled``: the response has been fetched without streaming, which was counted.
    """

    labels: StreamLabels
    reason: str
    at: float
    attempt: int
    origin: Origin
    fingerprint: bytes
    chain: Chain
    span: object | None = None
    retry_after: float | None = None
    response: Key | None = None
    anywhere: bool = False
    polled: bool = False

    def retried(self, began: float) -> Retry:
        """Make the facts for the observation of the request that tries this again."""
        waited = began - self.at
        honored = None if self.retry_after is None else waited >= self.retry_after
        return Retry(self.attempt + 1, max(0.0, waited), honored, self.span, self.chain, self)


class PendingFailures:
    """The failures that may be tried again; bounded.

    ``alive`` returns whether an origin can still retry; ``gave_up`` is called once for each chain whose last failure
    was not tried again within ``window`` seconds, or that has been failing for too long."""

    def __init__(
        self, window: float, alive: Callable[[Origin], bool], gave_up: Callable[[Failure], None]
    ) -> None:
        self._window = window
        self._alive = alive
        self._gave_up = gave_up
        self.failures: OrderedDict[int, Failure] = OrderedDict()  # those that may be tried again, the oldest first
        # Indexes of the failures, by origin and fingerprint, and by response: in an outage the cost of a request must
        # not grow with the number pending. An index may have a failure for a moment longer than ``failures``.
        self._by_asker: dict[int, dict[bytes, dict[int, None]]] = {}
        self._by_response: dict[Key, dict[int, None]] = {}
        self._askers: dict[int, list[int]] = {}
        self._to_sweep: list[int] = []
        self._next = 0

    def add(self, failure: Failure) -> None:
        """Add a failure; if there are too many, give up on the oldest."""
        self._overdue(failure, failure.at)
        self._next = number = self._next + 1
        self.failures[number] = failure
        self._askers[number] = askers = failure.origin.askers()
        for asker in askers:
            self._by_asker.setdefault(asker, {}).setdefault(failure.fingerprint, {})[number] = None
        if failure.response is not None:
            self._by_response.setdefault(failure.response, {})[number] = None
        while len(self.failures) > _MAX_PENDING:
            self._take_oldest()

    def match_own(self, print_of: Callable[[], bytes], task: object, now: float) -> Failure | None:
        """Match a failure of the running task itself, as ``match`` does.

        It takes precedence over a later failure of the same request in a task that this task has waited for."""
        found = self._by_asker.get(id(task))
        if found is None:
            return None
        for number in _newest(found.get(print_of())):
            failure = self.failures.get(number)
            if failure is None or now - failure.at > self._window:
                continue
            flow = failure.origin.flow
            if flow is not None and flow() is task and self._take(number) is not None:
                return failure
        return None

    def match(self, print_of: Callable[[], bytes], origin: Origin, now: float) -> Failure | None:
        """The newest failure that this request tries again, which is then no longer pending. The fingerprint is only
        computed if a request of this origin has failed."""
        known = [found for asker in origin.askers() if (found := self._by_asker.get(asker)) is not None]
        if not known:
            return None
        wanted = print_of()
        numbers = {number for found in known for number in _newest(found.get(wanted))}
        for number in sorted(numbers, reverse=True):
            failure = self.failures.get(number)
            if failure is None or now - failure.at > self._window or not failure.origin.same(origin):
                continue
            if self._take(number) is not None:
                return failure
        return None

    def take_up(self, response: Key, now: float) -> Failure | None:
        """The newest failure of this response, which is then no longer pending."""
        for number in _newest(self._by_response.get(response)):
            failure = self.failures.get(number)
            if failure is not None and now - failure.at <= self._window:
                return self._take(number)
        return None

    def sweep(self, now: float) -> None:
        """Give up on failures that can no longer be retried: they are too old, or their flow is gone.

        Operations that have been retried for too long are counted as failed, but may still be retried."""
        for number in list(self.failures):
            self._look_at(number, now)

    def sweep_some(self, now: float, most: int = _SWEPT_AT_ONCE) -> None:
        """Sweep a few failures, the next ones at each call."""
        if not self._to_sweep:
            self._to_sweep = list(self.failures)
        for _ in range(most):
            try:
                number = self._to_sweep.pop()
            except IndexError:
                return
            self._look_at(number, now)

    def _look_at(self, number: int, now: float) -> None:
        failure = self.failures.get(number)
        if failure is None:
            return
        self._overdue(failure, now)
        late = now - failure.at > self._window
        gone = late or not (failure.anywhere or self._alive(failure.origin))
        if gone and self._take(number) is not None:
            self._nobody_tried(failure)

    def _take(self, number: int) -> Failure | None:
        """Remove a failure from the pending ones; None if another thread was faster."""
        failure = self.failures.pop(number, None)
        if failure is not None:
            for asker in self._askers.pop(number, ()):
                prints = self._by_asker.get(asker, {})
                _without(prints, failure.fingerprint, number)
                if not prints:
                    self._by_asker.pop(asker, None)
            if failure.response is not None:
                _without(self._by_response, failure.response, number)
        return failure

    def close(self) -> None:
        """Give up on all failures."""
        while self.failures:
            self._take_oldest()

    def _take_oldest(self) -> None:
        try:
            failure = self._take(next(iter(self.failures)))
        except (StopIteration, RuntimeError):
            return  # another thread was faster
        if failure is not None:
            self._nobody_tried(failure)

    def _nobody_tried(self, failure: Failure) -> None:
        if failure.chain.fail():
            self._gave_up(failure)

    def _overdue(self, failure: Failure, now: float) -> None:
        if failure.chain.overdue(now):
            self._gave_up(failure)


def _newest(numbers: dict[int, None] | None) -> list[int]:
    """The newest of an index's numbers, the last one first: thousands may have failed at the same request."""
    if not numbers:
        return []
    try:
        return list(islice(reversed(numbers), _MAX_CANDIDATES))
    except RuntimeError:  # another thread has changed it, where threads run at once
        return list(numbers)[: -_MAX_CANDIDATES - 1 : -1]


def _without(index: dict[Any, dict[int, None]], key: Any, number: int) -> None:
    numbers = index.get(key)
    if numbers is not None:
        numbers.pop(number, None)
        if not numbers:
            index.pop(key, None)
