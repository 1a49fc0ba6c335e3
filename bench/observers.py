"""The observers that are compared, as switches: on and off in one process, so that both halves of a pair run
on the same heap, with the same hash seed, a few milliseconds apart.

Content capture is off wherever there is a switch for it. Spans and metrics go through the OpenTelemetry SDK
to exporters that drop them.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import time
from bisect import bisect_left
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

EDGES = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.08, 0.2, 0.5, 1.0, 5.0, 15.0, 60.0)


class Switch(Protocol):
    """An observer of the SDK in this process. ``off`` leaves nothing of it in a stream's way."""

    def on(self) -> None: ...

    def off(self) -> None: ...


class Bare:
    """Nothing, twice: what the noise is."""

    def on(self) -> None:
        """Nothing."""

    def off(self) -> None:
        """Nothing."""


class Timed:
    """The least that anything can cost that stands before the iterator: a generator that stamps, buckets the
    gap by bisect and looks at the finish_reason. It tells nobody and is right about nothing."""

    def __init__(self) -> None:
        from openai import _streaming

        self._classes: dict[Any, tuple[Any, Callable[..., Any]]] = {
            _streaming.Stream: (_streaming.Stream.__init__, _timed),
            _streaming.AsyncStream: (_streaming.AsyncStream.__init__, _timed_async),
        }

    def on(self) -> None:
        for owner, (original, generator) in self._classes.items():
            owner.__init__ = _wrapping(original, generator)

    def off(self) -> None:
        for owner, (original, _) in self._classes.items():
            owner.__init__ = original


def _wrapping(original: Any, generator: Any) -> Any:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self._iterator = generator(self._iterator)

    return init


def _timed(inner: Any) -> Any:
    clock, counts, finished = time.monotonic, [0] * (len(EDGES) + 1), None
    asked = clock()
    for item in inner:
        counts[bisect_left(EDGES, clock() - asked)] += 1
        if item.choices and item.choices[0].finish_reason:
            finished = item.choices[0].finish_reason
        yield item
        asked = clock()
    return finished


async def _timed_async(inner: Any) -> Any:
    clock, counts = time.monotonic, [0] * (len(EDGES) + 1)
    asked = clock()
    async for item in inner:
        counts[bisect_left(EDGES, clock() - asked)] += 1
        if item.choices and item.choices[0].finish_reason:
            pass
        yield item
        asked = clock()


class Streamvitals:
    """As under ``streamvitals run``: brought in by the import hook, counting into mapped files."""

    def __init__(self) -> None:
        import openai

        from streamvitals.process import lifecycle

        found = lifecycle.current()
        if found is None or not found.store.mapped:
            raise RuntimeError("streamvitals was not brought in, or does not count into mapped files")
        self._openai = openai
        self._runtime = found
        self._patches = found.patches

    def on(self) -> None:
        problems = self._patches.apply(self._openai)
        if problems:
            raise RuntimeError("; ".join(problems))

    def off(self) -> None:
        self._patches.remove()
        if self._faults():
            # What has failed open costs nothing.
            raise RuntimeError("streamvitals has counted faults of its own")

    def hold_budgets(self) -> None:
        """Stop the clocks of budgets: of the log's lines, and of records of incidents, which go by the Unix time.

        On a busy machine more time passes, so more would be written and counted."""
        from streamvitals.process import runtime
        from streamvitals.sinks.log import LogSink

        runtime.time = SimpleNamespace(time=lambda: 1_700_000_000.0)  # type: ignore[assignment]
        for sink in self._runtime._dispatch._sinks:
            if isinstance(sink, LogSink):
                sink._budget._clock = float

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Have streams that begin from now on read this clock."""
        self._runtime.clock = clock

    def _faults(self) -> float:
        from streamvitals import names
        from streamvitals.store.layout import PROCESS_LAYOUT

        counted = self._runtime.snapshot().process
        return sum(counted[PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, where)] for where in names.INTERNAL_PLACES)


def forget_failures() -> None:
    """Let no failure wait to be tried again, as in a process in which none has been."""
    from streamvitals.process import lifecycle

    found = lifecycle.current()
    if found is not None:
        found.retries.reset()


class Instrumentor:
    """Any OpenTelemetry instrumentor, which instruments once: not all of them take away what they put there, and would
    lie in their own way the second time. What they changed in the SDK's classes is put in place and taken away here."""

    def __init__(self, module: str, **settings: Any) -> None:
        instrumentor = importlib.import_module(module).OpenAIInstrumentor()
        for name in _modules():
            importlib.import_module(name)
        bare = _attributes()
        instrumentor.instrument(**settings)
        self._changes = [
            (owner, name, bare.get((owner, name)), theirs)
            for (owner, name), theirs in _attributes().items() if bare.get((owner, name)) is not theirs
        ]
        if not self._changes:
            raise RuntimeError(f"{module} changes nothing in the SDK's classes")
        self.off()

    def on(self) -> None:
        for owner, name, _, theirs in self._changes:
            setattr(owner, name, theirs)

    def off(self) -> None:
        for owner, name, original, _ in self._changes:
            if original is not None:
                setattr(owner, name, original)
            elif name in vars(owner):
                delattr(owner, name)


