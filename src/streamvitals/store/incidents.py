"""Where a process keeps the records of its streams that ended badly, and of its slowest ones (incident_record.py).

They stand in segments that are made with the first of them: a process in which nothing happens has none. The last ones
that ended are in a ring. The slowest have places of their own, which the caller numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import incident_record
from .incident_record import IncidentRecord
from .segment import Shape

# Places for the slowest, and how many others are kept: at first, and at most.
SLOWEST = 8
FIRST, MOST = 24, 128


class Place(NamedTuple):
    """Where a record stands, and its sequence: if another one stands there, that record has been overwritten."""

    ring: Incidents
    view: memoryview[float]
    at: int
    sequence: int

    @property
    def there(self) -> bool:
        """Whether the record can still be changed: it is this process's, and stands there."""
        return self.ring.open and self.view[self.at + incident_record.SEQUENCE] == self.sequence


class Incidents:
    """The records of this process. Written by one thread at a time, read by any.

    ``allocate`` makes a segment for so many records; None if there is no memory."""

    def __init__(self, allocate: Callable[[int], tuple[memoryview[float], Shape] | None]) -> None:
        self._allocate = allocate
        self._made: list[tuple[memoryview[float], Shape]] = []
        self._slowest: list[tuple[memoryview[float], int]] = []
        self._ring: list[tuple[memoryview[float], int]] = []
        self._most = MOST
        self._sequence = int(1000 * time.monotonic())  # no other store of the process has begun with the same
        self._ended = 0
        self.open = True
        self.last: object = None

    def next(self) -> tuple[Place, int] | None:
        """The place of the next record in the ring, and its number there; None if there is no memory for any."""
        if self._ended >= len(self._ring) < self._most:
            self._more()
        ring = self._ring
        if not ring:
            return None
        return Place(self, *ring[self._ended % len(ring)], self._sequence), self._ended

    def slowest(self, number: int) -> Place | None:
        """A place of the slowest, by its number; None if there is no memory for it."""
        if not self._slowest and self._most:
            self._more()
        return Place(self, *self._slowest[number], self._sequence) if self._slowest else None

    def write(self, place: Place, body: bytes, of: object, ring: bool = True) -> None:
        """Write a record into a place that was just given. ``of`` is what it is made of: if a signal handler interrupts
        this, the same may be written again, and ``last`` tells whether it has been."""
        incident_record.write(place.view, place.at, body)
        sequence, ended = place.sequence + 1, self._ended + ring
        self._sequence, self._ended, self.last = sequence, ended, of

    def all(self, pid: int, start: int) -> Iterator[IncidentRecord]:
        """All that are kept."""
        for view, form in list(self._made):
            yield from incident_record.records(view, form, pid, start)

    def release(self) -> None:
        """Make every view raise ValueError from now on, without touching the memory behind it."""
        self.open = False
        for view, _ in self._made:
            view.release()

    def _more(self) -> None:
        have = len(self._ring)
        wanted = SLOWEST + FIRST if not self._made else self._most - have
        made = self._allocate(wanted)
        if made is None:
            self._most = have
            return
        view, form = made
        found = [(view, at) for at in incident_record.places(form)]
        self._made.append(made)
        if not self._slowest:
            self._slowest, found = found[:SLOWEST], found[SLOWEST:]
        self._ring = (self._ring + found)[: self._most]
