"""Adds up what the processes have counted, label set by label set."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

from ..store.snapshot import merged_rows
from ..stream.record import StreamLabels

# A row of STREAM_LAYOUT: its bytes, as read from a file, or its numbers.
Row = bytes | Sequence[float]


class Sums:
    """The last sums, which are kept for as long as their rows are the very same objects.

    The reader of the rows returns an unchanged row as the same object, and a changed row as a new one.
    """

    def __init__(self) -> None:
        self._known: dict[StreamLabels, tuple[list[Row], list[float]]] = {}

    def of(self, rows: Mapping[StreamLabels, list[Row]]) -> dict[StreamLabels, list[float]]:
        """Sum the rows of each label set; the lists must not be changed."""
        self._known = {labels: self._sum(labels, parts) for labels, parts in rows.items()}
        return {labels: total for labels, (_, total) in self._known.items()}

    def _sum(self, labels: StreamLabels, parts: list[Row]) -> tuple[list[Row], list[float]]:
        known = self._known.get(labels)
        if known is not None and len(known[0]) == len(parts) and all(map(operator.is_, known[0], parts)):
            return known
        return parts, merged_rows([numbers(part) for part in parts])


def numbers(row: Row) -> Sequence[float]:
    """The numbers of a row."""
    return memoryview(row).cast("d") if isinstance(row, bytes) else row
