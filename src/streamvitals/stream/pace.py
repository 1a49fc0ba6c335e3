"""Timing of one stream: time blocked on the provider, time held by the app, gaps, stalls.

    ask ... arrived      the app is blocked: wait, the provider's silence as the app feels it
    arrived ... ask      the app works on the chunk: hold, never the provider's

A wait is a stall by its phase: before the first token of the answer a model may think, later it is to go on. What only
keeps the connection alive (SSE comments, pings) ends no wait.

Times are seconds on the observation's clock. The generators of observe.py stamp a common chunk in their own lines,
since a call costs more than all that is stamped; all other code uses the methods. The record may be made while the app
reads on, so nothing here is reset at the end.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from itertools import pairwise
from typing import Any, ClassVar, Protocol

from ..names import BETWEEN_CHUNKS, FIRST_TOKEN, GAP_EDGES, KEEP_ALIVE_WITHIN
from .record import Progress, Stall, StallAfter, StreamLabels

_MAX_STALLS = 16  # remembered one by one, the last one always; the count goes on
_NOWHERE = [0.0] * 8  # what a stream writes into that is read on after its end

_made: Any = tuple.__new__  # makes a named tuple from all its fields in less than half the time that its class takes

NO_GAPS = (0.0,) * (len(GAP_EDGES) + 1)
_BUCKETS = tuple(pairwise((-1.0, *GAP_EDGES, math.inf)))
_NO_BUCKET = (0.0, -1.0)  # no gap is in it


class Numbers(Protocol):
    """What a slot's doubles are kept in: a view of a mapped file, or a list."""

    def __setitem__(self, index: int, value: float, /) -> None: ...

    def __getitem__(self, index: int, /) -> float: ...


class Slot(Protocol):
    """Eight doubles that outlive the process: see store/segment.py."""

    @property
    def view(self) -> Numbers: ...

    @property
    def at(self) -> int: ...


