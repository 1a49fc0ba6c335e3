"""Times from chunk to chunk, the app's own time between them included: what the conventions ask for.

Kept only while somebody exports them, since each chunk pays for it.
"""

from __future__ import annotations

from bisect import bisect_left

from ..conventions import SECONDS
from .pace import Pace, Slot
from .record import StallAfter

ChunkTimes = tuple[tuple[int, ...], float]


class TimedPace(Pace):
    """A pace that also counts the times from chunk to chunk."""

    __slots__ = ("_bucket", "_counts", "_first", "_high", "_last", "_low")

    def __init__(self, slot: Slot, now: float, stall_after: StallAfter, flush_at: float) -> None:
        super().__init__(slot, now, stall_after, flush_at)
        self._first: float | None = None
        self._last = now
        self._counts = [0] * (len(SECONDS) + 1)
        self._low, self._high, self._bucket = 0.0, -1.0, 0

    def arrived(self, now: float) -> None:
        self.note(now)
        super().arrived(now)

    def note(self, now: float) -> None:
        """A chunk has come; called once for each."""
        if self._first is None:
            self._first = self._last = now
            return
        time = now - self._last
        self._last = now
        if not self._low < time <= self._high:
            self._bucket = bucket = bisect_left(SECONDS, time)
            self._low = SECONDS[bucket - 1] if bucket else -1.0
            self._high = SECONDS[bucket] if bucket < len(SECONDS) else float("inf")
        self._counts[self._bucket] += 1

    @property
    def chunk_times(self) -> ChunkTimes | None:
        """Counts per bucket of ``conventions.SECONDS``, the overflow bucket last, and the sum of the times."""
        return None if self._first is None else (tuple(self._counts), self._last - self._first)
