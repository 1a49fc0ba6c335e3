"""Figures from the counts of a window, by the same definitions as the dashboards' and the alerts'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import names
from ..names import Metric
from ..store.layout import PROCESS_LAYOUT, STREAM_LAYOUT, Series

Row = Sequence[float]
_SERIES: dict[str, list[Series]] = {}
for _series in (*STREAM_LAYOUT.series, *PROCESS_LAYOUT.series):
    _SERIES.setdefault(_series.metric.otel, []).append(_series)
_GOOD = ("completed", "limit")


def counted(row: Row, metric: Metric, where: Callable[[dict[str, str]], bool] | None = None) -> float:
    """The sum of a counter's series whose own labels satisfy ``where``."""
    return sum(
        row[series.start] for series in _SERIES[metric.otel]
        if where is None or where(dict(zip(metric.labels, series.values, strict=True)))
    )


def by_label(row: Row, metric: Metric, label: str, source: str = "") -> dict[str, int]:
    """A counter's sums by one of its own labels, without those that are 0; of one ``source`` alone, if it is given."""
    at, found = metric.labels.index(label), dict[str, int]()
    for series in _SERIES[metric.otel]:
        if row[series.start] and (not source or source in series.values):
            found[series.values[at]] = found.get(series.values[at], 0) + round(row[series.start])
    return found


def buckets(row: Row, metric: Metric) -> list[float]:
    """How many observations are in each bucket of a histogram, the last one without an upper edge."""
    total = [0.0] * (len(metric.edges) + 1)
    for series in _SERIES[metric.otel]:
        for at in range(len(total)):
            total[at] += row[series.start + at]
    return total


def quantile(q: float, metric: Metric, counts: Sequence[float]) -> float | None:
    """A quantile as Prometheus' histogram_quantile estimates it; None where nothing was observed."""
    total = sum(counts)
    if total <= 0:
        return None
    rank, below = q * total, 0.0
    for at, edge in enumerate(metric.edges):
        if counts[at] and below + counts[at] >= rank:
            low = metric.edges[at - 1] if at else 0.0
            return round(low + (edge - low) * (rank - below) / counts[at], 4)
        below += counts[at]
    return metric.edges[-1]


def operations(row: Row) -> tuple[int, int]:
    """How many operations failed for good, and of how many: as alerts/measures.py has it."""
    streams = by_label(row, names.STREAMS, "result")
    well = sum(streams.get(result, 0) for result in _GOOD)
    failed = streams.get("failed", 0)
    recovered = counted(row, names.RECOVERIES, lambda labels: labels["source"] == "app")
    if failed and not well and not recovered:
        return failed, failed
    fallbacks, late = counted(row, names.FALLBACKS), counted(row, names.OPERATIONS_FAILED)
    again = counted(row, names.RETRIES, lambda labels: labels["source"] == "app" and labels["reason"] != names.OTHER)
    again = max(again, fallbacks)
    of = max(0.0, well + failed - again + fallbacks)
    return round(min(of, max(0.0, failed - again + min(fallbacks, late)))), round(of)


def errors(row: Row) -> list[dict[str, Any]]:
    """What did not complete, by outcome and error type, the most frequent first."""
    found = [
        {"outcome": series.values[0], "error_type": series.values[1], "count": round(row[series.start])}
        for series in _SERIES[names.STREAM_ERRORS.otel] if row[series.start]
    ]
    return sorted(found, key=lambda one: -int(str(one["count"])))


NO_TIMES: dict[str, Any] = {"count": 0, "p50": None, "p95": None}


def times(row: Row, metric: Metric) -> dict[str, Any]:
    """The median and the 95th percentile of a histogram, and how many observations there were."""
    found = buckets(row, metric)
    if not any(found):
        return NO_TIMES
    return {"count": round(sum(found)), "p50": quantile(0.5, metric, found), "p95": quantile(0.95, metric, found)}
