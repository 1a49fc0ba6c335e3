"""Writes our numbers to prometheus_client's own files, for apps that use its multiprocess mode.

Custom collectors are not called in that mode, so each series is one of the client's values. Such files cannot show a
stream that hangs (``streams_stalled`` is absent); ``streamvitals run`` shows it.
https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import values
from prometheus_client.utils import floatToGoString

from .. import names
from ..names import Metric
from ..store.calls import CALL_LAYOUT, row_of_calls
from ..store.layout import PROCESS_LAYOUT, STREAM_LAYOUT, Layout, Series
from ..store.store import Store
from ..stream.record import CallRecord, ChainRecord, Progress, RetryRecord, StreamLabels, StreamRecord
from ..stream.sink import Sink

_LABELS = tuple(names.STREAM_LABELS)


class _Row:
    """The client's values for one row of a layout, and the numbers that were last written to them."""

    def __init__(self, layout: Layout, labels: tuple[tuple[str, str], ...], left_out: frozenset[str]) -> None:
        """``labels`` are names and values of what all series of the row have."""
        self._written = [0.0] * layout.size
        self._values: dict[int, Any] = {}
        self._late: dict[int, Series] = {}  # made once there is a value
        self._labels = labels
        for series in layout.series:
            if series.metric.otel not in left_out:
                if series.stands and series.metric.kind != "gauge":
                    self._make(series)
                else:
                    self._late[series.start] = series

    def _make(self, series: Series) -> None:
        metric, at = series.metric, series.start
        keys, texts = self._keys(series)
        if metric.kind == "counter":
            self._values[at] = _value(metric, "_total", keys, texts)
            return
        for index, edge in enumerate((*metric.edges, float("inf"))):
            bucket = (*keys, "le"), (*texts, _go(edge))
            self._values[at + index] = _value(metric, "_bucket", *bucket)
        self._values[at + series.width - 1] = _value(metric, "_sum", keys, texts)

    def _keys(self, series: Series) -> tuple[tuple[str, ...], tuple[str, ...]]:
        keys, texts = zip(*self._labels, strict=True) if self._labels else ((), ())
        return (*keys, *series.metric.labels), (*texts, *series.values)

    def write(self, numbers: list[float]) -> None:
        """Write the numbers that have changed. Series that do not stand at 0 are made with their first value."""
        written, self._written = self._written, numbers
        for at, series in list(self._late.items()):
            last = at + series.width - 1
            if numbers[last] == written[last]:
                continue
            if series.metric.kind == "gauge":
                keys, texts = self._keys(series)
                _value(series.metric, "", keys, texts, "mostrecent").set(numbers[at], timestamp=numbers[at + 1])
            else:
                self._make(series)
                del self._late[at]
        for index, value in self._values.items():
            if numbers[index] != written[index]:
                value.inc(numbers[index] - written[index])


def _go(edge: float) -> str:
    text: str = floatToGoString(edge)  # type: ignore[no-untyped-call]
    return text


def _value(metric: Metric, suffix: str, keys: tuple[str, ...], texts: tuple[str, ...], mode: str = "") -> Any:
    family = metric.prometheus
    return values.ValueClass(metric.kind, family, family + suffix, keys, texts, metric.help, multiprocess_mode=mode)


class MultiprocessSink(Sink):
    """Writes the counts of ``store`` to the client's files, but for the metrics that are ``left_out``."""

    def __init__(self, store: Store, left_out: frozenset[str] = frozenset()) -> None:
        self._store = store
        self._left_out = left_out
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._rows: dict[StreamLabels, _Row] = {}
        self._active: dict[StreamLabels, Any] = {}  # the gauge of what is open
        self._process = _Row(PROCESS_LAYOUT, (), self._left_out)

    def on_start(self, labels: StreamLabels) -> None:
        """Make the series of a label set, and count one more that is open."""
        if self._pid != os.getpid():
            self._begin()  # a forked child starts from 0, as its store does
        if labels not in self._rows:
            *values, custom = labels.shown
            pairs = (*zip(_LABELS, values, strict=True), *custom)
            layout, gauge = (CALL_LAYOUT, names.CALLS_ACTIVE) if labels.of_calls else (STREAM_LAYOUT, names.ACTIVE)
            self._rows.setdefault(labels, _Row(layout, pairs, self._left_out))
            if gauge.otel not in self._left_out:
                active = _value(gauge, "", tuple(n for n, _ in pairs), tuple(v for _, v in pairs), "livesum")
                self._active.setdefault(labels, active)
        if labels in self._active:
            self._active[labels].inc(1.0)

    def on_call_start(self, labels: StreamLabels) -> None:
        self.on_start(labels)

    def on_call_retry(self, labels: StreamLabels) -> None:
        self._write(labels)

    def on_call(self, record: CallRecord) -> None:
        self._ended(record)

    def on_end(self, record: StreamRecord) -> None:
        self._ended(record)

    def _ended(self, record: StreamRecord | CallRecord) -> None:
        if self._pid == os.getpid() and record.labels in self._active:
            self._active[record.labels].inc(-1.0)
        self._write(record.labels)
        if record.hints:
            self._write_process()

    def on_progress(self, progress: Progress) -> None:
        self._write(progress.labels)

    def on_retry(self, retry: RetryRecord) -> None:
        self._write(retry.labels)

    def on_chain(self, chain: ChainRecord) -> None:
        self._write(chain.labels)

    def on_loop_lag(self, seconds: float) -> None:
        self._write_process()

    def on_internal_error(self, where: str) -> None:
        self._write_process()

    def _write(self, labels: StreamLabels) -> None:
        if self._pid != os.getpid():
            return
        row = self._store.block(labels).numbers()
        self._rows[labels].write(row_of_calls(row) if labels.of_calls else row)

    def _write_process(self) -> None:
        if self._pid == os.getpid():
            self._process.write(self._store.process_numbers())
