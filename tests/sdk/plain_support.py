"""What is counted of calls without a stream, for the tests of it."""

from __future__ import annotations

from streamvitals import names
from streamvitals.process import lifecycle
from streamvitals.store.calls import shown
from streamvitals.stream.record import CallRecord


def ends(calls: list[CallRecord]) -> list[tuple[str, str]]:
    return [(call.outcome.value, call.error_type) for call in calls]


def counted(metric: names.Metric, *values: str) -> float:
    """What a scrape would show, over all label sets."""
    current = lifecycle.current()
    assert current is not None
    return sum(
        sum(row[series.start : series.start + max(1, series.width - 1)])
        for _, _, layout, row in shown(current.snapshot())
        for series in layout.series
        if series.metric is metric and series.values[: len(values)] == values
    )


def open_calls() -> int:
    current = lifecycle.current()
    assert current is not None
    return sum(count for labels, count in current.snapshot().active.items() if labels.of_calls)
