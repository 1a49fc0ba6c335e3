"""The place of each series in a block of doubles.

All series of a label set are known beforehand (names.py holds closed lists), so they need no keys: a block
is a fixed row of numbers, a new block is all zeros, and two blocks are merged by adding them up. The layout's
fingerprint is written into every file, so that two versions never misread each other.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .. import conventions, names
from ..names import Metric

# Raised when something else than the series changes in a segment's format.
FORMAT = 4


class Series(NamedTuple):
    """One series (or, for a histogram, one row of buckets): where it starts and how many doubles it takes.

    A histogram's row is a count per bucket, the overflow bucket, then the sum. A gauge's row is the value and
    the Unix time it was set at (0: never).
    """

    metric: Metric
    values: tuple[str, ...]
    start: int
    width: int

    def is_shown(self, row: Sequence[float]) -> bool:
        """Whether the series is to be shown: some appear with their first count, or what a provider reports."""
        return self.stands or any(row[self.start : self.start + self.width])

    @property
    def stands(self) -> bool:
        """Whether the series stands at 0 from the start."""
        return not self.metric.hidden_at_zero or self.values in self.metric.standing


def _width(metric: Metric) -> int:
    return {"counter": 1, "gauge": 2, "histogram": len(metric.edges) + 2}[metric.kind]


def _rows(metrics: tuple[Metric, ...]) -> Iterator[Series]:
    at = 0
    for metric in metrics:
        for values in metric.values:
            width = _width(metric)
            yield Series(metric, values, at, width)
            at += width


class Layout:
    """The series of one kind of block. ``size`` is in doubles."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self.series = tuple(_rows(metrics))
        self.size = self.series[-1].start + self.series[-1].width
        self._starts = [s.start for s in self.series]
        self._index = {(s.metric.otel, s.values): s.start for s in self.series}
        text = repr((FORMAT, [(s.metric.otel, s.metric.kind, s.values, s.metric.edges) for s in self.series]))
        self.fingerprint = zlib.crc32(text.encode())

    def at(self, metric: Metric, *values: str) -> int:
        """The index of a series' first double; an unlisted last value is replaced by ``other``.

        Raises KeyError where the metric has no ``other``.
        """
        index = self._index
        found = index.get((metric.otel, values))
        return found if found is not None else index[metric.otel, (*values[:-1], names.OTHER)]

    def series_at(self, index: int) -> Series | None:
        """The series that a double of the row belongs to."""
        return self.series[bisect_right(self._starts, index) - 1] if 0 <= index < self.size else None


STREAM_LAYOUT = Layout(names.STREAM_METRICS)
PROCESS_LAYOUT = Layout(names.PROCESS_METRICS)
# Of what the conventions' own metrics show (inferences.py). A row of it stands in a block for one of STREAM_LAYOUT.
INFERENCE_LAYOUT = Layout(conventions.METRICS)
