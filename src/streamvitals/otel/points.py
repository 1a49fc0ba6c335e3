"""A snapshot as the data points of OTel's metric data model.

The counts come bucketed already, so no instrument is called. One instrument call costs about 8 µs, too much per
chunk. Attribute keys are those of names.py, and of inferences.py for the conventions' own metrics.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from .. import conventions, names
from ..store.calls import LAYOUTS, open_now, shown
from ..store.layout import PROCESS_LAYOUT, Layout
from ..store.snapshot import Snapshot
from .inferences import conventional_counts
from .keys import Attributes, own_attributes, stream_attributes

DELTA = AggregationTemporality.DELTA


class Window(NamedTuple):
    """Unix times in nanoseconds: when counting began, when it was last exported, now."""

    began: int
    last_exported: int
    now: int


@dataclass(frozen=True)
class _Point:
    """One series: the rows of the layout that add up to it, the attributes that only it has, whether it stands at 0."""

    rows: tuple[int, ...]
    attributes: Attributes
    stands: bool


@dataclass(frozen=True)
class _Family:
    """One metric under one name; ``width`` is that of its rows. ``points`` are by the layout of a row."""

    name: str
    metric: names.Metric
    width: int
    points: Mapping[Layout, tuple[_Point, ...]]


def _family(name: str, metric: names.Metric, *layouts: Layout) -> _Family:
    width = next(series.width for layout in layouts for series in layout.series if series.metric is metric)
    return _Family(name, metric, width, {layout: _points_of(metric, layout) for layout in layouts})


def _points_of(metric: names.Metric, layout: Layout) -> tuple[_Point, ...]:
    rows: dict[tuple[tuple[str, str], ...], list[int]] = {}
    standing: set[int] = set()
    for series in layout.series:
        if series.metric is metric:
            if series.stands:
                standing.add(series.start)
            found = own_attributes(metric, series.values)
            rows.setdefault(tuple(found.items()), []).append(series.start)
    return tuple(
        _Point(tuple(starts), dict(key), not standing.isdisjoint(starts)) for key, starts in rows.items()
    )


STREAM_FAMILIES = tuple(_family(m.otel, m, *LAYOUTS) for m in (*names.STREAM_METRICS, *names.CALL_METRICS))
PROCESS_FAMILIES = tuple(_family(m.otel, m, PROCESS_LAYOUT) for m in names.PROCESS_METRICS)


def to_metrics(
    snapshot: Snapshot,
    previous: Snapshot | None,
    window: Window,
    temporality: Mapping[str, AggregationTemporality],
    generation: str = conventions.LATEST,
) -> list[Metric]:
    """All families that have points, as the SDK's exporters take them; ``generation`` is that of the conventions.

    ``temporality`` is by kind, "counter" and "histogram". Where it is delta, ``previous`` is what was exported at
    ``window.last_exported`` (None: nothing), and a series that did not move since is left out.
    """
    sets = [(stream_attributes(labels), layout, row, counted) for counted, labels, layout, row in shown(snapshot)]
    found = []
    known = {} if previous is None else {one.counted: one.row for one in shown(previous)}
    for family in STREAM_FAMILIES:
        points = [
            point
            for base, layout, row, counted in sets
            for point in _points(family, layout, base, row, known.get(counted), window, temporality)
        ]
        found.append(_metric(family.name, family.metric, points, temporality))
    for family in PROCESS_FAMILIES:
        before = None if previous is None else previous.process
        points = list(_points(family, PROCESS_LAYOUT, {}, snapshot.process, before, window, temporality))
        found.append(_metric(family.name, family.metric, points, temporality))
    found.extend(_conventional(snapshot, previous, window, temporality, generation))
    found.extend(_current_gauges(snapshot, window))
    return [metric for metric in found if metric.data.data_points and metric.name not in snapshot.left_out]


def _conventional(
    snapshot: Snapshot, previous: Snapshot | None, window: Window, temporality: Mapping[str, AggregationTemporality],
    generation: str,
) -> Iterator[Metric]:
    """The conventions' own metrics."""
    pairs = zip(conventional_counts(snapshot, generation), conventional_counts(previous, generation), strict=True)
    for now, before in pairs:
        metric = now.metric
        delta = temporality[metric.kind] is DELTA
        start = window.last_exported if delta else window.began
        points = []
        for key, values in now.by_attributes.items():
            known = before.by_attributes.get(key) if delta else None
            if known is None or values != known:
                added = values if known is None else _since(values, known)
                points.append(_point(dict(key), start, window.now, metric, added))
        yield _metric(metric.otel, metric, points, temporality)


