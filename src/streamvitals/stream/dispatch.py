"""Fan-out to the sinks, by whichever thread comes first, without ever blocking another.

A thread queues its item, then tries to take the turn without waiting. The thread that gets the turn drains the queue.
A thread that does not get it leaves its item to the one that has it, which checks the queue again after giving the
turn back. So no thread waits, a signal handler or finalizer that interrupts the holder of the turn cannot deadlock, and
sinks are called by one thread at a time.

A signal handler may raise after any call, most of all for Ctrl-C, and the program may live on (a notebook does).
The exception goes on to the program (tracebacks.py), and the step that it interrupted is done again. Hence ``del``
where a method that returns the item would do: no signal is handled between the two statements, so neither the turn nor
an item is lost.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .ending import Ending, Reference
from .observation import Observation
from .record import CallRecord, ChainRecord, Progress, RetryRecord, StreamEnd, StreamLabels, StreamRecord
from .sink import METHODS, ReportedError, Sink, overrides
from .tracebacks import is_foreign

logger = logging.getLogger("streamvitals")

# A sink may fail for a moment (no memory, a full disk); one that fails this often in a row is switched off.
MAX_FAULTS = 3
_made: Any = tuple.__new__  # makes a named tuple from all its fields in less than half the time that its class takes


class Start(NamedTuple):
    """A stream was requested."""

    labels: StreamLabels


class CallStart(NamedTuple):
    """A call without a stream has begun."""

    labels: StreamLabels


class CallRetry(NamedTuple):
    """The SDK makes another attempt at a call without a stream."""

    labels: StreamLabels


class LoopLag(NamedTuple):
    """An event loop was late by so many seconds."""

    seconds: float


class Fault(NamedTuple):
    """A fault of ours happened in this place."""

    where: str


Item = (
    Start | Progress | RetryRecord | ChainRecord | StreamRecord | CallStart | CallRetry | CallRecord | LoopLag | Fault
    | Reference | tuple[Observation, Ending]
)
_METHODS: dict[type, str] = {
    Start: "on_start", Progress: "on_progress", RetryRecord: "on_retry", ChainRecord: "on_chain",
    StreamRecord: "on_end", CallStart: "on_call_start", CallRetry: "on_call_retry", CallRecord: "on_call",
    LoopLag: "on_loop_lag", Fault: "on_internal_error",
}
_BARE = frozenset({Start, CallStart, CallRetry, LoopLag, Fault})  # the one field is the argument of the sink's method


class _Delivery(NamedTuple):
    """A call that is due and the sinks still to be called; ``ended`` is the observation of a record."""

    method: str
    argument: Any
    sinks: list[Any]
    ended: Observation | None = None


class Dispatch:
    """Hands items to sinks, one thread at a time.

    ``record`` makes the record of an ended observation, or what is counted of it where ``needs_record`` says that this
    is enough; it returns None if it has done so already, and is called again if it is interrupted. ``recorded`` is
    called when all sinks have been handed the one or the other; for a call without a stream, with its record alone.
    """

    def __init__(
        self,
        sinks: Iterable[Sink],
        record: Callable[[Observation, Ending], StreamEnd | StreamRecord | None],
        recorded: Callable[[Observation | None, StreamEnd | StreamRecord | CallRecord], None],
    ) -> None:
        self._sinks: list[Any] = []
        for sink in sinks:
            self._check(sink)
            self._sinks.append(sink)
        self._find_listeners()
        self._faults: dict[int, int] = {}  # faults in a row, by the sink's identity
        self._record = record
        self._recorded = recorded
        self.reset()

    def reset(self) -> None:
        """Start empty, as a forked child must: a thread of the parent may have had the turn."""
        self._queue: deque[Item | _Delivery] = deque()
        self.append: Callable[[Item], None] = self._queue.append
        self._turn = [True]

    def add(self, sink: Sink) -> Callable[[], None]:
        """Add a sink: a ``Sink``, or any object with some of its methods.

        Returns a function that removes the sink, after handing it everything that has ended by then. Raises TypeError
        for an object with none of the methods."""
        self._check(sink)
        self._sinks.append(sink)
        self._find_listeners()

        def end() -> None:
            self.drain()
            self._remove(sink)

        return end

    def _remove(self, gone: Sink) -> None:
        # By identity: a sink may be a list, and equal to another.
        self._sinks = [sink for sink in self._sinks if sink is not gone]
        self._find_listeners()

    @staticmethod
    def _check(sink: object) -> None:
        if not isinstance(sink, Sink) and not any(overrides(sink, method) for method in METHODS):
            raise TypeError(f"{type(sink).__name__} is no sink: it has none of the methods {', '.join(METHODS)}")

    def _find_listeners(self) -> None:
        """Find the sinks of each method, once per change and not per event: most sinks have few methods."""
        self._listeners = {method: [s for s in self._sinks if overrides(s, method)] for method in METHODS}
        self._span_makers, self._hear_end = self._listeners["make_span"], self._listeners["on_end"]
        self._need_record = [
            getattr(sink, "needs_record", _needs) for sink in (*self._span_makers, *self._hear_end)
        ]
        # Where nobody hears of a start, no item is queued for it.
        self.hears_start = bool(self._listeners["on_start"])
        self.hears_call_start = bool(self._listeners["on_call_start"])

    def needs_record(self, end: StreamEnd) -> bool:
        """Whether the record of this stream is needed: it failed, or a sink says so."""
        if end.failed:
            return True
        for needs in self._need_record:
            try:
                if needs(end):
                    return True
            except Exception as error:  # noqa: PERF203
                if is_foreign(error):
                    raise
                return True  # it is counted as a fault of the sink if it cannot take the record either
        return False

    def submit(self, item: Item) -> None:
        """Queue and drain. Never blocks, never raises."""
        self._queue.append(item)
        self.drain()

    def defer(self, item: Item) -> None:
        """Queue only; safe in finalizers. The next ordinary event drains it."""
        self._queue.append(item)

    def drain(self) -> None:
        """Hand everything that is queued to the sinks, unless another thread is doing so."""
        queue, turn = self._queue, self._turn
        while queue:
            try:
                del turn[0]
            except IndexError:
                return
            try:
                while queue:
                    self._deliver_first(queue)
                    del queue[0]
            finally:
                turn.append(True)

    def _deliver_first(self, queue: deque[Item | _Delivery]) -> None:
        item: Any = queue[0]
        try:
            if isinstance(item, Reference):
                item = _dropped(item)
            if type(item) is tuple:
                observation, ending = item
                record = self._record(observation, ending)
                if record is None:
                    return
                if self._span_makers and isinstance(record, StreamRecord):
                    record = self._with_span(record)
                queue[0] = item = _made(_Delivery, ("on_end", record, self._hear_end.copy(), observation))
            elif type(item) is CallRecord and getattr(item.slot, "ended", False):
                return  # an interrupt has queued it twice
            elif type(item) is not _Delivery:
                queue[0] = item = self._delivery(item)
            self._deliver(item)
        except Exception as error:
            if is_foreign(error):
                raise
            self._tell_fault("classify")

    def _delivery(self, item: Any) -> _Delivery:
        kind = type(item)
        method = _METHODS[kind]
        if kind is StreamRecord:
            item = self._with_span(item)
        return _Delivery(method, item[0] if kind in _BARE else item, self._listeners[method].copy())

    def _with_span(self, record: StreamRecord) -> StreamRecord:
        """Put the span's context into a record before any sink gets it, so that no sink must come before another."""
        for sink in self._span_makers:
            try:
                span = sink.make_span(record)
                if self._faults:
                    self._faults.pop(id(sink), None)
                if span is not None:
                    record = record.with_span(span)
            except BaseException as error:  # noqa: PERF203
                if is_foreign(error):
                    raise
                self._failed(sink, error)
        return record

    def _deliver(self, delivery: _Delivery) -> None:
        """Call the sinks that are due.

        An exception of the app goes on to the app, and the remaining sinks are called next time. So is a sink that was
        interrupted in ``on_end`` or ``on_call``: it knows whether it has counted the stream (store/store.py)."""
        method, argument, sinks, ended = delivery
        while sinks:
            sink = sinks[0]
            try:
                getattr(sink, method)(argument)
                if self._faults:
                    self._faults.pop(id(sink), None)
            except BaseException as error:
                if is_foreign(error):
                    if method not in ("on_end", "on_call"):
                        del sinks[0]
                    raise
                self._failed(sink, error)
            del sinks[0]
        if ended is not None or method == "on_call":
            self._recorded(ended, argument)

    def _failed(self, sink: Sink, error: BaseException) -> None:
        self._faults[id(sink)] = faults = self._faults.get(id(sink), 0) + 1
        if faults >= MAX_FAULTS and isinstance(error, ReportedError):
            self._remove(sink)
        elif faults >= MAX_FAULTS:
            # Class names only: a message could quote what the sink was handed.
            logger.warning(
                "%s raised %s, %d times in a row, and is switched off",
                getattr(sink, "name", "") or type(sink).__name__, type(error).__name__, faults,
            )
            self._remove(sink)
        self._tell_fault("sink")

    def _tell_fault(self, where: str) -> None:
        for sink in tuple(self._listeners["on_internal_error"]):
            try:
                sink.on_internal_error(where)
            except Exception as error:  # noqa: PERF203
                if is_foreign(error):
                    raise
                self._remove(sink)  # no sink is left to report it to


def _needs(_: StreamEnd) -> bool:
    return True


def _dropped(reference: Reference) -> tuple[Observation, Ending]:
    observation = reference.observation
    return observation, Ending(observation.drop_verdict(), observation.clock())
