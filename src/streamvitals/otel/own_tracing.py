"""The span pipeline for apps that have none: a tracer whose spans go out over OTLP, http/protobuf.

Everything that belongs to one process (queue, thread, connection) is made at that process's first span, and a forked
child makes its own: connections must not be shared, and a master process that only forks needs none of it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Tracer

from .._version import __version__
from ..system import forks
from .declared import Declared, arguments, sampler, without_environment
from .keys import SCOPE
from .otlp import Losses, ProcessResource, count_rejected
from .patience import MOST, Patience
from .span_queue import MakeExporter, SpanQueue


class _Ids(IdGenerator):
    """Makes ids without the ``random`` module, so that a seeded app draws the same numbers as without us."""

    def __init__(self) -> None:
        self._bits = random.SystemRandom().getrandbits

    def generate_trace_id(self) -> int:
        return self._bits(128) or 1

    def generate_span_id(self) -> int:
        return self._bits(64) or 1

    def is_trace_id_random(self) -> bool:
        return True


def make_exporter(timeout: float | None, declared: Declared = None) -> SpanExporter:
    """The exporter that the settings describe; ``timeout``: seconds per request, None: as they say."""
    told = {"timeout": timeout} if timeout is not None else {}
    exporter = OTLPSpanExporter(**{**arguments(declared, "TRACES"), **told})
    return without_environment(exporter, declared, "TRACES")


class OwnTracing:
    """Gives the process's tracer. Raises ValueError if a setting is wrong."""

    def __init__(
        self, on_error: Callable[[str], None] | None, make: MakeExporter | None = None, declared: Declared = None
    ) -> None:
        make = make or partial(make_exporter, declared=declared)
        losses = self._losses = Losses("spans", on_error)
        self._make: MakeExporter = lambda timeout: count_rejected(make(timeout), losses)
        # Both are made now and not at the first span: they import modules and may use the network.
        self._resource = ProcessResource(declared)
        self._sampler = sampler(declared)
        make(None)
        self._queue: SpanQueue | None = None
        self._tracer: Tracer | None = None
        self._ending: list[SpanQueue] = []
        self._inherited: list[SpanQueue] = []
        forks.in_child_while_alive(self._forget)

    def tracer(self) -> Tracer:
        """The tracer of the calling process; made at the first call."""
        if self._tracer is None:
            self._queue = SpanQueue(self._make, self._losses)
            # The provider is not kept: it is not needed, and once freed it does nothing when the app forks.
            provider = TracerProvider(
                sampler=self._sampler, resource=self._resource.get(), id_generator=_Ids(), shutdown_on_exit=False
            )
            provider.add_span_processor(self._queue)
            self._tracer = provider.get_tracer(SCOPE, __version__)
            self._end_with_worker()
        return self._tracer

    def prepare(self) -> None:
        """Start the thread that exports: when the first span is made at exit, none can be started any more."""
        if self._tracer is None:
            self.tracer()
            if self._queue is not None:
                self._queue.start()

    def begin_flush(self) -> None:
        """Begin to export what is queued."""
        if self._queue is not None:
            self._queue.begin_flush()

    def flush(self, timeout: float = MOST) -> bool:
        """Export what is queued; False if that took longer than ``timeout`` seconds or failed."""
        return self._queue is None or self._queue.force_flush(int(timeout * 1000))

    def begin_shutdown(self) -> None:
        """Begin to export what is queued, for the last time.

        Spans that are made later go to a new queue, and are exported by the next flush or shutdown."""
        queue, self._queue, self._tracer = self._queue, None, None
        if queue is not None:
            self._ending.append(queue)
            queue.begin_close()

    def shutdown(self, timeout: float = MOST) -> bool:
        """Export what is queued and stop; see ``SpanQueue.close``."""
        patience = Patience(timeout)
        self.begin_shutdown()
        ending, self._ending = self._ending, []
        lost = [queue for queue in ending if not queue.close(patience.left())]
        return not lost

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
        self._queue = self._tracer = None
