"""Observes a body where httpx reads and closes it: all reads below the SDK's Stream pass there, and all closes.

``response.iter_lines()``, ``iter_bytes()``, ``read()``, ``Stream._iter_events()`` and ``for part in response.stream``
all iterate ``response.stream``; whatever closes the response closes that. Python looks up iteration on the class, so
the class gets methods of ours, once, that do nothing for any other response. The stream object itself is not replaced.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from ..stream.observation import Observation
from ..stream.observe import (
    streamvitals_look,
    streamvitals_look_async,
    streamvitals_watch,
    streamvitals_watch_async,
)
from ..stream.sse import ByteWatch, MarkWatch
from ..stream.tracebacks import is_foreign
from .closing import Closing
from .replacing import Replacements

_MAX_CLASSES = 64  # classes of streams; httpx has two
_CLOSING = "_streamvitals_closing"  # on a stream, until it is closed


class Bodies:
    """The classes of streams that have a method of ours, which can be removed again."""

    def __init__(self, fault: Callable[[str], None]) -> None:
        self._fault = fault
        self._hooked: set[type] = set()
        self._replaced = Replacements()

    def hook(self, stream: Any, closing: Closing, is_async: bool) -> None:
        """Have reads and the close of this stream pass here. Raises where that is not possible."""
        kind = type(stream)
        if kind not in self._hooked:
            self._patch(kind, is_async)
        stream._streamvitals_closing = closing

    def _patch(self, kind: Any, is_async: bool) -> None:
        if len(self._hooked) >= _MAX_CLASSES:
            raise LookupError("too many classes of streams")
        iterate, close = ("__aiter__", "aclose") if is_async else ("__iter__", "close")
        self._replaced.make(kind, iterate, _reading(getattr(kind, iterate), is_async, self._fault))
        self._replaced.make(kind, close, (_closing_async if is_async else _closing)(getattr(kind, close), self._fault))
        self._hooked.add(kind)

    def remove(self) -> None:
        """Put back what was there."""
        self._replaced.undo()
        self._hooked.clear()


def _reading(original: Callable[[Any], Any], is_async: bool, fault: Callable[[str], None]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def streamvitals_iter(stream: Any) -> Any:
        inner, closing = original(stream), None
        try:
            closing = getattr(stream, _CLOSING, None)
            return inner if closing is None else _read(closing, inner, is_async)
        except Exception as error:
            if is_foreign(error):
                raise
            fault("observe")
            if closing is not None:
                closing.watch, closing.hooked = None, False  # the bytes are not observed
            return inner

    return streamvitals_iter


def _closing(original: Callable[[Any], None], fault: Callable[[str], None]) -> Callable[[Any], None]:
    @functools.wraps(original)
    def streamvitals_close(stream: Any) -> None:
        try:
            _closed(stream, fault)
        finally:
            original(stream)

    return streamvitals_close


def _closing_async(
    original: Callable[[Any], Awaitable[None]], fault: Callable[[str], None]
) -> Callable[[Any], Awaitable[None]]:
    """The async twin."""

    @functools.wraps(original)
    async def streamvitals_close(stream: Any) -> None:
        try:
            _closed(stream, fault)
        finally:
            await original(stream)

    return streamvitals_close


def _closed(stream: Any, fault: Callable[[str], None]) -> None:
    """Take what ``Bodies.hook`` has left on the stream, if anything, and note there that the stream is being closed."""
    try:
        closing = getattr(stream, _CLOSING, None)
        if closing is not None:
            del stream._streamvitals_closing
            closing.noted(sys._getframe(2))
    except AttributeError:
        pass  # another thread has taken it
    except Exception as error:
        if is_foreign(error):
            raise
        fault("observe")


def _read(closing: Closing, inner: Any, is_async: bool) -> Any:
    """Wrap an iterator of bytes; return it unchanged where the Stream that reads it is observed."""
    observation = closing.observation
    if observation.ended:
        return inner
    by_stream = observation.pace.is_blocked()
    if by_stream and closing.tapped:
        return inner
    owned = isinstance(inner, AsyncGenerator)  # a slow check, hence done once
    if by_stream:
        look = MarkWatch(observation, closing.encoding(), time.thread_time).look
        closing.sees_lines = True
        return streamvitals_look_async(inner, look, owned) if is_async else streamvitals_look(inner, look)
    try:
        arrived = _arrived(closing, observation)
    except Exception as error:
        if is_foreign(error):
            raise
        observation.broken()
        arrived = observation.arrived
    generator: Any = (
        streamvitals_watch_async(inner, observation, arrived, owns_inner=owned)
        if is_async
        else streamvitals_watch(inner, observation, arrived)
    )
    closing.add_reader(generator)
    return generator


def _arrived(closing: Closing, observation: Observation) -> Callable[[Any], object]:
    if observation.reader.ends_with_body:
        return observation.arrived
    if closing.watch is None:
        # Where a Stream has read before, these bytes may begin in the middle of an event.
        closing.watch = ByteWatch(observation, closing.encoding(), time.thread_time, begun=bool(observation.chunks))
        closing.sees_lines = True
    watch: ByteWatch = closing.watch
    return watch.arrived


def read_before(response: Any, observation: Observation) -> bool:
    """Read a body here too if code below us (an event hook) has read it whole; return whether so."""
    content = getattr(response, "_content", None)
    if not isinstance(content, bytes):
        return False
    ByteWatch(observation, "", time.thread_time).arrived(content)
    observation.exhausted()
    return True

