"""How late the app's event loop runs while streams are open on it.

A saturated loop queues chunks, and a chunk that waited for the loop must not pass for a slow provider. One
timer per loop, only while that loop has streams; it holds neither the loop nor anything of the app's.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any

INTERVAL = 0.25  # seconds


class LoopLagMeter:
    """``report`` is called with the lag in seconds at each beat of a loop that has open streams."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self._report = report
        self._open: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()

    def watch(self, stream: Any) -> None:
        """Beat on the running loop for as long as ``stream`` (an observation) is open. No loop: nothing."""
        asyncio = sys.modules.get("asyncio")
        if asyncio is None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        streams = self._open.get(loop)
        if streams is None:
            streams = self._open[loop] = weakref.WeakSet()
            self._next_beat(loop)
        streams.add(stream)

    def reset(self) -> None:
        """Forget everything: the loops of a parent process do not run here."""
        self._open = weakref.WeakKeyDictionary()

    def _next_beat(self, loop: Any) -> None:
        # An empty context, since a copy of the app's would keep its values alive.
        loop.call_later(INTERVAL, self._beat, loop, loop.time() + INTERVAL, context=Context())

    def _beat(self, loop: Any, due: float) -> None:
        self._report(max(0.0, loop.time() - due))
        if any(not stream.ended for stream in self._open.get(loop, ())):
            self._next_beat(loop)
        else:
            self._open.pop(loop, None)
