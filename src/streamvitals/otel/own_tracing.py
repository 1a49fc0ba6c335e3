"""The span pipeline for apps that have none: a tracer whose spans go out over OTLP, http/protobuf."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Tracer

from .._version import __version__
from .declared import Declared, arguments, sampler, without_environment
from .export_queue import MakeExporter
from .keys import SCOPE
from .otlp import ProcessResource
from .own_pipeline import OwnPipeline
from .span_queue import SpanQueue


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


class OwnTracing(OwnPipeline[SpanQueue]):
    """Gives the process's tracer. Raises ValueError if a setting is wrong."""

    def __init__(
        self, on_error: Callable[[str], None] | None, make: MakeExporter | None = None, declared: Declared = None,
        resource: ProcessResource | None = None,
    ) -> None:
        self._sampler = sampler(declared)
        self._tracer: Tracer | None = None
        super().__init__("spans", on_error, make or partial(make_exporter, declared=declared), declared, resource)

    def tracer(self) -> Tracer:
        """The tracer of the calling process; made at the first call."""
        if self._tracer is None:
            self._queue = SpanQueue(self._make, self._losses)
            # The provider is not kept: it is not needed, and once freed it does nothing when the app forks.
            provider = TracerProvider(
                sampler=self._sampler, resource=self.resource.get(), id_generator=_Ids(), shutdown_on_exit=False
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

    def _let_go(self) -> None:
        self._tracer = None
