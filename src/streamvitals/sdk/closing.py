"""Notices that the app closes a stream, or drops one.

``Stream.close``, the helpers' own ``close``, ``with`` blocks and ``response.close()`` all call the
``close``/``aclose`` of the transport stream that belongs to this one response, where bodies.py sees it. The SDK's own
generator calls it too, before our iterator gets the end or the error; that is not a close by the app.
"""

from __future__ import annotations

import sys
import weakref
from types import FrameType
from typing import Any

from ..stream.ending import Reference
from ..stream.observation import Observation
from ..stream.observe import (
    streamvitals_observe,
    streamvitals_observe_async,
    streamvitals_watch,
    streamvitals_watch_async,
)
from ..stream.request import EVENT_STREAM, ResponseFacts
from ..stream.tracebacks import is_foreign
from .facts import content_encoding, response_facts
from .helpers import error_of_helper
from .openai_sdk import OPENAI


class Closing(Reference):
    """The hooks of one observation: on its response's close and garbage collection, and the readers of its bytes.

    It is itself the weak reference to the response, whose ``headers`` and ``status`` it keeps, and holds no generator.
    ``hooked``: reads of the bytes are seen, and ``watch`` reads the bytes. ``tapped``: a decoder reports what the SDK
    drops. ``sees_lines``: one of them, or another, sees comments."""

    __slots__ = ("_readers", "headers", "hooked", "sees_lines", "status", "tapped", "watch")

    hooked: bool
    watch: Any
    tapped: bool
    sees_lines: bool
    headers: Any
    status: int
    _readers: tuple[weakref.ref[Any], ...]

    def answer(self, unix: float) -> ResponseFacts:
        """Read the headers of the response, which came at ``unix``."""
        if self.headers is not None:
            try:
                return response_facts(self.status, self.headers, unix)
            except Exception as error:
                if is_foreign(error):
                    raise
                self.observation.host.fault("observe")
        return ResponseFacts(200, EVENT_STREAM)

    def bytes_received(self) -> int | None:
        """How many bytes the transport has delivered so far; None where that is not known."""
        return getattr(self(), "num_bytes_downloaded", None)

    def encoding(self) -> str:
        """The content encoding of the body."""
        return content_encoding(self())

    def add_reader(self, generator: Any) -> None:
        """Add a generator that reads the response as bytes."""
        self._readers = (*self._readers[-3:], weakref.ref(generator))

    def read_by_another(self) -> bool:
        """Whether a reader has begun to read the response as bytes, has not finished, and is not reading right now."""
        return self.watch is not None and any(_suspended(reference()) for reference in self._readers)

    def remove(self) -> None:
        """Remove everything of ours from the objects that the app still holds."""

    def noted(self, caller: FrameType) -> None:
        """Note that the code in this frame closes the stream of the response."""
        observation = self.observation
        try:
            if observation.ended:
                return
            reading = self._reading(caller)
            if reading is not None:
                if self._unseen(reading):
                    self._ended_unseen(reading, sys.exc_info()[1])
                return
            observation.app_closes()
            # Another thread or task may be blocked in a read: the stream then ends with what that read gets.
            if not observation.pace.is_blocked():
                because = sys.exc_info()[1]
                raised = error_of_helper(because, caller, self())
                observation.closed(raised or because, raised is not None)
        except Exception as error:
            if is_foreign(error):
                raise
            observation.host.fault("observe")

    def _reading(self, caller: FrameType) -> FrameType | None:
        """Find the reading generator that calls the close.

        The app's code runs inside one only where a signal handler or a finalizer closes another stream. At the end of
        the body or on an error it is our generator or the one that ours reads from; in garbage collection it is the
        SDK's or httpx's, being finalized."""
        # What calls a response's close itself closes what it reads; to read a frame's variables takes long.
        direct = caller.f_back if _library(caller.f_globals.get("__name__")) else None
        if direct is not None and direct.f_code.co_name == _DRAINING:
            direct = direct.f_back
        frame: FrameType | None = caller
        while frame is not None:
            if frame.f_code in _OURS:
                if frame.f_locals["observation"] is self.observation:
                    return frame
            elif frame.f_code.co_name in _READING and _reads(frame) and (
                frame is direct or self._is_read_by(frame)
            ):
                return frame
            frame = frame.f_back
        return None

    def _is_read_by(self, frame: FrameType) -> bool:
        """Whether this generator of a Stream or a response reads our response; so it is taken where that is gone."""
        response, code = self(), frame.f_code
        reader = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        read = getattr(reader, "response", None) if code.co_name == "__stream__" else reader
        return response is None or read is None or read is response

    def _unseen(self, frame: FrameType) -> bool:
        """Whether the bytes that were read in this frame have not passed through any code of ours."""
        observation = self.observation
        passed = observation.chunks or self.watch is not None or observation.pace.is_blocked()
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


def closing_of(response: Any, observation: Observation) -> Closing:
    """Make the hooks of an observation on the response that it has got."""
    try:
        # No Python code of ours runs in the collector's callback, so no signal handler can interrupt it.
        closing = Closing(response, observation.host.append)
    except TypeError:
        closing = Closing(Closing)  # the response's class allows no weak reference: we do not see when it is dropped
    closing.observation = observation
    closing.status, closing.headers = 200, None
    closing.hooked = closing.tapped = closing.sees_lines = False
    closing.watch, closing._readers = None, ()
    observation.attach(closing)
    return closing


def _suspended(generator: Any) -> bool:
    frame = getattr(generator, "gi_frame", None) or getattr(generator, "ag_frame", None)
    running = getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False)
    return frame is not None and not running


_OURS = frozenset(
    generator.__code__
    for generator in (
        streamvitals_observe, streamvitals_observe_async, streamvitals_watch, streamvitals_watch_async,
    )
)
_DRAINING = "drain_response_async"  # the SDK's, between the reading generator and the close
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
