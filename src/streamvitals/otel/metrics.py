"""Metrics over OTLP: pre-aggregated families go out through the SDK's own reader and exporter."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .._version import __version__
from ..conventions import LATEST
from ..store.snapshot import Snapshot, Take
from ..system import forks
from .keys import SCOPE
from .meter import MeterSink, on_app_provider
from .otlp import GaveUpError, Losses, ProcessResource, count_rejected, reason_of, unnoticed
from .patience import MOST, at_exit
from .points import Window, to_metrics

__all__ = ["Exporting", "MeterSink", "PreaggregatedExporter", "on_app_provider", "start_exporting", "to_metrics"]

_CUMULATIVE = AggregationTemporality.CUMULATIVE


class PreaggregatedExporter(MetricExporter):
    """Adds our families to the metrics of a reader, and exports both with ``inner``.

    ``take`` is called for a snapshot at every export, and must not change a snapshot that it has returned. Values are
    cumulative or delta, by kind, as ``inner`` prefers. What was not delivered is sent again: a delta starts anew only
    when ``inner`` reports success. ``remake`` makes another ``inner`` for a forked child, which counts from the fork
    and must not share a connection.
    """

    def __init__(
        self,
        inner: MetricExporter,
        take: Take,
        *,
        remake: Callable[[], MetricExporter] | None = None,
        resource: ProcessResource | None = None,
        losses: Losses | None = None,
        generation: str = LATEST,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        preferred = inner._preferred_temporality or {}
        super().__init__(preferred, inner._preferred_aggregation)
        self._temporality = {
            "counter": preferred.get(Counter, _CUMULATIVE),
            "histogram": preferred.get(Histogram, _CUMULATIVE),
        }
        self._inner = inner
        self._take = take
        self._remake = remake
        self._resource = resource
        self._losses = losses or Losses("metrics", None)
        self._generation = generation
        self._clock = clock
        self._closing = False
        self._inherited: list[MetricExporter] = []
        self._begin()
        forks.in_child_while_alive(self._begin_anew)

    def _begin(self) -> None:
        self._began = self._last_exported = self._clock()
        self._previous: Snapshot | None = None

    def _begin_anew(self) -> None:
        if self._remake is not None:
            self._inherited.append(self._inner)
            self._inner = self._remake()
        self._begin()

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export what the reader has collected and our families; called in the reader's thread. Never raises."""
        reason = "refused or unreachable"
        try:
            with unnoticed(self._on_trouble):
                snapshot, now = self._take(), self._clock()
                families = to_metrics(
                    snapshot, self._previous, Window(self._began, self._last_exported, now), self._temporality,
                    self._generation,
                )
                data = self._with_ours(metrics_data, families)
                if self._inner.export(data, timeout_millis, **kwargs) is MetricExportResult.SUCCESS:
                    self._previous, self._last_exported = snapshot, now
                    self._losses.failing = False
                    return MetricExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - whatever the exporter raises, the app must not see it
            reason = reason_of(error)
        self._losses.add(reason)
        return MetricExportResult.FAILURE

    def _with_ours(self, data: MetricsData, families: list[Any]) -> MetricsData:
        first, *more = data.resource_metrics
        ours = ScopeMetrics(InstrumentationScope(SCOPE, __version__), families, "")
        # Our own scope contains only the instrument that makes the reader call its exporter.
        others = [scope for scope in first.scope_metrics if scope.scope.name != SCOPE]
        resource = first.resource if self._resource is None else self._resource.get()
        return MetricsData([ResourceMetrics(resource, [*others, ours], first.schema_url), *more])

    def _on_trouble(self) -> None:
        if self._closing:
            raise GaveUpError

    def close(self) -> None:
        """Make the next export the last, which ends with its first failed attempt."""
        self._closing = True

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing: nothing is buffered here."""
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the inner exporter down."""
        with unnoticed(lambda: None):
            self._inner.shutdown(timeout_millis)


