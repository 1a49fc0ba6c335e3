"""Snapshots as metric families of prometheus_client, in the text format and in OpenMetrics.

https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as ClientExemplar
from prometheus_client.utils import floatToGoString

from .. import names
from ..names import Metric
from ..store.calls import LAYOUTS, Shown, open_now, shown
from ..store.layout import PROCESS_LAYOUT, Layout, Series
from ..store.snapshot import Exemplar, ExemplarKey, Snapshot, Take
from ..stream.record import StreamLabels

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_Bucket = tuple[str, float] | tuple[str, float, ClientExemplar]
_NONE: Mapping[ExemplarKey, Exemplar] = {}


def _by_metric(layout: Layout) -> dict[str, list[Series]]:
    found: dict[str, list[Series]] = {}
    for series in layout.series:
        found.setdefault(series.metric.otel, []).append(series)
    return found


_SERIES = {layout: _by_metric(layout) for layout in (*LAYOUTS, PROCESS_LAYOUT)}
# The metrics that have a value in the row of a label set.
EXPOSED = (*names.STREAM_METRICS, *names.CALL_METRICS)
_LE = {
    metric.otel: [*map(floatToGoString, metric.edges), "+Inf"]
    for metric in names.ALL_METRICS
    if metric.kind == "histogram"
}


class SnapshotCollector(Collector):
    """Yields the families of the snapshot that ``take`` returns. Exemplars are in OpenMetrics only.

    ``describe`` names the families without a snapshot, so that registering the collector does not take one.
    """

    def __init__(self, take: Take) -> None:
        self._take = take

    def collect(self) -> Iterator[Family]:
        """All families; raises what ``take`` raises."""
        snapshot = self._take()
        custom, sets = custom_names(snapshot.streams), shown(snapshot)
        for metric in EXPOSED:
            if metric.otel not in snapshot.left_out:
                yield _stream_family(metric, sets, snapshot.exemplars, custom)
        for metric in names.SLOT_METRICS:
            if metric.otel in snapshot.left_out:
                continue
            gauge = family_of(metric, custom)
            for labels, values, count in open_now(snapshot, metric):
                gauge.add_metric([*texts_of(labels, custom), *values], float(count))  # type: ignore[arg-type, call-arg]
            yield gauge
        for metric in names.PROCESS_METRICS:
            if metric.otel in snapshot.left_out:
                continue
            family = family_of(metric)
            for series in series_of(PROCESS_LAYOUT, metric):
                add(family, series, (), snapshot.process)
            yield family
        yield builds(snapshot)
        if snapshot.unreported is not None:
            yield unreported(snapshot.unreported)

    def describe(self) -> Iterator[Family]:
        """All families, without samples."""
        return map(family_of, names.ALL_METRICS)


def series_of(layout: Layout, metric: Metric) -> list[Series]:
    """The series of a metric, in a layout; none if the layout has not got it."""
    return _SERIES[layout].get(metric.otel, [])


def builds(snapshot: Snapshot) -> Family:
    """The family of the builds that run, with their versions."""
    gauge = family_of(names.BUILD_INFO)
    for build in sorted(snapshot.builds):
        gauge.add_metric(list(build), 1.0)  # type: ignore[arg-type, call-arg]
    return gauge


def unreported(count: int) -> Family:
    """The family with the number of Pythons that are not observed."""
    return GaugeMetricFamily(names.UNREPORTED.prometheus, names.UNREPORTED.help, value=count)


def custom_names(label_sets: Iterable[StreamLabels]) -> tuple[str, ...]:
    """The names of all custom labels; processes need not have the same. A label without a value is as good as none."""
    return tuple(sorted({name for labels in label_sets for name, _ in labels.custom}))


def texts_of(labels: StreamLabels, custom: tuple[str, ...]) -> list[str]:
    """The values of a label set, with those of these custom labels."""
    *texts, given = labels.shown
    return [*texts, *map(dict(given).get, custom, [""] * len(custom))] if custom else texts


def _stream_family(
    metric: Metric, sets: Iterable[Shown], exemplars: Mapping[ExemplarKey, Exemplar], custom: tuple[str, ...]
) -> Family:
    family = family_of(metric, custom)
    for counted, labels, layout, row in sets:
        texts = texts_of(labels, custom)
        for series in series_of(layout, metric):
            add(family, series, texts, row, exemplars, counted)
    return family


def family_of(metric: Metric, custom: tuple[str, ...] = ()) -> Family:
    """A metric's family, without samples. ``custom`` are the names of custom labels."""
    labels = [*((*names.STREAM_LABELS, *custom) if metric.per_stream else ()), *metric.labels]
    if metric.kind == "counter":
        return CounterMetricFamily(metric.prometheus, metric.help, labels=labels)
    if metric.kind == "gauge":
        return GaugeMetricFamily(metric.prometheus, metric.help, labels=labels)
    return HistogramMetricFamily(metric.prometheus, metric.help, labels=labels)


def add(
    family: Family, series: Series, texts: Sequence[str], row: Sequence[float],
    exemplars: Mapping[ExemplarKey, Exemplar] = _NONE, labels: StreamLabels | None = None,
) -> None:
    """Add a series' samples to the family of its metric; ``texts`` are the values of the labels of its stream."""
    values = [*texts, *series.values]
    at = series.start
    if not series.is_shown(row):
        return
    if isinstance(family, HistogramMetricFamily):
        family.add_metric(values, list(_buckets(series, row, exemplars, labels)), row[at + series.width - 1])
    else:
        family.add_metric(values, row[at])


def _buckets(
    series: Series, row: Sequence[float], exemplars: Mapping[ExemplarKey, Exemplar], labels: StreamLabels | None
) -> Iterator[_Bucket]:
    metric, total = series.metric, 0.0
    for bucket, le in enumerate(_LE[metric.otel]):
        total += row[series.start + bucket]
        exemplar = None
        # The agent may have read a trace that a process has kept since the agent read its counts.
        if labels is not None and exemplars and row[series.start + bucket]:
            exemplar = exemplars.get(ExemplarKey(metric.otel, labels, series.values, bucket))
        if exemplar is None:
            yield le, total
        else:
            ids = {"trace_id": exemplar.trace_id, "span_id": exemplar.span_id}
            yield le, total, ClientExemplar(ids, exemplar.value, exemplar.time)
