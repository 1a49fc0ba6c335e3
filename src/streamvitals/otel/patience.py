"""How long a process waits for collectors: one bound for all of it, however many pipelines and batches there are."""

from __future__ import annotations

import time
from collections.abc import Callable

# Ample for a collector that answers, across an ocean and with TLS; a script must end soon with one that does not. The
# 2 s that are promised, less what the rest of an end takes on a busy machine. Seconds.
MOST = 1.5


class Patience:
    """What is left of a wait that several share. Begins when it is made."""

    def __init__(self, seconds: float = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds, never negative."""
        return max(0.0, self._end - self._clock())


_exit: list[Patience] = []


def at_exit() -> Patience:
    """That of the end of the process, the same for all exit functions; begins with the first one that asks."""
    if not _exit:
        _exit.append(Patience())
    return _exit[0]


def exiting() -> bool:
    """Whether exit functions run."""
    return bool(_exit)