class MetricsConfig(Protocol):
    """The settings that ``start_exporting`` needs."""

    @property
    def otlp_metrics(self) -> bool:
        """Whether the settings ask for OTLP metrics."""

    @property
    def declared(self) -> Mapping[str, str] | None:
        """The settings, where they are not to be read in the environment."""

    @property
    def conventions(self) -> str:
        """The generation of the conventions, one of ``conventions.GENERATIONS``."""


class Exporting(NamedTuple):
    """A running metrics pipeline.

    ``flush`` and ``shutdown`` take the seconds that they may last (MOST by default) and return whether all was
    delivered; ``failing`` returns whether the last export failed.
    """

    flush: Callable[..., bool]
    shutdown: Callable[..., bool]
    failing: Callable[[], bool] = lambda: False


def start_exporting(
    take: Take,
    config: MetricsConfig,
    *,
    on_error: Callable[[str], None] | None = None,
) -> Exporting:
    """Export what ``take`` returns, at the interval of the standard variables, and once more at exit.

    Does nothing unless ``config.otlp_metrics``. ``on_error("otel")`` is called, on any thread, for each
    export that failed. No global provider is set. Raises ImportError if the exporter
    is not installed, ValueError if a standard variable is wrong.
    """
    if not config.otlp_metrics:
        return Exporting(_done, _done)
    return _Pipeline(take, Losses("metrics", on_error), config.conventions, config.declared).start()


def _done(timeout: float = MOST) -> bool:
    return True


def _one(options: CallbackOptions) -> list[Observation]:
    return [Observation(1)]


class _Pipeline:
    def __init__(
        self, take: Take, losses: Losses, generation: str, declared: Mapping[str, str] | None = None
    ) -> None:
        # Imported here, as an app with a MeterProvider of its own needs no exporter of ours.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        from .declared import arguments, intervals, temporality, without_environment

        self._losses = losses
        resource = ProcessResource(declared)

        def make() -> MetricExporter:
            exporter = OTLPMetricExporter(**arguments(declared, "METRICS"), **temporality(declared))
            return count_rejected(without_environment(exporter, declared, "METRICS"), losses)

        self._exporter = PreaggregatedExporter(
            make(), take, remake=make, resource=resource, losses=losses, generation=generation
        )
        reader = PeriodicExportingMetricReader(self._exporter, **intervals(declared))
        self._provider = MeterProvider([reader], resource=resource.get(), shutdown_on_exit=False)
        # A reader that has nothing to report does not call its exporter.
        self._provider.get_meter(SCOPE).create_observable_gauge("streamvitals.reader", [_one])
        self._ended = False

    def start(self) -> Exporting:
        atexit.register(self._end)
        return Exporting(self.flush, self.shutdown, lambda: self._losses.failing)

    def flush(self, timeout: float = MOST) -> bool:
        """Export now, in another thread: the SDK would block the calling thread for as long as that takes."""
        lost = self._losses.count
        thread = threading.Thread(target=self._flush, name="streamvitals-flush", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is exiting, and the last export is about to be made, or it is out of threads.
            return False
        thread.join(timeout)
        return not thread.is_alive() and self._losses.count == lost

    def _flush(self) -> None:
        with unnoticed(lambda: None):
            self._provider.force_flush()

    def _end(self) -> None:
        self.shutdown(at_exit().left())

    def shutdown(self, timeout: float = MOST) -> bool:
        """Export once more and stop."""
        atexit.unregister(self._end)
        if self._ended:
            return True
        self._ended = True
        lost = self._losses.count
        self._exporter.close()
        began = time.monotonic()
        try:
            with unnoticed(lambda: None):
                self._provider.shutdown(timeout * 1000)
        except Exception as error:  # noqa: BLE001 - the SDK's readers raise what they met
            self._losses.add(type(error).__name__)
        return self._losses.count == lost and time.monotonic() - began < timeout
