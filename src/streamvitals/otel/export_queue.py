"""A bounded queue of what is to be exported, and the thread that exports it.

Why not the SDK's batch processors: their thread runs from the start (from Python 3.12 on, forking a process
that has threads warns, and a preloading master forks), it starts a thread in every forked child, its flush and
shutdown wait up to 30 s for a dead collector, and it logs when its queue is full. This queue has the same variables
and defaults.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from .otlp import GaveUpError, Losses, reason_of, unnoticed
from .patience import Patience


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    return int(text) if text.isdigit() and int(text) > 0 else default


# Makes an exporter whose requests may take so many seconds; None: as the standard variables say.
MakeExporter = Callable[[float | None], Any]
Item = TypeVar("Item")


class ExportQueue(Generic[Item]):
    """Takes items in O(1), drops the oldest when full, and exports from a daemon thread of its own.

    The thread starts with the first item, and sleeps without waking while there is nothing to send. Belongs
    to one process: after a fork, make a new one.
    """

    # Of the variables, and the thread's name.
    prefix, thread_name, delay = "OTEL_BSP_", "streamvitals-spans", 5000

    def __init__(
        self, make_exporter: MakeExporter, losses: Losses, env: Mapping[str, str] = os.environ
    ) -> None:
        limit = _number(env, self.prefix + "MAX_QUEUE_SIZE", 2048)
        self._batch = min(limit, _number(env, self.prefix + "MAX_EXPORT_BATCH_SIZE", 512))
        self._delay = _number(env, self.prefix + "SCHEDULE_DELAY", self.delay) / 1000
        self._make_exporter = make_exporter
        self._exporter = make_exporter(None)
        self._losses = losses
        self._items: deque[Item] = deque(maxlen=limit)
        # Re-entrant, as a signal handler may end a stream while this thread holds it.
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._idle = False
        self._urgent = False
        self._exporting = False
        self._closing = False
        self._gave_up = False

    def put(self, item: Item) -> None:
        """Queue an item; never blocks on the exporter."""
        if self._closing:
            return
        if len(self._items) == self._items.maxlen:
            self._losses.add("the queue is full")
        self._items.append(item)
        if self._thread is None:
            self.start()
        # Appends before it reads `_idle`; the thread sets `_idle` before it checks the queue, so no item is missed.
        if self._idle or len(self._items) >= self._batch:
            with self._changed:
                self._changed.notify_all()

    def begin_flush(self) -> None:
        """Make the thread export what is queued now, without waiting for it."""
        with self._changed:
            self._urgent = not self._nothing_left()
            self._changed.notify_all()

    def begin_close(self) -> None:
        """Make the thread export what is queued and end, without waiting for it; see ``close``."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Export what is queued, waiting ``timeout`` seconds at most, then stop; False if items were lost.

        A collector that refuses is not waited for: the first failed attempt is the last.
        """
        patience = Patience(timeout)
        self.begin_close()
        flushed = self.flush(timeout)
        with self._changed:
            self._gave_up = True
            self._changed.notify_all()
        if flushed and self._thread is not None:
            self._thread.join(patience.left())
        return flushed

    def start(self) -> None:
        """Start the thread, if it can be started; otherwise the first item starts it."""
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self.thread_name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # The interpreter is exiting, or out of threads. close() exports what is queued.
                    return
                self._thread = thread

    def flush(self, timeout: float) -> bool:
        """Export what is queued now; False if that did not happen in ``timeout`` seconds."""
        lost = self._losses.count
        if self._thread is None:
            self._drain_here(Patience(timeout))
            return not self._items and self._losses.count == lost
        self.begin_flush()
        with self._changed:
            done = self._changed.wait_for(self._nothing_left, timeout)
        return done and self._losses.count == lost

    def _drain_here(self, patience: Patience) -> None:
        """Export in the calling thread, as no other can be started; no request may take the exporter's own 10 s."""
        usual = self._exporter
        while self._items and not self._gave_up and patience.left() > 0:
            self._exporter = self._make_exporter(max(patience.left(), 0.01))
            self._drain(batches=1)
        self._exporter = usual

    def _nothing_left(self) -> bool:
        return self._gave_up or not (self._items or self._exporting)

    def _run(self) -> None:
        try:
            while self._wait_for_items():
                self._drain()
                with self._changed:
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 - ours; a dying thread would print into the app's stderr
            self._gave_up = True
            self._losses.add(type(error).__name__)

    def _wait_for_items(self) -> bool:
        with self._changed:
            self._idle = True
            self._changed.wait_for(lambda: self._items or self._closing)
            self._idle = False
            self._changed.wait_for(self._is_time, self._delay)
            self._urgent = False
            self._exporting = bool(self._items) and not self._gave_up
            return self._exporting

    def _is_time(self) -> bool:
        return self._urgent or self._closing or len(self._items) >= self._batch

    def _drain(self, batches: int = sys.maxsize) -> None:
        try:
            with unnoticed(self._on_trouble):
                while self._items and not self._gave_up and batches:
                    batches -= 1
                    batch = [self._items.popleft() for _ in range(min(self._batch, len(self._items)))]
                    self._export(batch)
        finally:
            self._exporting = False

    def _export(self, batch: list[Item]) -> None:
        reason = "refused or unreachable"
        try:
            if getattr(self._exporter.export(batch), "name", "") == "SUCCESS":  # each signal has an enumeration
                return
        except Exception as error:  # noqa: BLE001 - whatever the exporter raises, the app must not see it
            reason = reason_of(error)
            self._gave_up = self._gave_up or isinstance(error, GaveUpError)
        self._losses.add(reason)

    def _on_trouble(self) -> None:
        if self._closing:
            raise GaveUpError
