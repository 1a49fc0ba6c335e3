"""Our metrics on the app's own MeterProvider: counters and gauges observed, histograms once per stream.

``streamvitals.chunk_gap`` is absent there: we count it in buckets, but the metrics API takes single values only,
at some 8 µs each, which a chunk must not cost. The conventions' ``time_per_output_chunk`` is recorded on the thread
that collects (chunk_times.py). Histograms begin with their first value, not at 0.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, MeterProvider, Observation

from .. import conventions, names
from .._version import __version__
from ..conventions import LATEST
from ..names import Metric
from ..store.calls import LAYOUTS, open_now, shown
from ..store.inferences import Bound, Inference, inference_of
from ..store.inferences import values as inference_values
from ..store.layout import PROCESS_LAYOUT, Series
from ..store.measured import measured
from ..store.snapshot import Snapshot, Take
from ..stream.record import CallRecord, StreamRecord
from ..stream.sink import Sink
from .chunk_times import ChunkTimes
from .inferences import FAMILIES, Family
from .keys import SCOPE, Attributes, own_attributes, stream_attributes


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


def on_app_provider(
    provider: MeterProvider, take: Take, left_out: frozenset[str] = frozenset(), generation: str = LATEST
) -> MeterSink:
    """Report to a provider of the app's. ``take`` is called whenever its readers collect.

    ``left_out`` are the metrics that are not shown, as in the snapshots that it returns. ``generation`` is that of the
    conventions; the first call for a provider decides."""
    meter = provider.get_meter(SCOPE, __version__)
    sink = _sinks.get(meter)
    if sink is None:
        shared = _Shared()
        _observe_all(meter, shared)
        sink = _sinks[meter] = MeterSink(meter, shared, generation)
    sink.observe(take, left_out)
    return sink


def _observe_all(meter: Meter, shared: _Shared) -> None:
    for metric in (*names.STREAM_METRICS, *names.CALL_METRICS):
        if metric.kind != "histogram":
            _observe(meter, shared, metric, _rows_of(metric))
    for metric in names.PROCESS_METRICS:
        if metric.kind != "histogram":
            _observe(meter, shared, metric, _process_rows_of(metric))
    for metric in names.SLOT_METRICS:
        _observe(meter, shared, metric, partial(_open, metric))
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
    by_layout = {layout: [s for s in layout.series if s.metric is metric] for layout in LAYOUTS}

    def read(snapshot: Snapshot) -> Iterator[Observation]:
        for _, labels, layout, row in shown(snapshot):
            yield from _values(by_layout[layout], row, stream_attributes(labels))

    return read


def _process_rows_of(metric: Metric) -> Callable[[Snapshot], Iterator[Observation]]:
    series = [s for s in PROCESS_LAYOUT.series if s.metric is metric]
    return lambda snapshot: _values(series, snapshot.process, {})


def _values(series: list[Series], row: Sequence[float], base: Attributes) -> Iterator[Observation]:
    for one in series:
        if one.is_shown(row):
            yield Observation(row[one.start], {**base, **own_attributes(one.metric, one.values)})


def _open(metric: Metric, snapshot: Snapshot) -> Iterator[Observation]:
    for labels, values, count in open_now(snapshot, metric):
        yield Observation(count, {**stream_attributes(labels), **own_attributes(metric, values)})


def _builds(snapshot: Snapshot) -> Iterator[Observation]:
    for build in snapshot.builds:
        yield Observation(1, own_attributes(names.BUILD_INFO, build))


def _takes(function: Callable[..., Any], parameter: str) -> bool:
    return parameter in inspect.signature(function).parameters


class MeterSink(Sink):
    """Records the histograms of each stream when it ends, some ten values; see ``on_app_provider``."""

    def __init__(self, meter: Meter, shared: _Shared, generation: str = LATEST) -> None:
        self._shared = shared
        self._left_out: frozenset[str] = frozenset()
        create = meter.create_histogram
        # Not in opentelemetry-api 1.27; the provider's default edges are used there.
        advice = _takes(create, "explicit_bucket_boundaries_advisory")

        def histogram(metric: Metric) -> Histogram:
            more: dict[str, Any] = {"explicit_bucket_boundaries_advisory": metric.edges} if advice else {}
            return create(metric.otel, metric.unit, metric.help, **more)

        ours = (
            names.DURATION, names.TIME_TO_FIRST_CHUNK, names.TIME_TO_FIRST_TOKEN, names.TOKEN_RATE,
            names.LOOP_LAG, names.CALL_DURATION,
        )
        self._ours = {metric.otel: histogram(metric) for metric in ours}
        self._with_context = _takes(self._ours[names.DURATION.otel].record, "context")
        self._bound = Bound()
        self._conventional: dict[Metric, list[tuple[Family, Any]]] = {}
        made: dict[str, Any] = {}
        for family in FAMILIES[generation]:
            metric = family.metric
            if metric.otel not in made:
                count = metric.kind == "counter"
                made[metric.otel] = (
                    meter.create_counter(metric.otel, metric.unit, metric.help) if count else histogram(metric)
                )
            self._conventional.setdefault(family.source, []).append((family, made[metric.otel]))
        self._between = ChunkTimes()
        # Its callback observes nothing: it is called whenever a reader collects.
        meter.create_observable_gauge("streamvitals.collections", [self._record_between])

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
            if metric.otel not in self._left_out:
                self._record(self._ours[metric.otel], value, {**base, **own_attributes(metric, values)}, context)
        inference = inference_of(record, record.labels)
        if inference is not None:
            self._count_inference(record, self._bound.admit(inference), context)

    def _count_inference(self, record: StreamRecord, inference: Inference, context: Context) -> None:
        operation = inference.labels.operation
        for metric, own, value in inference_values(record):
            for family, instrument in self._conventional.get(metric, ()):
                if family.has(operation):
                    number = int(value) if metric.unit == "{token}" else value
                    self._record(instrument, number, family.attributes(inference, own), context)
        if record.chunk_times is not None:
            for family, instrument in self._conventional.get(conventions.PER_CHUNK, ()):
                if family.has(operation):
                    self._between.add(instrument, family.attributes(inference), *record.chunk_times)

    def _record_between(self, options: CallbackOptions) -> list[Observation]:
        for instrument, attributes, value, count in self._between.take():
            for _ in range(count):
                self._record(instrument, value, attributes, Context())
        return []

    def on_call(self, record: CallRecord) -> None:
        """Record how long a call without a stream took."""
        if names.CALL_DURATION.otel in self._left_out:
            return
        attributes = stream_attributes(record.labels)
        self._record(self._ours[names.CALL_DURATION.otel], record.duration, attributes, Context())

    def on_loop_lag(self, seconds: float) -> None:
        """Record how late the event loop was."""
        if names.LOOP_LAG.otel in self._left_out:
            return
        self._record(self._ours[names.LOOP_LAG.otel], seconds, {}, Context())

    def _record(self, to: Any, value: float, attributes: Attributes, context: Context) -> None:
        write = to.add if isinstance(to, Counter) else to.record
        if self._with_context:
            write(value, attributes, context)
        else:
            write(value, attributes)
