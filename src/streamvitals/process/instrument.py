"""``instrument()``: observes a process without an agent, for programs that serve their own /metrics."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..config import Config, install
from ..config.problems import of_journal, of_variables
from ..stream.sink import Sink
from . import lifecycle, wiring
from .problems import report, show_and_check, warn
from .runtime import Runtime

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from ..sinks.callback import StreamEndFunction
    from ..store.snapshot import Snapshot

logger = logging.getLogger("streamvitals")

_undo: list[Callable[[], object]] = []
# The sink of ``on_stream_end``, and what removes it.
_callback: list[Callable[[], object]] = []


def instrument(
    *,
    registry: CollectorRegistry | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    config: Config | None = None,
    on_stream_end: StreamEndFunction | None = None,
) -> None:
    """Observe the streams of this process from now on; a second call does nothing, but for its ``on_stream_end``.

    ``registry`` gets our metrics; if neither it nor ``meter_provider`` is given, prometheus_client's default one, or
    nothing where that package is missing. Where that is in multiprocess mode they go into its own files instead.
    ``tracer_provider`` and ``meter_provider`` are the app's; without them the standard ``OTEL_*`` variables
    decide, and an app's global tracer provider is used once there is one. ``config`` replaces the environment.

    ``on_stream_end`` is called with the ``StreamRecord`` of each stream that ends, by one thread at a time and in the
    midst of the program: it must return soon. What it raises is counted as ours, and the third time in a row switches
    it off. There is one such function; that of a later call takes its place.

    Patches openai now, or when it is imported. If a variable has a bad value that is logged and the default is
    used, as under `streamvitals run`. Raises TypeError, ConfigError or ImportError for an argument that is wrong.
    """
    observe(os.environ, registry, tracer_provider, meter_provider, config, on_stream_end)


def observe(
    env: Mapping[str, str], registry: Any = None, tracer_provider: Any = None, meter_provider: Any = None,
    config: Config | None = None, on_stream_end: StreamEndFunction | None = None,
) -> None:
    """As ``instrument()``, which see, with these variables in place of the environment."""
    if config is not None and not isinstance(config, Config):
        raise TypeError(f"config must be a streamvitals.config.Config, not {type(config).__name__}")
    for name, given, method, wanted in (
        ("registry", registry, "register", "a prometheus_client.CollectorRegistry"),
        ("tracer_provider", tracer_provider, "get_tracer", "an OpenTelemetry TracerProvider"),
        ("meter_provider", meter_provider, "get_meter", "an OpenTelemetry MeterProvider"),
    ):
        if given is not None and not hasattr(given, method):
            raise TypeError(f"{name} must be {wanted}, not {type(given).__name__}")
    callback = _callback_sink(on_stream_end)
    settings = config or Config.read(env)[0]
    if settings.disabled:
        return
    if _undo:
        _hear(callback)
        return
    under_run = lifecycle.current() is not None
    problems: list[str] | None = None
    if config is None:
        problems = []
        if not under_run:
            settings, problems = show_and_check(settings)
            # `run` has reported these before this program began.
            by_run = "_streamvitals_registration" in sys.modules
            for problem in () if by_run else (*of_variables(env), *of_journal(settings.journal)):
                logger.warning("%s", problem)
    started = lifecycle.start(
        settings, _tracing(settings, tracer_provider, problems),
        metrics=_metrics(settings, problems) if meter_provider is None else None,
    )
    _undo.append(lambda: None)
    # A reader of the app's provider may serve the same default registry, which would then show each stream twice.
    if registry is not None or meter_provider is None:
        _serve_prometheus(started, registry)
    if meter_provider is not None:
        _report_to(meter_provider, started)
    _hear(callback)
    if not under_run:
        started.patch_on_import()
        report(problems or [])


def uninstrument() -> None:
    """Remove the patches and forget the numbers. Open streams are counted with what is known of them."""
    while _undo:
        _undo.pop()()
    lifecycle.stop()
    _callback.clear()


def flush() -> None:
    """Hand everything that has ended to the exporters and wait for them, 2 seconds at most for all of it.

    For processes that skip ``atexit``, such as workers that end with ``os._exit``.
    """
    current = lifecycle.current()
    if current is not None:
        current.flush()


def _callback_sink(function: StreamEndFunction | None) -> Sink | None:
    if function is None:
        return None
    from ..sinks.callback import CallbackSink

    return CallbackSink(function)


def _hear(callback: Sink | None) -> None:
    """Call this function at the end of each stream, and no longer the one before."""
    current = lifecycle.current()
    if callback is None or current is None:
        return
    while _callback:
        _callback.pop()()
    _callback.append(current.add_sink(callback))


def _tracing(config: Config, provider: TracerProvider | None, problems: list[str] | None) -> wiring.TracingFactory:
    """What makes the span pipeline, if this call makes the runtime.

    ``problems`` is given if the settings come from the environment: a package that they need may then be missing."""
    if problems is None:
        return lambda: wiring.start_tracing(config, provider, lifecycle.count_fault)
    return lambda: wiring.start_tracing_if_possible(config, provider, lifecycle.count_fault, problems)


def _metrics(config: Config, problems: list[str] | None) -> wiring.MetricsFactory | None:
    """How the runtime gets its exporter of metrics over OTLP, if it needs one."""
    if not config.otlp_metrics or (config.directory and os.path.isdir(config.directory)):
        return None  # an agent sends what is counted there

    def start(take: Callable[[], Snapshot]) -> wiring.Exporting | None:
        try:
            from ..otel import metrics

            return metrics.start_exporting(take, config, on_error=lifecycle.count_fault)
        except Exception as error:
            if problems is None:
                raise
            missing = isinstance(error, ImportError)
            fix = install.there("otlp") if missing else "check the OTEL_ variables"
            warn(problems, "metrics", f"no metrics over OTLP: {type(error).__name__} -> {fix}")
            return None

    return start


def _serve_prometheus(started: Runtime, registry: CollectorRegistry | None) -> None:
    try:
        import prometheus_client
    except ImportError:
        if registry is not None:
            raise
        logger.debug("prometheus_client is not installed: no metrics in a registry")
        return
    # Not by the variable, which has two spellings, and counts only if it was set before that package was imported.
    if registry is None and getattr(prometheus_client.values.ValueClass, "_multiprocess", False):
        from ..sinks.multiprocess import MultiprocessSink

        started.add_sink(MultiprocessSink(started.store, started.left_out))
        return
    from ..sinks.prometheus import SnapshotCollector

    target: Any = registry if registry is not None else prometheus_client.REGISTRY
    collector = SnapshotCollector(started.snapshot)
    target.register(collector)
    _undo.append(lambda: target.unregister(collector))


def _report_to(provider: MeterProvider, started: Runtime) -> None:
    from ..otel import metrics

    started.times_chunks = True
    sink = metrics.on_app_provider(provider, started.snapshot, started.left_out, started.config.conventions)
    started.add_sink(sink)
    _undo.append(sink.close)
