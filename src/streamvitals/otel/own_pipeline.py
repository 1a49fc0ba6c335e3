"""A pipeline of our own to a collector, for apps that have none: what its signals share.

Everything that belongs to one process (queue, thread, connection) is made when that process has something to send, and
a forked child makes its own: connections must not be shared, and a master process that only forks needs none of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..system import forks
from .declared import Declared
from .export_queue import ExportQueue, MakeExporter
from .otlp import Losses, ProcessResource, count_rejected
from .patience import MOST, Patience

Queue = TypeVar("Queue", bound="ExportQueue[Any]")


class OwnPipeline(Generic[Queue]):
    """Has the process's queue. Raises ValueError if a setting is wrong."""

    def __init__(
        self, what: str, on_error: Callable[[str], None] | None, make: MakeExporter, declared: Declared = None,
        resource: ProcessResource | None = None,
    ) -> None:
        """``resource`` is shared by the pipelines of a process, so that all its signals have one identity."""
        losses = self._losses = Losses(what, on_error)
        self._make: MakeExporter = lambda timeout: count_rejected(make(timeout), losses)
        # Both are made now and not with the first item: they import modules and may use the network.
        self.resource = resource or ProcessResource(declared)
        make(None)
        self._queue: Queue | None = None
        self._ending: list[Queue] = []
        self._inherited: list[Queue] = []
        forks.in_child_while_alive(self._forget)

    def begin_flush(self) -> None:
        """Begin to export what is queued."""
        if self._queue is not None:
            self._queue.begin_flush()

    def flush(self, timeout: float = MOST) -> bool:
        """Export what is queued; False if that took longer than ``timeout`` seconds or failed."""
        return self._queue is None or self._queue.flush(timeout)

    def begin_shutdown(self) -> None:
        """Begin to export what is queued, for the last time.

        What comes later goes to a new queue, and is exported by the next flush or shutdown."""
        queue, self._queue = self._queue, None
        self._let_go()
        if queue is not None:
            self._ending.append(queue)
            queue.begin_close()

    def shutdown(self, timeout: float = MOST) -> bool:
        """Export what is queued and stop; see ``ExportQueue.close``."""
        patience = Patience(timeout)
        self.begin_shutdown()
        ending, self._ending = self._ending, []
        lost = [queue for queue in ending if not queue.close(patience.left())]
        return not lost

    def _let_go(self) -> None:
        """Forget what belongs to the queue."""

    def _end_with_worker(self) -> None:
        # multiprocessing's children, uvicorn's workers among them, skip atexit but run these.
        process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
        if process is not None and util is not None and process.parent_process() is not None:
            util.Finalize(None, self.shutdown, exitpriority=-100)

    def _forget(self) -> None:
        # Kept alive: closing the parent's connections here could send something on them.
        if self._queue is not None:
            self._inherited.append(self._queue)
        self._inherited += self._ending
        self._ending = []
        self._queue = None
        self._let_go()
