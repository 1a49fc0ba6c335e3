"""Learning that the app closed a stream, and that it dropped one.

``Stream.close``, the helpers' own ``close``, ``with`` blocks and ``response.close()`` all meet in the
``close``/``aclose`` of the transport stream that belongs to this one response. The SDK's own generator passes
there too, before our iterator hears of the end or the error; that is not the app's doing.
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
    """Per observation: the generators that read it, and the hooks on its response's close and on its garbage
    collection. Holds neither. ``hooked``: who reads its bytes is seen, and ``watch`` is what looks at them.
    ``tapped``: a decoder tells what the SDK swallows."""

    __slots__ = ("_readers", "_response", "hooked", "observation", "tapped", "watch")

    def __init__(self, observation: Observation, response: Any) -> None:
        self.observation = observation
        self.hooked = False
        self.watch: Any = None
        self._readers: tuple[weakref.ref[Any], ...] = ()
        self.tapped = False
        self._response: Callable[[], Any] = _nothing
        observation.attach(self)
        try:
            # No code of ours runs in the collector's callback, so that no signal handler can come in between.
            self._response = reference = Reference(response, observation.host.append)
            reference.observation = observation
        except TypeError:
            pass  # of a class that cannot be referred to weakly: that it is dropped is not seen

    def hook(self, stream: Any, is_async: bool) -> None:
        """See who closes this stream. Raises where it takes no attribute."""
        if is_async:
            stream.aclose = _AsyncClose(self, stream)
        else:
            stream.close = _Close(self, stream)

    def bytes_received(self) -> int | None:
        """How many bytes the transport has handed over so far, where that is known."""
        return getattr(self._response(), "num_bytes_downloaded", None)

    def encoding(self) -> str:
        """In what encoding the body comes."""
        return content_encoding(self._response())

    def add_reader(self, generator: Any) -> None:
        """This generator reads the response: while it runs, the app is still waiting for a chunk."""
        self._readers = (*self._readers[-3:], weakref.ref(generator))

    def being_read(self) -> bool:
        """Whether somebody is in one of the generators now."""
        return any(_running(reference()) for reference in self._readers)

    def read_by_another(self) -> bool:
        """Whether somebody is half-way through reading it as bytes, and not reading now."""
        return self.watch is not None and any(_suspended(reference()) for reference in self._readers)

    def remove(self) -> None:
        """Nothing of ours is in what the app still has."""

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
            # Somebody else may be blocked in a read: what that reader gets is the end then.
            if not self.being_read():
                because = sys.exc_info()[1]
                raised = error_of_helper(because, sys._getframe(2), self._response())
                observation.closed(raised or because, raised is not None)
        except Exception as error:
            if is_foreign(error):
                raise
            observation.host.fault("observe")

    def _reading(self, frame: FrameType | None) -> FrameType | None:
        """Find the reading generator that the close comes out of; an app's code never runs on top of one.

        It is ours or what that reads from, at the end of the body or on an error; or the SDK's or httpx's, which the
        collector finalizes."""
        ours = [_frame(reference()) for reference in self._readers]
        while frame is not None:
            if frame in ours or (frame.f_code.co_name in _READING and _reads(frame)):
                return frame
            frame = frame.f_back
        return None

    def _unseen(self, frame: FrameType) -> bool:
        """Whether what has been read there, as bytes, has passed nobody of ours."""
        passed = self.observation.chunks or self.watch is not None or self.being_read()
        return not passed and frame.f_code.co_name != "__stream__"

    def _ended_unseen(self, frame: FrameType, error: BaseException | None) -> None:
        """The reading of a body that we could not see has ended. Any exception may be handled further out: it ended
        with the one that came through its frame, or properly."""
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
    """In place of the ``close`` of one transport stream, until it is called."""

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
    """What to close when the collector takes the stream and the SDK's generator at once.

    The generator closes the stream while it is finalized: weak references are dead by then, and the connection must be
    freed all the same. httpx's bound streams hold the transport's own; anything else is held itself, at the price of a
    cycle."""
    return getattr(stream, "_stream", stream)


def _unhook(thing: Any, name: str) -> None:
    """Its class's own method shows again. Deleting is far cheaper than asking for the instance's dict."""
    try:  # noqa: SIM105 - suppress() costs more than the deletion
        delattr(thing, name)
    except AttributeError:
        pass  # somebody else took it away


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
    """Whether such a frame is the SDK's, httpx's or a subclass's; apps have functions of that name, too."""
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
    """Whose stream this is, while it is open."""
    hook = getattr(stream, "aclose" if is_async else "close", None)
    return hook.closing if isinstance(hook, _Close) else None
