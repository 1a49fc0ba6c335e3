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
    """Per observation: the generators that read it, and the hooks on its response's close and on its garbage
    collection. Holds neither."""

    __slots__ = ("_observation", "_readers", "_response", "_tapped")

    def __init__(self, observation: Observation, response: Any, is_async: bool) -> None:
        self._observation = observation
        self._readers: tuple[weakref.ref[Any], ...] = ()
        self._tapped: tuple[Any, ...] = ()
        self._response = _Reference(response, _dropped)
        self._response.observation = observation
        # Before what may fail: a stream of an unknown kind is still told of when the collector takes its response.
        observation.hooks = self
        stream = response.stream
        if is_async:
            stream.aclose = _AsyncClose(self, stream)
        else:
            stream.close = _Close(self, stream)

    def bytes_received(self) -> int | None:
        """How many bytes the transport has handed over so far, where that is known."""
        return getattr(self._response(), "num_bytes_downloaded", None)

    def add_reader(self, generator: Any) -> None:
        """This generator reads the response: while it runs, the app is still waiting for a chunk."""
        self._readers = (*self._readers[-3:], weakref.ref(generator))

    def being_read(self) -> bool:
        """Whether somebody is in one of the generators now."""
        return any(_running(reference()) for reference in self._readers)

    def tap(self, decoder: Any, decode: Any) -> None:
        """This decoder's ``decode`` is ours until the end."""
        decoder.decode = decode
        self._tapped = (*self._tapped, decoder)

    def remove(self) -> None:
        # A tap and its decoder hold each other: a stream would leave garbage for the collector.
        decoders, self._tapped = self._tapped, ()
        for decoder in decoders:
            _unhook(decoder, "decode")

    def noted(self, stream: Any, name: str) -> None:
        observation = self._observation
        try:
            if stream is not None:
                _unhook(stream, name)
            if observation.ended or _closed_by_reading(sys._getframe(2)):
                return
            observation.closed_by_app = True
            # Somebody else may be blocked in a read: what that reader gets is the end then.
            if not self.being_read():
                observation.closed(sys.exc_info()[1])
        except Exception:  # noqa: BLE001 - ours; the close itself must go on
            observation.host.fault("observe")


class _Reference(weakref.ref):  # type: ignore[type-arg]
    """To a response. A slot is smaller than a bound method as the callback."""

    __slots__ = ("observation",)
    observation: Observation


def _dropped(reference: Any) -> None:
    reference.observation.dropped()


class _Close:
    """In place of the ``close`` of one transport stream, until it is called."""

    __slots__ = ("_closing", "_inner", "_owner")

    def __init__(self, closing: Closing, stream: Any) -> None:
        self._closing = closing
        self._owner = weakref.ref(stream)
        self._inner = _inner(stream)

    def __call__(self) -> None:
        target = self._owner()
        self._closing.noted(target, "close")
        if target is not None:
            type(target).close(target)
        else:
            self._inner.close()


class _AsyncClose(_Close):
    """The async twin."""

    __slots__ = ()

    async def __call__(self) -> None:  # type: ignore[override]
        target = self._owner()
        self._closing.noted(target, "aclose")
        if target is not None:
            await type(target).aclose(target)
        else:
            await self._inner.aclose()


def _inner(stream: Any) -> Any:
    """What to close when the collector has taken the stream and the SDK's generator at once and the latter,
    being finalized, closes: weak references are dead by then, and the connection must be freed all the same.
    httpx's bound streams hold the transport's own; anything else is held itself, at the price of a cycle."""
    return getattr(stream, "_stream", stream)


def _unhook(thing: Any, name: str) -> None:
    """Its class's own method shows again. Deleting is far cheaper than asking for the instance's dict."""
    try:  # noqa: SIM105 - suppress() costs more than the deletion
        delattr(thing, name)
    except AttributeError:
        pass  # somebody else took it away


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
