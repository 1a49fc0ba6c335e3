"""Our metrics on the app's own MeterProvider: counters and gauges observed, histograms once per stream.

``streamvitals.chunk_gap`` is absent there: we count it in buckets, but the metrics API takes single values only,
at some 8 µs each, which a chunk must not cost. Histograms begin with their first value, not at 0.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

from .. import names
from .._version import __version__
from ..names import Metric
from ..store.layout import PROCESS_LAYOUT, STREAM_LAYOUT, Series
from ..store.measured import measured
from ..store.snapshot import Snapshot, Take
from ..stream.record import StreamRecord
from ..stream.sink import Sink
from .keys import SCOPE, Attributes, own_attributes, semconv_attributes, stream_attributes


class _Shared:
    """One snapshot for all instruments of a collection; a new one is taken when an instrument asks again.

    ``take`` is None while nothing is observed.
    """

    def __init__(self) -> None:
        self.take: Take | None = None
        self._lock = threading.Lock()
        self._served: set[str] = set()
        self._snapshot = Snapshot()

    def get(self, instrument: str) -> Snapshot | None:
        take = self.take
        if take is None:
            return None
        with self._lock:
            if not self._served or instrument in self._served:
                self._snapshot = take()
                self._served.clear()
            self._served.add(instrument)
            return self._snapshot


# Instruments cannot be removed, so a second call for the same meter uses those of the first.
_sinks: weakref.WeakKeyDictionary[Meter, MeterSink] = weakref.WeakKeyDictionary()


def on_app_provider(provider: MeterProvider, take: Take, left_out: frozenset[str] = frozenset()) -> MeterSink:
    """Report to a provider of the app's. ``take`` is called whenever its readers collect.

    ``left_out`` are the metrics that are not shown, as in the snapshots that it returns."""
    meter = provider.get_meter(SCOPE, __version__)
    sink = _sinks.get(meter)
    if sink is None:
        shared = _Shared()
        _observe_all(meter, shared)
        sink = _sinks[meter] = MeterSink(meter, shared)
    sink.observe(take, left_out)
    return sink


def _observe_all(meter: Meter, shared: _Shared) -> None:
    for metric in names.STREAM_METRICS:
        if metric.kind != "histogram":
            _observe(meter, shared, metric, _rows_of(metric))
    for metric in names.PROCESS_METRICS:
        if metric.kind != "histogram":
            _observe(meter, shared, metric, _process_rows_of(metric))
    _observe(meter, shared, names.ACTIVE, lambda s: _open(s, s.active.get))
    _observe(meter, shared, names.STALLED, lambda s: _open(s, s.stalled.get))
    _observe(meter, shared, names.BUILD_INFO, _builds)


def _observe(
    meter: Meter, shared: _Shared, metric: Metric, read: Callable[[Snapshot], Iterator[Observation]]
) -> None:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        snapshot = shared.get(metric.otel)
        return [] if snapshot is None or metric.otel in snapshot.left_out else list(read(snapshot))

    create = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
    create(metric.otel, [observe], metric.unit, metric.help)


def _rows_of(metric: Metric) -> Callable[[Snapshot], Iterator[Observation]]:
    series = [s for s in STREAM_LAYOUT.series if s.metric is metric]

    def read(snapshot: Snapshot) -> Iterator[Observation]:
        for labels, row in snapshot.streams.items():
            yield from _values(series, row, stream_attributes(labels))

    return read


def _process_rows_of(metric: Metric) -> Callable[[Snapshot], Iterator[Observation]]:
    series = [s for s in PROCESS_LAYOUT.series if s.metric is metric]
    return lambda snapshot: _values(series, snapshot.process, {})


def _values(series: list[Series], row: list[float], base: Attributes) -> Iterator[Observation]:
    for one in series:
        if one.is_shown(row):
            yield Observation(row[one.start], {**base, **own_attributes(one.metric, one.values)})


def _open(snapshot: Snapshot, count: Callable[..., int]) -> Iterator[Observation]:
    for labels in snapshot.streams:
        yield Observation(count(labels, 0), stream_attributes(labels))


def _builds(snapshot: Snapshot) -> Iterator[Observation]:
    for build in snapshot.builds:
        yield Observation(1, own_attributes(names.BUILD_INFO, build))


def _takes(function: Callable[..., Any], parameter: str) -> bool:
    return parameter in inspect.signature(function).parameters


class MeterSink(Sink):
    """Records the histograms of each stream when it ends, some ten values; see ``on_app_provider``."""

    def __init__(self, meter: Meter, shared: _Shared) -> None:
        self._shared = shared
        self._left_out: frozenset[str] = frozenset()
        create = meter.create_histogram
        # Not in opentelemetry-api 1.27; the provider's default edges are used there.
        advice = _takes(create, "explicit_bucket_boundaries_advisory")

        def histogram(name: str, metric: Metric) -> Histogram:
            more: dict[str, Any] = {"explicit_bucket_boundaries_advisory": metric.edges} if advice else {}
            return create(name, metric.unit, metric.help, **more)

        ours = (
            names.DURATION, names.TIME_TO_FIRST_CHUNK, names.TIME_TO_FIRST_TOKEN, names.TOKEN_RATE,
            names.LOOP_LAG,
        )
        self._ours = {metric.otel: histogram(metric.otel, metric) for metric in ours}
        self._semconv: dict[str, list[Histogram]] = {}
        for name, metric in names.SEMCONV_METRICS.items():
            self._semconv.setdefault(metric.otel, []).append(histogram(name, metric))
        self._with_context = _takes(self._ours[names.DURATION.otel].record, "context")

    def observe(self, take: Take, left_out: frozenset[str] = frozenset()) -> None:
        """Make the counters and gauges show the snapshot that ``take`` returns."""
        self._shared.take, self._left_out = take, left_out

    def close(self) -> None:
        """Make the counters and gauges show nothing any more."""
        self._shared.take = None

    def on_end(self, record: StreamRecord) -> None:
        """Record the histograms of a stream that ended."""
        base = stream_attributes(record.labels)
        # Exemplars must show the stream's trace, not that of the thread that drains the sinks.
        parent = record.trace_parent
        context = parent if isinstance(parent, Context) else Context()
        for metric, values, value in measured(record):
            if not metric.otel_only and metric.otel not in self._left_out:
                attributes = {**base, **own_attributes(metric, values)}
                self._record(self._ours[metric.otel], value, attributes, context)
            for instrument in self._semconv.get(metric.otel, ()):
                self._record(instrument, value, {**base, **semconv_attributes(metric, values)}, context)

    def on_loop_lag(self, seconds: float) -> None:
        """Record how late the event loop was."""
        if names.LOOP_LAG.otel in self._left_out:
            return
        self._record(self._ours[names.LOOP_LAG.otel], seconds, {}, Context())

    def _record(self, to: Histogram, value: float, attributes: Attributes, context: Context) -> None:
        if self._with_context:
            to.record(value, attributes, context)
        else:
            to.record(value, attributes)
