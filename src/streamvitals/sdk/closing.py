"""Learning that the app closed a stream, and that it dropped one.

``Stream.close``, the helpers' own ``close``, ``with`` blocks and ``response.close()`` all meet in the
``close``/``aclose`` of the transport stream that belongs to this one response. The SDK's own generator passes
there too, before our iterator hears of the end or the error; that is not the app's doing.
"""

from __future__ import annotations

import sys
import weakref
from types import FrameType
from typing import Any

from ..stream.observation import Observation


class Closing:
    """Per observation: the generators that read it, and the hooks on its response."""

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._readers: list[weakref.ref[Any]] = []
        self._response: weakref.ref[Any] | None = None

    def watch_response(self, response: Any, is_async: bool) -> None:
        """Hook the response's close and its garbage collection. Holds neither."""
        observation = self._observation
        self._response = weakref.ref(response, lambda _: observation.dropped())
        stream = response.stream
        setattr(stream, "aclose" if is_async else "close", self._async_hook(stream) if is_async else self._hook(stream))

    def add_reader(self, generator: Any) -> None:
        """This generator reads the response: while it runs, the app is still waiting for a chunk."""
        self._readers = [*self._readers[-3:], weakref.ref(generator)]

    def being_read(self) -> bool:
        """Whether somebody is in one of the generators now."""
        return any(_running(reference()) for reference in self._readers)

    def _hook(self, stream: Any) -> Any:
        original, owner, inner = type(stream).close, weakref.ref(stream), _inner(stream)

        def close() -> None:
            target = owner()
            self._noted(target, "close")
            if target is not None:
                original(target)
            else:
                inner.close()

        return close

    def _async_hook(self, stream: Any) -> Any:
        original, owner, inner = type(stream).aclose, weakref.ref(stream), _inner(stream)

        async def aclose() -> None:
            target = owner()
            self._noted(target, "aclose")
            if target is not None:
                await original(target)
            else:
                await inner.aclose()

        return aclose

    def _noted(self, stream: Any, name: str) -> None:
        observation = self._observation
        try:
            if stream is not None:
                vars(stream).pop(name, None)
            if observation.ended or _closed_by_reading(sys._getframe(2)):
                return
            observation.closed_by_app = True
            # Somebody else may be blocked in a read: what that reader gets is the end then.
            if not self.being_read():
                observation.closed(sys.exc_info()[1])
        except Exception:  # noqa: BLE001 - ours; the close itself must go on
            observation.host.fault("observe")


def _inner(stream: Any) -> Any:
    """What to close when the collector has taken the stream and the SDK's generator at once and the latter,
    being finalized, closes: weak references are dead by then, and the connection must be freed all the same.
    httpx's bound streams hold the transport's own; anything else is held itself, at the price of a cycle."""
    return getattr(stream, "_stream", stream)


def _running(generator: Any) -> bool:
    return bool(getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False))


def _closed_by_reading(frame: FrameType | None) -> bool:
    """Whether the close comes from the SDK's or httpx's own reading generator: at the end of the body, on an
    error, or because the collector finalizes it. An app's code never runs on top of one."""
    while frame is not None:
        if frame.f_code.co_name in _READING:
            return True
        frame = frame.f_back
    return False


_READING = frozenset({"__stream__", "iter_raw", "aiter_raw"})
