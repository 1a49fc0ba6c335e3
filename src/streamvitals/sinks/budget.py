"""Limits how many lines are written in a time, and counts those that were suppressed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


class Budget:
    """Allows a burst at once, then one line every few seconds, and counts the suppressed lines."""

    def __init__(self, burst: int, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._every, self._clock = float(burst), every, clock
        self._left = self._burst
        self._since = clock()
        self.suppressed, self._pid = 0, os.getpid()

    def spend(self) -> bool:
        """Take one from the budget; False if there is none left."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._since) / self._every)
        self._since = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def suppress(self) -> None:
        """Count a line that was not written."""
        if self._pid != os.getpid():
            self.take_suppressed()
        self.suppressed += 1

    def take_suppressed(self) -> int:
        """Return how many lines were suppressed since the last call; in a forked child only its own count."""
        if self._pid != os.getpid():
            self._pid, self.suppressed = os.getpid(), 0
        suppressed, self.suppressed = self.suppressed, 0
        return suppressed
