"""Notices that the app closes a stream, or drops one.

``Stream.close``, the helpers' own ``close``, ``with`` blocks and ``response.close()`` all call the
``close``/``aclose`` of the transport stream that belongs to this one response. The SDK's own generator calls it
too, before our iterator gets the end or the error; that is not a close by the app.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..stream.ending import Reference
from ..stream.observation import Observation
from ..stream.tracebacks import is_foreign
from .facts import content_encoding
from .helpers import error_of_helper
from .openai_sdk import OPENAI


class Closing:
    """The hooks of one observation: on its response's close and garbage collection, and the generators that read it.

    Holds neither the response nor the generators. ``hooked``: reads of the bytes are seen, and ``watch`` reads the
    bytes. ``tapped``: a decoder reports what the SDK drops. ``sees_lines``: one of them, or another, sees comments."""

    __slots__ = ("_readers", "_response", "hooked", "observation", "sees_lines", "tapped", "watch")

    def __init__(self, observation: Observation, response: Any) -> None:
        self.observation = observation
        self.hooked = False
        self.watch: Any = None
        self._readers: tuple[weakref.ref[Any], ...] = ()
        self.tapped = False
        self.sees_lines = False
        self._response: Callable[[], Any] = _nothing
        observation.attach(self)
        try:
            # No Python code of ours runs in the collector's callback, so no signal handler can interrupt it.
            self._response = reference = Reference(response, observation.host.append)
            reference.observation = observation
        except TypeError:
            pass  # its class allows no weak reference: we do not see when it is dropped

    def hook(self, stream: Any, is_async: bool) -> None:
        """Hook the close of this stream. Raises where its class allows no new attribute."""
        if is_async:
            stream.aclose = _AsyncClose(self, stream)
        else:
            stream.close = _Close(self, stream)

    def bytes_received(self) -> int | None:
        """How many bytes the transport has delivered so far; None where that is not known."""
        return getattr(self._response(), "num_bytes_downloaded", None)

    def encoding(self) -> str:
        """The content encoding of the body."""
        return content_encoding(self._response())

    def add_reader(self, generator: Any) -> None:
        """Add a generator that reads the response: while it runs, the app is waiting for a chunk."""
        self._readers = (*self._readers[-3:], weakref.ref(generator))

    def being_read(self) -> bool:
        """Whether one of the generators is running now."""
        return any(_running(reference()) for reference in self._readers)

    def read_by_another(self) -> bool:
        """Whether a reader has begun to read the response as bytes, has not finished, and is not reading right now."""
        return self.watch is not None and any(_suspended(reference()) for reference in self._readers)

    def remove(self) -> None:
        """Remove everything of ours from the objects that the app still holds."""

    def noted(self, stream: Any, name: str) -> None:
        observation = self.observation
        try:
            if stream is not None:
                _unhook(stream, name)
            if observation.ended:
                return
            reading = self._reading(sys._getframe(2))
            if reading is not None:
                if self._unseen(reading):
                    self._ended_unseen(reading, sys.exc_info()[1])
                return
            observation.app_closes()
            # Another thread or task may be blocked in a read: the stream then ends with what that read gets.
            if not self.being_read():
                because = sys.exc_info()[1]
                raised = error_of_helper(because, sys._getframe(2), self._response())
                observation.closed(raised or because, raised is not None)
        except Exception as error:
            if is_foreign(error):
                raise
            observation.host.fault("observe")

    def _reading(self, frame: FrameType | None) -> FrameType | None:
        """Find the reading generator that calls the close; the app's code never runs inside one.

        At the end of the body or on an error it is our generator or the one that ours reads from; in garbage collection
        it is the SDK's or httpx's, being finalized."""
        ours = [_frame(reference()) for reference in self._readers]
        while frame is not None:
            if frame in ours or (frame.f_code.co_name in _READING and _reads(frame)):
                return frame
            frame = frame.f_back
        return None

    def _unseen(self, frame: FrameType) -> bool:
        """Whether the bytes that were read in this frame have not passed through any code of ours."""
        passed = self.observation.chunks or self.watch is not None or self.being_read()
        return not passed and frame.f_code.co_name != "__stream__"

    def _ended_unseen(self, frame: FrameType, error: BaseException | None) -> None:
        """Note the end of a read that we could not see.

        The exception that is being handled may come from elsewhere: the read ended with it only if it passed through
        the read's frame, and else properly."""
        observation = self.observation
        observation.mute("unread_body")
        trace = error.__traceback__ if error is not None else None
        while trace is not None and trace.tb_frame is not frame:
            trace = trace.tb_next
        if error is None or trace is None:
            observation.exhausted()
        elif isinstance(error, GeneratorExit):
            observation.dropped()
        else:
            observation.failed(error)


class _Close:
    """Replaces the ``close`` of one transport stream until it is called."""

    __slots__ = ("_inner", "_owner", "closing")

    def __init__(self, closing: Closing, stream: Any) -> None:
        self.closing = closing
        self._owner = weakref.ref(stream)
        self._inner = _inner(stream)

    def __call__(self) -> None:
        target = self._owner()
        try:
            self.closing.noted(target, "close")
        finally:
            if target is not None:
                type(target).close(target)
            else:
                self._inner.close()


class _AsyncClose(_Close):
    """The async twin."""

    __slots__ = ()

    async def __call__(self) -> None:  # type: ignore[override]
        target = self._owner()
        try:
            self.closing.noted(target, "aclose")
        finally:
            if target is not None:
                await type(target).aclose(target)
            else:
                await self._inner.aclose()


def _inner(stream: Any) -> Any:
    """What to close when the garbage collector takes the stream and the SDK's generator together.

    The generator closes the stream while it is finalized: weak references are dead by then, and the connection must be
    freed all the same. For httpx's bound streams this is the transport's stream inside; any other stream is held
    itself, at the price of a reference cycle."""
    return getattr(stream, "_stream", stream)


def _unhook(thing: Any, name: str) -> None:
    """Delete our attribute, so that the class's own method is used again; cheaper than reading the instance's dict."""
    try:  # noqa: SIM105 - suppress() costs more than the deletion
        delattr(thing, name)
    except AttributeError:
        pass  # other code has removed it


def _nothing() -> None:
    return None


def _running(generator: Any) -> bool:
    return bool(getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False))


def _frame(generator: Any) -> FrameType | None:
    return getattr(generator, "gi_frame", None) or getattr(generator, "ag_frame", None)


def _suspended(generator: Any) -> bool:
    return _frame(generator) is not None and not _running(generator)


_READING = frozenset({"__stream__", "iter_raw", "aiter_raw"})
_LIBRARIES = frozenset({OPENAI.package, "httpx", "httpx2"})


def _reads(frame: FrameType) -> bool:
    """Whether a frame of that name is the SDK's, httpx's or a subclass's; apps have functions of that name, too."""
    if _library(frame.f_globals.get("__name__")):
        return True
    code = frame.f_code
    if not code.co_argcount:
        return False
    kinds = type(frame.f_locals.get(code.co_varnames[0])).__mro__
    overridden = any(getattr(vars(kind).get(code.co_name), "__code__", None) is code for kind in kinds)
    return overridden and any(code.co_name in vars(kind) and _library(kind.__module__) for kind in kinds)


def _library(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _LIBRARIES


def closing_of(stream: Any, is_async: bool) -> Closing | None:
    """The ``Closing`` that this stream belongs to, while it is open."""
    hook = getattr(stream, "aclose" if is_async else "close", None)
    return hook.closing if isinstance(hook, _Close) else None
