"""Fan-out to the sinks, by whichever thread comes first, without ever blocking another.

An item is queued; then whoever gets the lock, without waiting for it, drains. Who does not get it leaves
the item to the holder, who looks again after letting go. So no thread waits, a signal handler or finalizer
that interrupts the holder cannot deadlock, and sinks are called by one thread at a time.
"""

from __future__ import annotations

import logging
from _thread import allocate_lock
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from .observation import Ending, Observation
from .record import ChainRecord, Progress, RetryRecord, Sink, StreamRecord

logger = logging.getLogger("streamvitals")


class LoopLag(NamedTuple):
    """How late an event loop was, in seconds."""

    seconds: float


class Fault(NamedTuple):
    """A fault of ours, and where."""

    where: str


Item = Progress | RetryRecord | ChainRecord | LoopLag | Fault | tuple[Observation, Ending] | StreamRecord


class _Delivery(NamedTuple):
    """An item and the sinks that have not been handed it yet."""

    item: object
    sinks: list[Sink]


class Dispatch:
    """``record`` makes the record of an ended observation, or None if it has been made already; ``recorded`` is
    called when all sinks have been handed it."""

    def __init__(
        self,
        sinks: Iterable[Sink],
        record: Callable[[Observation, Ending], StreamRecord | None],
        recorded: Callable[[Observation, StreamRecord], None],
    ) -> None:
        self._sinks = list(sinks)
        self._record = record
        self._recorded = recorded
        self.reset()

    def reset(self) -> None:
        """Start empty, as a forked child must: a lock held by a thread of the parent would stay held."""
        self._queue: SimpleQueue[Item | _Delivery] = SimpleQueue()
        self._lock = allocate_lock()

    def add(self, sink: Sink) -> None:
        """One more sink, after the others."""
        self._sinks.append(sink)

    def submit(self, item: Item) -> None:
        """Queue and drain. Never blocks, never raises."""
        self._queue.put(item)
        self.drain()

    def defer(self, item: Item) -> None:
        """Queue only; safe in finalizers. The next ordinary event drains it."""
        self._queue.put(item)

    def drain(self) -> None:
        """Hand everything that is queued to the sinks, unless somebody is at it."""
        queue, lock = self._queue, self._lock
        while not queue.empty():
            if not lock.acquire(False):
                return
            try:
                self._drain(queue)
            finally:
                lock.release()

    def _drain(self, queue: SimpleQueue[Item | _Delivery]) -> None:
        while True:
            try:
                item = queue.get_nowait()
            except Empty:
                return
            try:
                self._deliver(item)
            except Exception:  # noqa: BLE001 - a fault of ours, and the app must not see it
                self._tell_fault("classify")

    def _deliver(self, item: Item | _Delivery) -> None:
        if isinstance(item, tuple) and not isinstance(item, (LoopLag, Fault, _Delivery)):
            observation, ending = item
            record = self._record(observation, ending)
            if record is not None:
                self._deliver(record)
                self._recorded(observation, record)
            return
        delivery = item if isinstance(item, _Delivery) else _Delivery(item, list(self._sinks))
        try:
            while delivery.sinks:
                sink = delivery.sinks.pop(0)
                try:
                    _hand(sink, delivery.item)
                except Exception as error:  # noqa: BLE001 - a sink may raise anything
                    self._switch_off(sink, error)
        except BaseException:
            # A KeyboardInterrupt is the app's and goes on to it; the other sinks get theirs next time.
            self._queue.put(delivery)
            raise

    def _switch_off(self, sink: Sink, error: Exception) -> None:
        # Class names only: a message could quote what the sink was handed.
        logger.warning("%s raised %s and is switched off", type(sink).__name__, type(error).__name__)
        if sink in self._sinks:
            self._sinks.remove(sink)
        self._tell_fault("sink")

    def _tell_fault(self, where: str) -> None:
        for sink in tuple(self._sinks):
            try:
                sink.on_internal_error(where)
            except Exception:  # noqa: BLE001, PERF203 - nobody is left to be told
                self._sinks.remove(sink)


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
