"""Keeps a record of every stream that did not complete, and of the slowest that did, in the store's bounded memory.

In an outage every stream fails. Of streams that are alike (labels, outcome, error type) some have records of their own,
and each later one raises a number in the last of these: what a failure costs is bounded, no kind of failure pushes the
others out of the ring, and the counts stay whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..outcome import GOOD_ENDS, Outcome
from ..store import increments
from ..store.incident_record import (
    ENDED,
    LAST_REPEAT,
    RECOVERED_REPEATS,
    REPEATS,
    SETTLED,
    SLOW_FIRST_TOKEN,
    SLOW_GAP,
    Run,
    body_of,
)
from ..store.incidents import SLOWEST, Place
from ..store.store import Store
from ..stream.record import ChainRecord, Progress, StreamLabels, StreamRecord
from ..stream.sink import Sink
from ..stream.tracebacks import is_foreign

# Records at once of streams that are alike, and seconds until one more: what limits and users end is common, and not to
# push out what fails.
_FEWEST, _FEWER, _BUDGET = (4.0, 60.0), (8.0, 10.0), (16.0, 2.0)
_BUDGETS = {
    Outcome.LENGTH: _FEWEST, Outcome.CONTENT_FILTER: _FEWEST, Outcome.CANCELLED: _FEWER, Outcome.ABANDONED: _FEWER,
}
# After so many seconds without one the next of a kind begins another run.
QUIET = 300.0
_MOST_KINDS = 256
_MOST_KEPT = 8  # places that an operation remembers, to be marked when it recovers
# A stream is among the slowest for an hour, and not if it was quicker than this. Seconds.
SLOW_FOR = 3600.0
_SLOW_FROM = 1.0
_EACH = SLOWEST // 2

_COMPLETED = Outcome.COMPLETED
_MOST_FAULTS = 3  # in a row
Kind = tuple[StreamLabels, Outcome, str]


class _Run:
    """Streams that ended alike, without a long pause: since when, how many, and where the last record stands.

    ``repeat`` is what an operation keeps of that place if it has no record of its own: thousands keep the same."""

    __slots__ = ("last", "left", "number", "place", "repeat", "since")

    def __init__(self, now: float, burst: float) -> None:
        self.since = self.last = now
        self.number = 0
        self.left = burst
        self.place: Place | None = None
        self.repeat: tuple[Place, bool] | None = None


class _Slowest:
    """The slowest streams of the last hour by one measure. ``bar``: only a slower one is among them."""

    def __init__(self, kind: str, first: int) -> None:
        self.kind = kind
        self._free = list(range(first, first + _EACH))
        self._kept: list[tuple[float, float, int]] = []  # seconds, when, place; the quickest first
        self.bar = _SLOW_FROM

    def age(self, now: float) -> None:
        """Forget those of more than an hour ago."""
        for one in [one for one in self._kept if not 0.0 <= now - one[1] <= SLOW_FOR]:
            self._remove(one)

    def _remove(self, one: tuple[float, float, int]) -> None:
        self._kept.remove(one)
        self._free.append(one[2])
        self.bar = _SLOW_FROM

    def place_for(self, now: float) -> int:
        """The place that a slower one takes."""
        self.age(now)
        if not self._free:
            self._remove(self._kept[0])
        return self._free[-1]

    def took(self, seconds: float, now: float) -> None:
        """One has taken that place."""
        self._kept = sorted([*self._kept, (seconds, now, self._free.pop())])
        self.bar = self._kept[0][0] if not self._free else _SLOW_FROM


class IncidentSink(Sink):
    """Writes what the store's sink hands it: all that did not complete, or whose operation had failed before, and what
    was slower than ``slow_first_token`` or ``slow_gap``."""

    def __init__(self, store: Store, unix_time: Callable[[], float] = time.time) -> None:
        self._store = store
        self._unix_time = unix_time
        self._faults = 0
        self._begin()

    def _begin(self) -> None:
        self._ring = self._store.incidents
        self._runs: dict[Kind, _Run] = {}
        self._first_token, self._gap = _Slowest(SLOW_FIRST_TOKEN, 0), _Slowest(SLOW_GAP, _EACH)
        self._age_at = 0.0
        self.slow_first_token = self.slow_gap = _SLOW_FROM

    def keep(self, record: StreamRecord) -> None:
        """Keep a stream that did not complete, or slowly, once. A fault of ours is counted; after some in a row nothing
        is kept any more."""
        if self._faults >= _MOST_FAULTS:
            return
        try:
            self._ended(record)
            self._faults = 0
        except Exception as error:
            if is_foreign(error):
                raise
            self._faults += 1
            self._store.change_process(increments.faulted, "sink")

    def on_progress(self, progress: Progress) -> None:
        """Let the slowest grow old: good streams have no time for it."""
        now = self._unix_time()
        if not self._age_at - 60.0 <= now < self._age_at:
            self._age_at = now + 60.0
            self._first_token.age(now)
            self._gap.age(now)
            self.slow_first_token, self.slow_gap = self._first_token.bar, self._gap.bar

    def on_chain(self, chain: ChainRecord) -> None:
        """Note in the records of an operation what became of it."""
        operation: Any = chain.operation
        if operation is not None and operation.kept and chain.event != "fallback":
            now = self._unix_time()
            self._settle(operation, now if chain.event == "recovered" else -now)

    def _ended(self, record: StreamRecord) -> None:
        operation = record.operation
        if operation is not None and operation.kept and record.outcome in GOOD_ENDS:
            self._settle(operation, record.started + record.duration)
        if record.outcome is _COMPLETED:
            self._slow(record)
        elif self._ring.last is not record:
            self._keep(record)

    # -- what did not complete

    def _keep(self, record: StreamRecord) -> None:
        if self._ring is not self._store.incidents:
            self._begin()  # in a forked child
        now = record.started + record.duration
        burst, every = _BUDGETS.get(record.outcome, _BUDGET)
        kind = (record.labels, record.outcome, record.error_type)
        run = self._runs.get(kind)
        if run is None or not run.last - QUIET <= now <= run.last + QUIET:
            self._runs.pop(kind, None)
            while len(self._runs) >= _MOST_KINDS:
                self._runs.pop(next(iter(self._runs)))
            run = self._runs[kind] = _Run(now, burst)
        run.left = left = min(burst, run.left + max(0.0, now - run.last) / every)
        place, repeat, operation = run.place, run.repeat, record.operation
        kept = operation.kept if operation is not None and len(operation.kept) < _MOST_KEPT else []
        if left < 1.0 and place is not None and repeat is not None and place.there:
            kept.append(repeat)
            view, at = place.view, place.at
            view[at + LAST_REPEAT] = now
            view[at + REPEATS] += 1.0
            self._ring.last = record
        else:
            found = self._ring.next()
            if found is None:
                return  # there is no memory
            place, number = found
            kept.append((place, False))
            body = body_of(record, ENDED, place.sequence, Run(run.since, run.number + 1), number)
            self._ring.write(place, body, record)
            run.place, run.repeat, run.left = place, (place, True), max(0.0, left - 1.0)
        run.number, run.last = run.number + 1, now

    def _settle(self, operation: Any, at: float) -> None:
        """Note that an operation recovered at a Unix time, or, below 0, was given up."""
        for place, repeat in operation.kept:
            if place.there and not repeat:
                place.view[place.at + SETTLED] = at
            elif place.there and at > 0.0:
                place.view[place.at + RECOVERED_REPEATS] += 1.0
        if at > 0.0:
            operation.kept.clear()

    # -- what completed slowly

    def _slow(self, record: StreamRecord) -> None:
        if self._ring is not self._store.incidents:
            self._begin()
        self._offer(self._gap, record.max_gap, record)
        self._offer(self._first_token, record.first_token or 0.0, record)
        self.slow_first_token, self.slow_gap = self._first_token.bar, self._gap.bar

    def _offer(self, slowest: _Slowest, seconds: float, record: StreamRecord) -> None:
        if seconds <= slowest.bar:
            return
        now = record.started + record.duration
        place = self._ring.slowest(slowest.place_for(now))
        if place is not None:
            body = body_of(record, slowest.kind, place.sequence, Run(now, 1), 0)
            self._ring.write(place, body, record, ring=False)
            slowest.took(seconds, now)