class Pace:
    """When chunks came, and what their gaps were. ``slot`` shows the agent who waits, and since when."""

    __slots__ = (
        "_alive_after", "_alive_at", "_flushed", "_gap_counts", "_later", "_other_wait", "_run", "_run_from",
        "_stall_after", "arrived_at", "at", "chunks", "first_chunk", "first_token", "flush_at", "high", "low",
        "lulled", "max_gap", "max_gap_at", "patient", "stall_times", "stalls", "started", "thinking", "view", "wait",
        "waiting_since",
    )

    def __init__(self, slot: Slot, now: float, stall_after: StallAfter, flush_at: float) -> None:
        self.view: Numbers = slot.view
        self.at = slot.at
        self.started = now
        self.waiting_since = now
        self.arrived_at: float | None = None
        self.chunks = 0.0  # as its slot holds it
        self.first_chunk: float | None = None
        self.first_token: float | None = None
        # Gaps by bucket, without those of the run that goes on: all gaps after the chunk of this number were of this
        # bucket. So most of them need no counting.
        self._gap_counts: list[float] | None = None
        self._run, self._run_from = 0, 1.0
        # One that is longer than `low` and no longer than `high` is of the run, no stall, and not the longest so far.
        self.low, self.high = _NO_BUCKET
        self.max_gap = 0.0
        self.max_gap_at: float | None = None  # when it began, in seconds after the request
        self.wait = 0.0
        self._other_wait = 0.0  # the part of `wait` that is not a chunk gap
        self.thinking = True  # the first token of the answer has not come
        self.patient = True  # the next chunk is not to be read in the quickest way
        self._stall_after, self._later = stall_after
        self.lulled = 0.0  # the part of this wait before the last keep-alive that came to the app
        self._alive_at = now  # when the last keep-alive came
        self._alive_after = 0.0  # how long the app had waited when the first one of a wait came
        self.stalls = 0
        self.stall_times: tuple[Stall, ...] = ()
        self.flush_at = flush_at
        self._flushed: Progress | None = None  # all that the sinks have been handed already

    # Times from chunk to chunk: only a TimedPace keeps them (chunk_times.py). No property, which would be a call.
    chunk_times: ClassVar[Any] = None
    note: ClassVar[Any] = None

    def ask(self, now: float) -> None:
        """The app waits from now on."""
        self.view[self.at] = self.waiting_since = now

    def rest(self, now: float) -> None:
        """The app holds the stream from now on."""
        self.view[self.at] = -now

    def wait_from(self, since: float) -> None:
        """The next wait counts from then on, whatever the slot shows."""
        self.waiting_since = since

    def is_blocked(self) -> bool:
        """Whether the app waits, in a read or for the headers, until the stream has ended."""
        return self.view[self.at] > 0.0

    def answered(self, now: float) -> None:
        """The headers have come; the app holds the stream from now on."""
        self.waited(now)
        self.view[self.at] = -now

    def arrived(self, now: float) -> None:
        """A chunk has come."""
        gap = now - self.waiting_since
        self.arrived_at = now
        self.wait += gap
        view, at = self.view, self.at
        view[at] = -now
        view[at + 3] = self.chunks = self.chunks + 1.0
        if self.first_chunk is not None:
            if not self.low < gap <= self.high:
                self.gap(gap, now)
            return
        self.first_chunk = now - self.started
        self._other_wait += gap
        if gap >= self._stall_after:
            self.stalled(gap, now, self.waiting_since)

    def resume(self, now: float) -> None:
        """As ``arrived``, after a lull: the lulls are a part of the gap, and a stall together with it, or none."""
        lulled = self.lulled
        self.view[self.at + 7] = 0.0
        self._other_wait -= lulled
        self.wait -= lulled
        self.waiting_since -= lulled
        self.arrived(now)
        self.lulled = 0.0
        self.patient = self.thinking

    def token(self, now: float) -> None:
        """The first chunk with a token in it has come."""
        self.first_token = self.first_chunk if self.chunks == 1.0 else now - self.started  # one float if it is the same

    def answers(self) -> None:
        """The answer has begun: from now on the stream is to go on without long pauses."""
        self.thinking = self.patient = False
        self._stall_after = self._later
        self.low, self.high = _NO_BUCKET
        self.view[self.at + 6] = 1.0

    # -- what only keeps the connection alive

    def comment(self, now: float) -> None:
        """A comment has come, which the app does not see: it goes on waiting."""
        self._keep_alive(now)
        self.view[self.at + 7] = now

    def lull(self, now: float) -> None:
        """A keep-alive has come to the app, for which the wait goes on when it asks again."""
        self._keep_alive(now)
        seconds = now - self.waiting_since
        self.wait += seconds
        self._other_wait += seconds
        self.lulled += seconds
        self.patient = True
        view, at = self.view, self.at
        view[at] = -now
        view[at + 7] = self.lulled - now

    def unseen(self, now: float) -> None:
        """Bytes have come during this wait, at times that nobody has seen."""
        self._alive_after, self._alive_at = 0.0, now

    def _keep_alive(self, now: float) -> None:
        if not self.lulled and self._alive_at <= self.waiting_since:
            self._alive_after = now - self.waiting_since
        self._alive_at = now

    def gap(self, gap: float, now: float) -> None:
        """Count the gap before the chunk that has come, which is not of the run."""
        bucket = bisect_left(GAP_EDGES, gap)
        run = self._run
        if bucket != run:
            before = self.chunks - 1.0
            counts = self._gap_counts
            # No call from here on: a record may be made at any.
            if counts is None:
                counts = self._gap_counts = [*NO_GAPS]
            counts[run] += before - self._run_from
            self._run, self._run_from = bucket, before
        longest, stall_after = self.max_gap, self._stall_after
        if gap > longest:
            self.max_gap = longest = gap
            self.max_gap_at = now - gap - self.started
        if gap >= stall_after:
            self.stalled(gap, now, self.waiting_since)
        low, high = _BUCKETS[bucket]
        if high > longest:
            high = longest
        if high < stall_after:
            self.low, self.high = low, high
        else:
            self.low, self.high = _NO_BUCKET

    def gap_counts(self) -> tuple[float, ...]:
        """How many gaps were in each bucket."""
        counts, run = [*(self._gap_counts or NO_GAPS)], self.chunks - self._run_from
        if run > 0.0:
            counts[self._run] += run
        return tuple(counts)

    def waited(self, now: float) -> None:
        """The app has waited until now for something that is no chunk."""
        since = self.waiting_since
        self.waiting_since = now  # once, also where an end was interrupted and comes again
        self.wait += now - since
        self._other_wait += now - since
        self._judge(since, now)

    def hung(self, now: float) -> None:
        """The app has waited for a complete stream to end: a stall, if it was long, and no wait."""
        self._judge(self.waiting_since, now)

    def _judge(self, since: float, now: float) -> None:
        seconds = now - since + self.lulled
        if seconds >= self._stall_after:
            self.stalled(seconds, now, since)
        self.lulled = 0.0

    def stalled(self, seconds: float, now: float, since: float) -> None:
        """There was no chunk for so many seconds; ``since`` is when the last read began."""
        self.stalls += 1
        stall = Stall(
            now - seconds - self.started, seconds, FIRST_TOKEN if self.thinking else BETWEEN_CHUNKS,
            self._was_kept_alive(seconds, now, since),
        )
        self.stall_times = (*self.stall_times[: _MAX_STALLS - 1], stall)

    def _was_kept_alive(self, seconds: float, now: float, since: float) -> bool:
        last = self._alive_at
        if not self.lulled and last <= since:
            return False
        # Some servers put a comment before every chunk. It comes with what ends the silence, and has not broken it.
        return self._alive_after <= 0.9 * seconds and now - max(last, since) <= KEEP_ALIVE_WITHIN

    def stop_writing(self) -> None:
        """A stream that is read on after its end must not write into a slot that is another's by then."""
        self.view, self.at = _NOWHERE, 0
        self.flush_at = -math.inf  # so the generators of observe.py write into no slot either

    def hold(self, end: float, backoff: float) -> float:
        """For how long the app held it: what is neither wait nor backoff. To sum it up would cost each chunk more."""
        held = end - self.started - self.wait - backoff
        return held if held > 0.0 else 0.0

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
        wait = self.wait
        gap_sum = wait - self._other_wait
        whole: Progress = _made(Progress, (
            labels, self.gap_counts(),
            gap_sum if gap_sum > 0.0 else 0.0, wait, hold, self.stalls,
            None if server_initiated else self.first_chunk, self.first_token,
        ))
        return whole
