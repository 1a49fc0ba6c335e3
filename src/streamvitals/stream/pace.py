"""Timing of one stream: time blocked on the provider, time held by the app, gaps, stalls.

    ask ... arrived      the app is blocked: wait, the provider's silence as the app feels it
    arrived ... ask      the app works on the chunk: hold, never the provider's

Times are seconds on the observation's clock. The generators of observe.py stamp a common chunk in their own lines,
since a call costs more than all that is stamped; all other code uses the methods. The record may be made while the app
reads on, so nothing here is reset at the end.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from typing import Any, ClassVar, Protocol

from ..names import GAP_EDGES
from .record import Progress, StreamLabels

_MAX_STALLS = 16  # remembered one by one; the count goes on
_NOWHERE = [0.0] * 8  # what a stream writes into that is read on after its end

Bucket = tuple[float, float, list[int], int]
NO_BUCKET: Bucket = (0.0, -1.0, [], 0)  # no gap is in it
NO_GAPS = (0,) * (len(GAP_EDGES) + 1)


class Numbers(Protocol):
    """What a slot's doubles are kept in: a view of a mapped file, or a list."""

    def __setitem__(self, index: int, value: float, /) -> None: ...


class Slot(Protocol):
    """Eight doubles that outlive the process: state, start, label set, chunks (see store/store.py)."""

    @property
    def view(self) -> Numbers: ...

    @property
    def at(self) -> int: ...


class Pace:
    """When chunks came, and what their gaps were. ``slot`` shows the agent who waits, and since when."""

    __slots__ = (
        "_flushed", "_other_wait", "_stall_after", "arrived_at", "at", "chunks", "first_chunk", "first_token",
        "flush_at", "gap_counts", "max_gap", "stall_times", "stalls", "started", "view", "wait", "waiting_since",
    )

    def __init__(self, slot: Slot, now: float, stall_after: float, flush_at: float) -> None:
        self.view: Numbers = slot.view
        self.at = slot.at
        self.started = now
        self.waiting_since = now
        self.arrived_at: float | None = None
        self.chunks = 0.0  # as its slot holds it
        self.first_chunk: float | None = None
        self.first_token: float | None = None
        self.gap_counts: list[int] | None = None
        self.max_gap = 0.0
        self.wait = 0.0
        self._other_wait = 0.0  # the part of `wait` that is not a chunk gap
        self._stall_after = stall_after
        self.stalls = 0
        self.stall_times: tuple[tuple[float, float], ...] = ()
        self.flush_at = flush_at
        self._flushed: Progress | None = None  # all that the sinks have been handed already

    # Times from chunk to chunk: only a TimedPace keeps them (chunk_times.py). No property, which would be a call.
    chunk_times: ClassVar[Any] = None

    def ask(self, now: float) -> None:
        """The app waits from now on."""
        self.view[self.at] = self.waiting_since = now

    def rest(self, now: float) -> None:
        """The app holds the stream from now on."""
        self.view[self.at] = -now

    def wait_from(self, since: float) -> None:
        """The next wait counts from then on, whatever the slot shows."""
        self.waiting_since = since

    def arrived(self, now: float) -> None:
        """A chunk has come."""
        gap = now - self.waiting_since
        self.arrived_at = now
        self.wait += gap
        view, at = self.view, self.at
        view[at] = -now
        view[at + 3] = self.chunks = self.chunks + 1.0
        if self.first_chunk is not None:
            self._count(gap, now)
            return
        self.first_chunk = now - self.started
        self._other_wait += gap
        if gap >= self._stall_after:
            self.stalled(gap, now)

    def token(self, now: float) -> None:
        """The first chunk with a token in it has come."""
        self.first_token = now - self.started

    def gap(self, gap: float, now: float) -> Bucket:
        """Count the gap before a chunk, and return its bucket: low, high, the counts, and the index in them.

        A gap that is longer than low and no longer than high is neither a stall nor the longest so far."""
        counts, bucket = self._count(gap, now)
        high = min((self.max_gap, *GAP_EDGES[bucket : bucket + 1]))
        if high >= self._stall_after:
            return NO_BUCKET
        return GAP_EDGES[bucket - 1] if bucket else -1.0, high, counts, bucket

    def _count(self, gap: float, now: float) -> tuple[list[int], int]:
        counts, bucket = self.gap_counts, bisect_left(GAP_EDGES, gap)
        if counts is None:
            counts = self.gap_counts = [0] * (len(GAP_EDGES) + 1)
        counts[bucket] += 1
        if gap > self.max_gap:
            self.max_gap = gap
        if gap >= self._stall_after:
            self.stalled(gap, now)
        return counts, bucket

    def waited(self, now: float) -> None:
        """The app has waited until now for something that is no chunk."""
        seconds = now - self.waiting_since
        self.waiting_since = now  # once, also where an end was interrupted and comes again
        self.wait += seconds
        self._other_wait += seconds
        if seconds >= self._stall_after:
            self.stalled(seconds, now)

    def hung(self, now: float) -> None:
        """The app has waited for a complete stream to end: a stall, if it was long, and no wait."""
        seconds = now - self.waiting_since
        if seconds >= self._stall_after:
            self.stalled(seconds, now)

    def stalled(self, seconds: float, now: float) -> None:
        """There was nothing for so many seconds."""
        self.stalls += 1
        if len(self.stall_times) < _MAX_STALLS:
            self.stall_times += ((now - seconds - self.started, seconds),)

    def stop_writing(self) -> None:
        """A stream that is read on after its end must not write into a slot that is another's by then."""
        self.view, self.at = _NOWHERE, 0

    def hold(self, end: float, backoff: float) -> float:
        """For how long the app held it: what is neither wait nor backoff. To sum it up would cost each chunk more."""
        return max(0.0, end - self.started - self.wait - backoff)

    def progress(self, labels: StreamLabels, hold: float, server_initiated: bool) -> Progress:
        """What has been gathered and was not given by ``flushed``. ``server_initiated``: nobody waited for the first
        chunk."""
        whole, flushed = self._whole(labels, hold, server_initiated), self._flushed
        if flushed is None:
            return whole
        return Progress(
            labels=labels,
            gap_counts=tuple(map(operator.sub, whole.gap_counts, flushed.gap_counts)),
            gap_sum=whole.gap_sum - flushed.gap_sum,
            wait=whole.wait - flushed.wait,
            hold=max(0.0, whole.hold - flushed.hold),
            stalls=whole.stalls - flushed.stalls,
            first_chunk=None if flushed.first_chunk is not None else whole.first_chunk,
            first_token=None if flushed.first_token is not None else whole.first_token,
        )

    def flushed(self, labels: StreamLabels, hold: float, server_initiated: bool, flush_at: float) -> Progress:
        """The same, once: the next time only what has come since. ``flush_at``: when that is due."""
        self.flush_at = flush_at
        progress = self.progress(labels, hold, server_initiated)
        self._flushed = self._whole(labels, hold, server_initiated)
        return progress

    def _whole(self, labels: StreamLabels, hold: float, server_initiated: bool) -> Progress:
        return Progress(
            labels, NO_GAPS if self.gap_counts is None else tuple(self.gap_counts),
            max(0.0, self.wait - self._other_wait), self.wait, hold, self.stalls,
            None if server_initiated else self.first_chunk, self.first_token,
        )
