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
        """This generator reads the response; while it runs, a close on its stack is the SDK's."""
        self._readers = [*self._readers[-3:], weakref.ref(generator)]

    def _hook(self, stream: Any) -> Any:
        original, owner = type(stream).close, weakref.ref(stream)

        def close() -> None:
            target = owner()
            self._noted(target, "close")
            original(target)

        return close

    def _async_hook(self, stream: Any) -> Any:
        original, owner = type(stream).aclose, weakref.ref(stream)

        async def aclose() -> None:
            target = owner()
            self._noted(target, "aclose")
            await original(target)

        return aclose

    def _noted(self, stream: Any, name: str) -> None:
        observation = self._observation
        try:
            vars(stream).pop(name, None)
            if observation.ended:
                return
            readers = [reader for ref in self._readers if (reader := ref()) is not None]
            if _on_stack(readers, sys._getframe(2)):
                return
            observation.closed_by_app = True
            # Somebody else may be blocked in a read: what that reader gets is the end then.
            if not any(getattr(r, "gi_running", False) or getattr(r, "ag_running", False) for r in readers):
                observation.closed(sys.exc_info()[1])
        except Exception:  # noqa: BLE001 - ours; the close itself must go on
            observation.host.fault("observe")


def _on_stack(readers: list[Any], frame: FrameType | None) -> bool:
    frames = [getattr(r, "gi_frame", None) or getattr(r, "ag_frame", None) for r in readers]
    while frame is not None:
        if frame in frames:
            return True
        frame = frame.f_back
    return False
