"""What is shown of calls without a stream: metrics of their own, made of the same rows as those of streams.

A label set of such calls (``StreamLabels.of_calls``) has a block as any other, in which outcomes, error types,
durations and retries are counted as those of streams are. Only here, where a snapshot is shown, they become the few
series of ``names.CALL_METRICS``: so they are in no sum over streams, and streams alone have none of their series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .. import names
from ..names import Metric
from ..stream.record import StreamLabels
from .layout import STREAM_LAYOUT, Layout, Series
from .snapshot import Snapshot

# Rate limits are the same gauges as those of streams.
_LIMITS = (names.RATELIMIT_REMAINING, names.RATELIMIT_LIMIT)
CALL_LAYOUT = Layout((*names.CALL_METRICS, *_LIMITS))
LAYOUTS = (STREAM_LAYOUT, CALL_LAYOUT)


class Shown(NamedTuple):
    """A label set as it is shown: ``counted`` are the labels that it is counted under."""

    counted: StreamLabels
    labels: StreamLabels
    layout: Layout
    row: Sequence[float]


def _sources(series: Series) -> list[Series]:
    """The series of a stream's row that add up to one of a call's."""
    metric, values = series.metric, series.values
    if metric is names.CALLS:
        return [s for s in STREAM_LAYOUT.series if s.metric is names.STREAMS and s.values[-1] == values[0]]
    source = {
        names.CALL_ERRORS.otel: names.STREAM_ERRORS, names.CALL_DURATION.otel: names.DURATION,
        names.CALL_RETRIES.otel: names.RETRIES,
    }.get(metric.otel, metric)
    return [s for s in STREAM_LAYOUT.series if s.metric is source and (not values or s.values == values)]


# For each double of a call's row those of a stream's that add up to it.
_FROM = [
    [source.start + at for source in _sources(series)] for series in CALL_LAYOUT.series for at in range(series.width)
]
_GAUGES = [series.start for series in CALL_LAYOUT.series if series.metric in _LIMITS]


def row_of_calls(row: Sequence[float]) -> list[float]:
    """The row of ``CALL_LAYOUT`` that follows from the block of a label set of calls."""
    return [sum([row[at] for at in places]) for places in _FROM]


def shown(snapshot: Snapshot) -> list[Shown]:
    """All label sets of a snapshot. A rate limit is shown once, where there are streams and calls: the newest value."""
    rows: dict[StreamLabels, Shown] = {}
    for labels, row in snapshot.streams.items():
        if not labels.of_calls:
            rows[labels] = Shown(labels, labels, STREAM_LAYOUT, row)
    for labels, row in snapshot.streams.items():
        if labels.of_calls:
            own, base = row_of_calls(row), labels.shown
            if base in rows:
                rows[base] = _with_limits(rows[base], own)
            rows[labels] = Shown(labels, base, CALL_LAYOUT, own)
    return list(rows.values())


def _with_limits(streams: Shown, calls: list[float]) -> Shown:
    """Move the limits in a row of calls to that of the streams with the same labels, where they are newer."""
    row = streams.row
    for at in _GAUGES:
        series = CALL_LAYOUT.series_at(at)
        assert series is not None  # noqa: S101 - it is one of these
        there = STREAM_LAYOUT.at(series.metric, *series.values)
        value, when = calls[at : at + 2]
        if when > row[there + 1]:
            row = [*row[:there], value, when, *row[there + 2 :]]
        calls[at : at + 2] = 0.0, 0.0
    return streams._replace(row=row)


def open_now(snapshot: Snapshot, metric: Metric) -> Iterator[tuple[StreamLabels, tuple[str, ...], int]]:
    """The values of a gauge of ``names.SLOT_METRICS``, by label set as it is counted, and by its own labels."""
    of_calls = metric in (names.CALLS_ACTIVE, names.CALLS_STALLED)
    for labels in {**dict.fromkeys(snapshot.streams), **dict.fromkeys(snapshot.active)}:
        if labels.of_calls != of_calls:
            continue
        if metric in (names.ACTIVE, names.CALLS_ACTIVE):
            yield labels, (), snapshot.active.get(labels, 0)
        elif of_calls:
            yield labels, (), sum(snapshot.stalled.get((labels, phase), 0) for phase in names.PHASES)
        else:
            for phase in names.PHASES:
                yield labels, (phase,), snapshot.stalled.get((labels, phase), 0)