def _current_gauges(snapshot: Snapshot, window: Window) -> Iterator[Metric]:
    """Gauges that are computed at export: active, stalled, build info."""
    for metric in names.SLOT_METRICS:
        counts = open_now(snapshot, metric)
        yield _gauge(
            metric,
            [
                _number({**stream_attributes(labels), **own_attributes(metric, values)}, window.now, window.now, count)
                for labels, values, count in counts
            ],
        )
    builds = [own_attributes(names.BUILD_INFO, build) for build in snapshot.builds]
    yield _gauge(names.BUILD_INFO, [_number(build, window.now, window.now, 1) for build in builds])
    if snapshot.unreported is not None:
        yield _gauge(names.UNREPORTED, [_number({}, window.now, window.now, snapshot.unreported)])


def _metric(
    name: str, metric: names.Metric, points: list[Point], temporality: Mapping[str, AggregationTemporality]
) -> Metric:
    data: Sum | Gauge | Histogram
    if metric.kind == "histogram":
        data = Histogram(cast("list[HistogramDataPoint]", points), temporality["histogram"])
    elif metric.kind == "counter":
        data = Sum(cast("list[NumberDataPoint]", points), temporality["counter"], is_monotonic=True)
    else:
        data = Gauge(cast("list[NumberDataPoint]", points))
    return Metric(name, metric.help, metric.unit, data)


def _gauge(metric: names.Metric, points: list[NumberDataPoint]) -> Metric:
    return Metric(metric.otel, metric.help, metric.unit, Gauge(points))


Point = NumberDataPoint | HistogramDataPoint


def _points(
    family: _Family,
    layout: Layout,
    base: Attributes,
    row: Sequence[float],
    before: Sequence[float] | None,
    window: Window,
    temporality: Mapping[str, AggregationTemporality],
) -> Iterator[Point]:
    kind = family.metric.kind
    delta = kind != "gauge" and temporality[kind] is DELTA
    start = window.last_exported if delta else window.began
    for point in family.points[layout]:
        values = _sum_of_rows(point, family.width, row)
        if not (point.stands or any(values)):
            continue
        if delta and before is not None:
            known = _sum_of_rows(point, family.width, before)
            if values == known:
                continue
            values = _since(values, known)
        yield _point({**base, **point.attributes}, start, window.now, family.metric, values)


def _point(attributes: Attributes, start: int, now: int, metric: names.Metric, values: list[float]) -> Point:
    if metric.kind == "histogram":
        return _histogram(attributes, start, now, metric, values)
    if metric.kind == "counter":
        return _number(attributes, start, now, values[0] if metric.unit == "s" else int(values[0]))
    return _number(attributes, now, now, values[0])


def _sum_of_rows(point: _Point, width: int, row: Sequence[float]) -> list[float]:
    first, *more = point.rows
    values = list(row[first : first + width])
    for at in more:
        values = list(map(operator.add, values, row[at : at + width]))
    return values


def _since(values: list[float], known: list[float]) -> list[float]:
    """What was added; where something is less than it was, counting began anew and all of it is."""
    added = list(map(operator.sub, values, known))
    return values if min(added) < 0 else added


def _number(attributes: Attributes, start: int, now: int, value: float) -> NumberDataPoint:
    return NumberDataPoint(attributes, start, now, value)


def _histogram(
    attributes: Attributes, start: int, now: int, metric: names.Metric, values: list[float]
) -> HistogramDataPoint:
    counts = [int(count) for count in values[:-1]]
    # Extremes are not kept. They are optional on the wire, and the exporter passes None on as absent.
    unknown = cast("float", None)
    return HistogramDataPoint(
        attributes=attributes, start_time_unix_nano=start, time_unix_nano=now, count=sum(counts),
        sum=values[-1] if math.isfinite(values[-1]) else 0.0, bucket_counts=counts,
        explicit_bounds=metric.edges, min=unknown, max=unknown,
    )
