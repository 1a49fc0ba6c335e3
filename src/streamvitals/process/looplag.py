"""Measures how late the app's event loop runs while streams are open on it.

A saturated loop queues chunks, and a chunk that waited for the loop must not be blamed on the provider. There is one
timer per loop, only while that loop has streams; it holds neither the loop nor any object of the app's.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any

INTERVAL = 0.25  # seconds


class LoopLagMeter:
    """Calls ``report`` with the lag in seconds at each beat of a loop that has open streams."""

    def __init__(self, report: Callable[[float], None], open_streams: Callable[[], Iterable[Any]]) -> None:
        self._report = report
        self._open_streams = open_streams
        self._beating: set[weakref.ref[Any]] = set()

    def watch(self, stream: Any) -> None:
        """Beat on the running loop, if there is one, for as long as ``stream`` (an observation) is open."""
        asyncio = sys.modules.get("asyncio")
        loop = asyncio._get_running_loop() if asyncio is not None else None
        if loop is None:
            return
        # There is one reference per loop, which its streams share.
        reference = weakref.ref(loop)
        stream.asked_on(reference)
        if reference not in self._beating:
            for known in tuple(self._beating):
                if known() is None:
                    self._beating.discard(known)
            self._beating.add(reference)
            self._next_beat(loop)

    def reset(self) -> None:
        """Forget everything: the loops of a parent process do not run here."""
        self._beating = set()

    def _next_beat(self, loop: Any) -> None:
        # An empty context, since a copy of the app's context would keep the app's values alive.
        loop.call_later(INTERVAL, self._beat, loop, loop.time() + INTERVAL, context=Context())

    def _beat(self, loop: Any, due: float) -> None:
        self._report(max(0.0, loop.time() - due))
        reference = weakref.ref(loop)
        if any(stream.loop is reference and not stream.ended for stream in self._open_streams()):
            self._next_beat(loop)
        else:
            self._beating.discard(reference)
