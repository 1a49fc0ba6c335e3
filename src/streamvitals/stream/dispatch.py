"""Fan-out to the sinks, by whichever thread comes first, without ever blocking another.

An item is queued; then whoever gets the turn, without waiting for it, drains. Who does not get it leaves
the item to the holder, who looks again after passing it on. So no thread waits, a signal handler or finalizer
that interrupts the holder cannot deadlock, and sinks are called by one thread at a time.

A signal handler may raise after any call, most of all Ctrl-C, and the program may live on (a notebook does).
What it raised goes on to the program (tracebacks.py), what it interrupted is done again. Hence ``del`` where a method
that returns the item would do: no signal is handled between the two statements, so that neither the turn nor an
item is lost.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .observation import Ending, Observation, Reference
from .record import ChainRecord, Progress, RetryRecord, SaidError, Sink, StreamRecord
from .tracebacks import is_foreign

logger = logging.getLogger("streamvitals")

# A sink may fail for a moment (no memory, a full disk); one that fails this often in a row is switched off.
MAX_FAULTS = 3


class LoopLag(NamedTuple):
    """How late an event loop was, in seconds."""

    seconds: float


class Fault(NamedTuple):
    """A fault of ours, and where."""

    where: str


Item = Progress | RetryRecord | ChainRecord | LoopLag | Fault | tuple[Observation, Ending] | Reference | StreamRecord


class _Delivery(NamedTuple):
    """An item and the sinks that have not been handed it yet; ``ended`` is the observation it is the record of."""

    item: object
    sinks: list[Sink]
    ended: Observation | None = None


class Dispatch:
    """``record`` makes the record of an ended observation, or None if it has been told already; ``recorded`` is
    called when all sinks have been handed it. What interrupts the former has it called again."""

    def __init__(
        self,
        sinks: Iterable[Sink],
        record: Callable[[Observation, Ending], StreamRecord | None],
        recorded: Callable[[Observation, StreamRecord], None],
    ) -> None:
        self._sinks = list(sinks)
        self._faults: dict[int, int] = {}  # in a row, by the sink's identity
        self._record = record
        self._recorded = recorded
        self.reset()

    def reset(self) -> None:
        """Start empty, as a forked child must: a thread of the parent may have had the turn."""
        self._queue: deque[Item | _Delivery] = deque()
        self.append: Callable[[Item], None] = self._queue.append
        self._turn = [True]

    def add(self, sink: Sink) -> Callable[[], None]:
        """One more sink, after the others. Returns what hands it all that has ended by then, and nothing more."""
        self._sinks.append(sink)

        def end() -> None:
            self.drain()
            self._remove(sink)

        return end

    def _remove(self, gone: Sink) -> None:
        # By identity: a sink may be a list, and equal to another.
        self._sinks = [sink for sink in self._sinks if sink is not gone]

    def submit(self, item: Item) -> None:
        """Queue and drain. Never blocks, never raises."""
        self._queue.append(item)
        self.drain()

    def defer(self, item: Item) -> None:
        """Queue only; safe in finalizers. The next ordinary event drains it."""
        self._queue.append(item)

    def drain(self) -> None:
        """Hand everything that is queued to the sinks, unless somebody is at it."""
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
            if type(item) is Reference:
                item = _dropped(item)
            if type(item) is tuple:
                observation, ending = item
                record = self._record(observation, ending)
                if record is None:
                    return
                queue[0] = item = _Delivery(record, self._sinks.copy(), observation)
            elif not isinstance(item, _Delivery):
                queue[0] = item = _Delivery(item, self._sinks.copy())
            self._deliver(item)
        except Exception as error:
            if is_foreign(error):
                raise
            self._tell_fault("classify")

    def _deliver(self, delivery: _Delivery) -> None:
        """What the app raised goes on to it; the other sinks get theirs next time. So does the one that was
        interrupted in an end: it knows whether it has counted that (store/store.py)."""
        item, sinks, ended = delivery
        while sinks:
            sink = sinks[0]
            try:
                _hand(sink, item)
                if self._faults:
                    self._faults.pop(id(sink), None)
            except BaseException as error:
                if is_foreign(error):
                    if not isinstance(item, StreamRecord):
                        del sinks[0]
                    raise
                self._failed(sink, error)
            del sinks[0]
        if ended is not None and isinstance(item, StreamRecord):
            self._recorded(ended, item)

    def _failed(self, sink: Sink, error: BaseException) -> None:
        self._faults[id(sink)] = faults = self._faults.get(id(sink), 0) + 1
        if faults >= MAX_FAULTS and isinstance(error, SaidError):
            self._remove(sink)
        elif faults >= MAX_FAULTS:
            # Class names only: a message could quote what the sink was handed.
            logger.warning(
                "%s raised %s, %d times in a row, and is switched off",
                type(sink).__name__, type(error).__name__, faults,
            )
            self._remove(sink)
        self._tell_fault("sink")

    def _tell_fault(self, where: str) -> None:
        for sink in tuple(self._sinks):
            try:
                sink.on_internal_error(where)
            except Exception as error:  # noqa: PERF203
                if is_foreign(error):
                    raise
                self._remove(sink)  # nobody is left to be told


def _dropped(reference: Reference) -> tuple[Observation, Ending]:
    observation = reference.observation
    return observation, Ending(observation.drop_verdict(), observation.clock())


def _hand(sink: Sink, item: object) -> None:
    if isinstance(item, StreamRecord):
        sink.on_end(item)
    elif isinstance(item, Progress):
        sink.on_progress(item)
    elif isinstance(item, RetryRecord):
        sink.on_retry(item)
    elif isinstance(item, ChainRecord):
        sink.on_chain(item)
    elif isinstance(item, LoopLag):
        sink.on_loop_lag(item.seconds)
    elif isinstance(item, Fault):
        sink.on_internal_error(item.where)
