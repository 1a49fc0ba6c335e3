"""How much may be said in a time, and how often something was not said."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


class Budget:
    """So many at once, and then one every so many seconds."""

    def __init__(self, burst: int, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._every, self._clock = float(burst), every, clock
        self._left = self._burst
        self._since = clock()
        self._refused, self._pid = 0, os.getpid()

    def spend(self) -> bool:
        """Whether one more may be said."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._since) / self._every)
        self._since = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def refuse(self) -> None:
        """One was not said."""
        if self._pid != os.getpid():
            self.refused()
        self._refused += 1

    def refused(self) -> int:
        """How many were not said since this was asked last; in a forked child only its own."""
        if self._pid != os.getpid():
            self._pid, self._refused = os.getpid(), 0
        refused, self._refused = self._refused, 0
        return refused

    @property
    def anything_refused(self) -> bool:
        return self._refused > 0
