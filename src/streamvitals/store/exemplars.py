"""The last trace of each bucket: which stream it was that took that long, or failed.

An exemplar has a place of its own in a segment that is made with the first one, so that a process without spans has
none. It is written as a whole with a checksum, and one that was being written when the process was killed is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite

from ..stream.record import StreamLabels
from . import segment
from .layout import STREAM_LAYOUT
from .segment import Placed, Shape
from .snapshot import Exemplar, ExemplarKey

# How many a process keeps, the first time and at most: then the one that was not renewed for longest gives its place.
FIRST, MOST = 62, 1000


class Exemplars:
    """Keeps the last exemplar of each bucket of each block, up to ``MOST``.

    ``allocate`` makes a segment for at least that many; None if there is no memory."""

    def __init__(self, allocate: Callable[[int], tuple[memoryview[float], Shape] | None]) -> None:
        self._allocate = allocate
        self._places: dict[tuple[int, int], tuple[memoryview[float], int]] = {}  # the oldest first
        self._free: list[tuple[memoryview[float], int]] = []
        self._room = MOST
        self._made: list[tuple[memoryview[float], Shape]] = []

    def keep(
        self, values: Iterable[tuple[int, float]], ordinal: int, time: float, trace_id: bytes, span_id: bytes
    ) -> None:
        """Replace the exemplar of each of these buckets, which come with their values, of one block."""
        places = self._places
        for bucket, value in values:
            key = ordinal, bucket
            place = places.pop(key, None) or self._place()
            if place is not None:
                places[key] = place
                view, at = place
                segment.write_exemplar(view, at, bucket, ordinal, value, time, trace_id, span_id)

    def all(self) -> Iterator[Placed]:
        """All that are kept; any thread."""
        for view, form in list(self._made):
            yield from segment.exemplars(view, form)

    def release(self) -> None:
        """Make every view raise ValueError from now on, without touching the memory behind it."""
        for view, _ in self._made:
            view.release()

    def _place(self) -> tuple[memoryview[float], int] | None:
        if not self._free and self._room > 0:
            made = self._allocate(min(self._room, max(FIRST, MOST - self._room)))
            if made is None:
                self._room = 0
            else:
                view, form = made
                self._made.append(made)
                places = [(view, at) for at in range(form.slots_at, form.blocks_at, segment.SLOT)][: self._room]
                self._room -= len(places)
                self._free.extend(reversed(places))
        if self._free:
            return self._free.pop()
        return self._places.pop(next(iter(self._places))) if self._places else None


def shown(placed: Placed, labels: Mapping[int, StreamLabels]) -> tuple[ExemplarKey, Exemplar] | None:
    """An exemplar as it is shown, with the labels of its block; None if that, or its bucket, is not known."""
    of, series = labels.get(placed.ordinal), STREAM_LAYOUT.series_at(placed.bucket)
    if of is None or series is None or not isfinite(placed.value + placed.time):
        return None
    bucket = placed.bucket - series.start
    if series.metric.kind != "histogram" or bucket > len(series.metric.edges):
        return None
    key = ExemplarKey(series.metric.otel, of, series.values, bucket)
    return key, Exemplar(placed.time, placed.value, placed.trace_id.hex(), placed.span_id.hex())