def _modules() -> list[str]:
    """Where the SDK's calls are; it imports most of them when they are asked for."""
    resources = importlib.import_module("openai.resources")
    return [found.name for found in pkgutil.walk_packages(resources.__path__, "openai.resources.")]


def _attributes() -> dict[tuple[type, str], Any]:
    """Every function of every class of the SDK's that calls something."""
    wings = ("openai.resources", "openai._base_client", "openai._client", "openai._streaming", "openai.lib")
    classes = {
        one for name, module in list(sys.modules.items()) if name.startswith(wings)
        for one in vars(module).values() if isinstance(one, type) and one.__module__.partition(".")[0] == "openai"
    }
    return {(owner, name): value for owner in classes for name, value in vars(owner).items() if callable(value)}


class Sentry:
    """sentry-sdk cannot be taken out again, but without a client its wrapper is one function call a stream.
    A transaction is current while it is on, as it is in a web application; without one there are no spans."""

    def __init__(self) -> None:
        transports: Any = importlib.import_module("sentry_sdk.transport")
        integrations: Any = importlib.import_module("sentry_sdk.integrations.openai")

        class Nowhere(transports.Transport):  # type: ignore[misc]
            def capture_envelope(self, envelope: Any) -> None:
                pass

        self._sdk: Any = importlib.import_module("sentry_sdk")
        self._sdk.init(
            dsn="http://key@127.0.0.1:9/1", traces_sample_rate=1.0, send_default_pii=False, transport=Nowhere,
            integrations=[integrations.OpenAIIntegration(include_prompts=False)], default_integrations=False,
        )
        self._client = self._sdk.get_client()
        self._transaction: Any = None
        self._without()

    def _without(self) -> None:
        self._sdk.get_global_scope().set_client(None)

    def on(self) -> None:
        self._sdk.get_global_scope().set_client(self._client)
        self._transaction = self._sdk.start_transaction(name="bench")
        self._transaction.__enter__()

    def off(self) -> None:
        if self._transaction is not None:
            self._transaction.__exit__(None, None, None)
            self._transaction = None
        self._without()


def providers() -> tuple[Any, Any]:
    """A tracer and a meter provider whose exporters drop everything."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> Any:
            return SpanExportResult.SUCCESS

    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(Nowhere()))
    return tracers, MeterProvider([InMemoryMetricReader()])


def switch(name: str) -> Switch:
    """The observer of a side; called once, before or after openai is imported, as the side's users do it."""
    if name == "bare":
        return Bare()
    if name == "timed":
        return Timed()
    if name == "streamvitals":
        return Streamvitals()
    if name == "sentry":
        return Sentry()
    tracers, meters = providers()
    if name == "streamvitals-spans":
        from opentelemetry import trace

        # The app's own pipeline, which is taken wherever there is one.
        trace.set_tracer_provider(tracers)
        return Streamvitals()
    if name == "openinference":
        os.environ.update(OPENINFERENCE_HIDE_INPUTS="true", OPENINFERENCE_HIDE_OUTPUTS="true")
        return Instrumentor("openinference.instrumentation.openai", tracer_provider=tracers)
    os.environ["TRACELOOP_TRACE_CONTENT"] = "false"
    modules = {
        "genai-openai": "opentelemetry.instrumentation.genai.openai",
        "openai-v2": "opentelemetry.instrumentation.openai_v2",
        "traceloop": "opentelemetry.instrumentation.openai",
    }
    return Instrumentor(modules[name], tracer_provider=tracers, meter_provider=meters)
