"""Times between chunks, kept as counts per bucket until somebody collects, and then given as single values.

The metrics API takes single values only, and one costs as much as ten chunks. So they are recorded where nobody waits,
on the thread of the reader that collects. Of each value only its bucket is known, and of all together their sum: the
values that are given lie in those buckets and add up to that sum.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from ..conventions import SECONDS
from ..system import forks

_Key = tuple[Any, tuple[tuple[str, Any], ...]]


class ChunkTimes:
    """The times that have not been recorded yet, by instrument and attributes."""

    def __init__(self) -> None:
        self._begin()
        forks.in_child_while_alive(self._begin)  # what is pending is the parent's, and so may the lock be

    def _begin(self) -> None:
        self._lock = threading.Lock()  # held for no longer than an addition takes
        self._pending: dict[_Key, tuple[list[int], float]] = {}

    def add(self, instrument: Any, attributes: Mapping[str, Any], counts: tuple[int, ...], seconds: float) -> None:
        """Add the times of one stream: counts per bucket of ``conventions.SECONDS``, and their sum."""
        key = instrument, tuple(attributes.items())
        with self._lock:
            known, total = self._pending.get(key, ([0] * len(counts), 0.0))
            self._pending[key] = [one + more for one, more in zip(known, counts, strict=True)], total + seconds

    def take(self) -> Iterator[tuple[Any, dict[str, Any], float, int]]:
        """What has been added: instrument, attributes, a value, and how often to record it; each once."""
        with self._lock:
            pending, self._pending = self._pending, {}
        for (instrument, attributes), (counts, seconds) in pending.items():
            for value, count in spread(counts, seconds):
                yield instrument, dict(attributes), value, count


def spread(counts: list[int], seconds: float) -> Iterator[tuple[float, int]]:
    """A value for each bucket that has a count, inside the bucket, so that all values together have this sum."""
    lows = [0.0, *(math.nextafter(edge, math.inf) for edge in SECONDS)]
    widths = [high - low for low, high in zip(lows, SECONDS, strict=False)]
    room = sum(count * width for count, width in zip(counts, widths, strict=False))
    rest = max(0.0, seconds - sum(count * low for count, low in zip(counts, lows, strict=True)))
    share = min(1.0, rest / room) if room else 0.0
    # A time past the last boundary may be of any length, so it takes what the others have no room for.
    beyond = (rest - share * room) / counts[-1] if counts[-1] else 0.0
    for count, low, width, high in zip(counts, lows, [*widths, 0.0], [*SECONDS, math.inf], strict=True):
        if count:
            yield min(high, low + (share * width if high < math.inf else beyond)), count
