"""How long a process waits for collectors: one bound for all pipelines and batches together."""

from __future__ import annotations

import time
from collections.abc import Callable

# Enough for a collector that answers, even across an ocean and with TLS; if one does not, a script must still end soon.
# This is the promised 2 s, less the time that the rest of the exit takes on a busy machine. Seconds.
MOST = 1.5


class Patience:
    """The time that is left of a wait which several share. It begins when the object is made."""

    def __init__(self, seconds: float = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """The seconds left, never negative."""
        return max(0.0, self._end - self._clock())


_exit: list[Patience] = []


def at_exit() -> Patience:
    """The wait at the end of the process, shared by all exit functions; begins with the first call."""
    if not _exit:
        _exit.append(Patience())
    return _exit[0]


def exiting() -> bool:
    """Whether exit functions run."""
    return bool(_exit)
