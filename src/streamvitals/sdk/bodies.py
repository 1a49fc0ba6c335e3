"""Observes the bytes of a body where httpx reads them: all reads below the SDK's Stream pass there.

``response.iter_lines()``, ``iter_bytes()``, ``read()``, ``Stream._iter_events()`` and ``for part in response.stream``
all iterate ``response.stream``. Python looks up iteration on the class, so the class gets a method of ours, once, that
does nothing for any other response. The stream object itself is not replaced.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncGenerator, Callable
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
from .closing import Closing, closing_of
from .replacing import Replacements

_MAX_CLASSES = 64  # classes of streams; httpx has two


class Bodies:
    """The classes of streams that have a method of ours, which can be removed again."""

    def __init__(self, fault: Callable[[str], None]) -> None:
        self._fault = fault
        self._hooked: set[type] = set()
        self._replaced = Replacements()

    def hook(self, stream: Any, is_async: bool) -> None:
        """Patch the class of this stream, so that reads pass here. Raises where that is not possible."""
        kind = type(stream)
        if kind in self._hooked:
            return
        if len(self._hooked) >= _MAX_CLASSES:
            raise LookupError("too many classes of streams")
        name = "__aiter__" if is_async else "__iter__"
        self._replaced.make(kind, name, _reading(getattr(kind, name), is_async, self._fault))
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
            closing = closing_of(stream, is_async)
            return inner if closing is None else _read(closing, inner, is_async)
        except Exception as error:
            if is_foreign(error):
                raise
            fault("observe")
            if closing is not None:
                closing.watch, closing.hooked = None, False  # the bytes are not observed
            return inner

    return streamvitals_iter


def _read(closing: Closing, inner: Any, is_async: bool) -> Any:
    """Wrap an iterator of bytes; return it unchanged where the Stream that reads it is observed."""
    observation = closing.observation
    if observation.ended:
        return inner
    being_read = closing.being_read()
    if being_read and closing.tapped:
        return inner
    owned = isinstance(inner, AsyncGenerator)  # a slow check, hence done once
    if being_read:
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

