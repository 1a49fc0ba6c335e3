"""How much may be said in a time, and how often something was not said."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


class Budget:
    """So many at once, and then one every so many seconds; ``unsaid`` is how many were refused since the last time."""

    def __init__(self, burst: int, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._every, self._clock = float(burst), every, clock
        self._left = self._burst
        self._since = clock()
        self.unsaid, self._pid = 0, os.getpid()

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
        self.unsaid += 1

    def refused(self) -> int:
        """How many were not said since this was asked last; in a forked child only its own."""
        if self._pid != os.getpid():
            self._pid, self.unsaid = os.getpid(), 0
        refused, self.unsaid = self.unsaid, 0
        return refused
