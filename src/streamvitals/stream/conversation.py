"""The responses under way on one WebSocket: which message belongs to which, when each begins and how it ends.

    sending    the app asks for a response (``response.create``), which is then pending
    received   ``response.created``: the oldest pending one has begun; if there is none the server begins by itself
               (a turn that it detected itself, a steered successor), and the response begins here
    received   the events of a response, found by its id (Realtime) or its lane (Responses), up to its terminal event
    closed, broken, dropped, unreadable   the end of the socket or of the app's reading: all responses under way end

Between responses nothing is open: an idle socket is no stream. The messages are read as bytes, below every way in which
an app can read them; only the first and the last message of a response are parsed, see messages.py. The wait of a
response is the time that the app was blocked in reads since the response's last event, whatever came for others
meanwhile; ``pace.waiting_since`` is moved forward by the time in which the app did not read.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..outcome import Verdict
from .chunks import KEEP_ALIVES
from .classify import SOCKET_CLOSED, classify_exception
from .events import ResponsesEvents
from .fields import get, text
from .messages import (
    CREATED,
    ENDS,
    STEERING,
    Unreadable,
    is_part,
    kind_of,
    limits_in,
    name_in,
    parse,
    part_of,
)
from .observation import Observation
from .partial import TailReader
from .request import EVENT_STREAM, ResponseFacts
from .tracebacks import is_foreign

# Far more than a server lets run on one connection at once; the oldest makes room.
MAX_UNDER_WAY = 128
_MAX_PAST = 16
# Beginnings of codes of Realtime's errors about messages of the app other than requests for a response.
_NOT_OF_RESPONSES = ("input_audio_buffer", "item_", "session_", "conversation_item", "output_audio_buffer")

Begin = Callable[[str | None, Any, Any], Observation | None]


Method = TypeVar("Method", bound=Callable[..., Any])


def _guarded(method: Method) -> Method:
    """Count a fault of ours instead of raising it, and stop reading the responses that were under way."""

    @functools.wraps(method)
    def guarded(self: Conversation, *args: Any) -> Any:
        try:
            return method(self, *args)
        except Exception as error:
            if is_foreign(error):
                raise
            self._mute_all()

    return cast(Method, guarded)


class _Response:
    """One response. ``lane`` and ``event_id`` come from the request, ``id`` from the answer once it has begun.

    Its events are ``looked_at`` until one contains a token, or all of them where their text is to be ``kept``.
    It holds the conversation, which must be alive when the socket is dropped; an open response is always alive."""

    hooked = sees_lines = True
    __slots__ = (
        "_conversation", "begun", "event_id", "id", "kept", "lane", "looked_at", "observation", "received",
    )

    def __init__(
        self, conversation: Conversation, observation: Observation, lane: str | None, event_id: str | None
    ) -> None:
        self._conversation: Conversation | None = conversation
        self.observation = observation
        self.begun = False
        self.id: str | None = None
        self.lane = lane
        self.event_id = event_id
        self.looked_at = True
        self.kept = isinstance(observation.reader, TailReader)
        self.received = 0
        observation.attach(self)

    def answer(self, unix: float) -> ResponseFacts:
        return ResponseFacts(200, EVENT_STREAM)  # nobody asks: no response has headers of its own

    def bytes_received(self) -> int:
        return self.received

    def read_by_another(self) -> bool:
        return False

    def remove(self) -> None:
        self._conversation = None


class Conversation:
    """The responses of one connection; no method raises. ``model`` is the connection's, if it has one.

    ``begin`` makes the observation of a response from its model, the request's body (None where the body identifies
    nothing), and its fields (None where there was no request); ``fault`` counts a fault of ours."""

    def __init__(
        self, clock: Callable[[], float], begin: Begin, fault: Callable[[str], None], realtime: bool,
        model: str | None = None,
    ) -> None:
        self._clock = clock
        self._begin = begin
        self._fault = fault
        self._realtime = realtime
        self._model = model
        self._under_way: dict[int, _Response] = {}
        self._only: _Response | None = None  # the only response under way, once it has begun
        self._past: deque[str | None] = deque(maxlen=_MAX_PAST)  # ids of responses whose end may still be announced
        self._numbers = itertools.count()
        self._reading: float | None = None
        self._rests_since = clock()
        self._interrupted: Verdict | None = None
        self._closed = False
        self.owner: object | None = None  # for its maker: the object that notices when the app drops the socket

    def opened_again(self) -> None:
        """Note that another socket takes the place of the one that was lost."""
        self._closed = False

    # -- what the app sends

    @_guarded
    def sending(self, message: Any) -> object:
        """Note that a message is about to be sent; return the argument for ``not_sent``."""
        if not isinstance(message, (str, bytes)) or kind_of(message) not in ("response.create", None):
            return None
        try:
            body = parse(message)
        except Unreadable:
            return None
        if body.get("type") != "response.create":
            return None
        model = self._model if self._realtime else text(body.get("model"))
        lane = None if self._realtime else text(body.get("stream_id"))
        # On Realtime the input was sent in earlier messages, so the body identifies no request.
        identifying, fields = (None, body.get("response")) if self._realtime else (body, body)
        return self._add(model, identifying, lane, text(body.get("event_id")), fields)

    @_guarded
    def not_sent(self, response: object, error: BaseException) -> None:
        """Note that the message could not be sent."""
        if type(error).__name__ in SOCKET_CLOSED:
            self.broken(error)
        elif isinstance(response, _Response) and isinstance(error, Exception):
            # It was not a valid message: nothing has started.
            self._forget(response)
            response.observation.discard()

    def _add(
        self, model: str | None, body: Any, lane: str | None, event_id: str | None = None, fields: Any = None
    ) -> _Response | None:
        for other in self._responses():
            if other.begun and other.observation.in_band_verdict is not None:
                self._end(other)  # there was an error event, and then nothing more
        observation = self._begin(model, body, fields)
        if observation is None:
            return None
        if self._reading is None:
            observation.pace.wait_from(self._rests_since)
            observation.pace.rest(observation.started)
        response = _Response(self, observation, lane, event_id)
        self._under_way[next(self._numbers)] = response
        self._only = None
        while len(self._under_way) > MAX_UNDER_WAY:
            oldest = self._responses()[0]
            self._forget(oldest)
            oldest.observation.left_open(oldest.observation.drop_verdict())
        return response

    # -- what the app reads

    def asking(self) -> None:
        """Note that the app asks for the next message."""
        try:
            if self._reading is not None:
                return  # another thread or task is reading; the library will raise
            now = self._reading = self._clock()
            slept = now - self._rests_since
            only = self._only
            for response in self._responses() if only is None else (only,):
                observation = response.observation
                observation.pace.ask(observation.pace.waiting_since + slept)
                verdict = observation.in_band_verdict
                if verdict is not None and verdict is self._interrupted:
                    observation.in_band(None)
        except Exception as error:
            if is_foreign(error):
                raise
            self._mute_all()

    def received(self, message: Any) -> None:
        """Note that the next message has come."""
        try:
            only = self._only
            if only is not None and type(message) is bytes and not only.looked_at:
                part = part_of(message)
                if part is not None:
                    # The common case: one more event of the only response under way.
                    self._reading = None
                    self._rests_since = self._clock()
                    self._arrived(only, part, len(message))
                    return
            self._rest(self._clock())
            self._read(message if isinstance(message, bytes) else message.encode())
        except Unreadable as error:
            # If the app parses messages itself we cannot see whether it can read them.
            self._note(classify_exception(error, headers_received=True))
        except Exception as error:
            if is_foreign(error):
                raise
            self._mute_all()

    def _read(self, raw: bytes) -> None:
        kind = kind_of(raw)
        if kind is None or kind in ENDS or kind in _PARSED:
            self._event(parse(raw), len(raw))
        elif self._under_way and is_part(kind):
            response = self._owner(raw)
            if response is not None:
                event = parse(raw) if response.looked_at else {"type": kind}
                self._arrived(response, event, len(raw))
        elif kind in KEEP_ALIVES:
            for response in self._responses():
                response.observation.kept_alive()

    @_guarded
    def read_failed(self, error: BaseException) -> None:
        """Note that a read got nothing: the socket is closed, or the read was given up, which loses no message."""
        name = type(error).__name__
        if name in SOCKET_CLOSED:
            self.broken(error)
        elif name != "ConcurrencyError":
            self._rest(self._clock())
            if not isinstance(error, (Exception, GeneratorExit)):
                self._interrupt(classify_exception(error, headers_received=True))

    def _rest(self, now: float) -> None:
        self._reading = None
        self._rests_since = now
        for response in self._responses():
            response.observation.pace.rest(now)

    def _interrupt(self, verdict: Verdict) -> None:
        """Set the verdict for the responses under way; it is final unless the app reads on."""
        self._interrupted = verdict
        for response in self._responses():
            if response.observation.in_band_verdict is None:
                response.observation.in_band(verdict)

    # -- the events

    def _event(self, event: dict[str, Any], size: int) -> None:
        kind = event.get("type")
        if not isinstance(kind, str):
            return
        if kind == "error":
            self._error(event, size)
        elif kind in _SESSION:
            self._model = self._model or text(get(event.get("session"), "model"))
        elif kind == "rate_limits.updated":
            for response in self._responses():
                response.observation.attempts.limited(limits_in(event))
        elif kind == CREATED:
            self._created(event, size)
        elif kind.startswith("response.") and not kind.startswith(STEERING):
            ends = kind in ENDS
            owner = self._owner_of(event)
            if owner is None and ends and text(get(event.get("response"), "id")) not in self._past:
                owner = self._pending(event)
            if owner is not None:
                self._arrived(owner, event, size)
                if ends:
                    self._end(owner)

    def _created(self, event: dict[str, Any], size: int) -> None:
        body = event.get("response")
        known = self._owner_of(event, strict=True)
        if known is not None:
            # A lane begins another response although no event has reported the end of its last one.
            self._end(known)
        pending = self._pending(event)
        begun = pending or self._add(self._model or text(get(body, "model")), None, text(event.get("stream_id")))
        if begun is not None:
            begun.begun = True
            begun.id = text(get(body, "id"))
            self._forget()
            self._arrived(begun, event, size)
            if pending is None:
                begun.observation.begun_by_server()

    def _error(self, event: dict[str, Any], size: int) -> None:
        problem = event.get("error")
        cause = text(get(problem, "event_id")) if self._realtime else None
        response = self._pending(event)
        if cause is not None:
            response = next((r for r in self._responses() if r.event_id == cause), None)
            if response is None or response.begun:
                return  # an error about something else that the app has sent
        elif self._realtime and (text(get(problem, "code")) or "").startswith(_NOT_OF_RESPONSES):
            return
        if response is None and not self._realtime:
            response = self._owner_of(event)
        if response is not None:
            self._arrived(response, event, size)
            self._end(response)
        elif self._realtime and get(problem, "type") != "invalid_request_error":
            # Responses survive most errors: this one ends only those that get no further event.
            reader = ResponsesEvents()
            reader.read(event)
            self._note(reader.marker())

    def _note(self, verdict: Verdict | None) -> None:
        """Set the verdict for responses that get no further event."""
        for response in self._responses():
            response.observation.in_band(verdict)

    def _owner(self, raw: bytes) -> _Response | None:
        """The response that an event belongs to; the event is parsed no further than necessary."""
        begun = [response for response in self._responses() if response.begun]
        if len(begun) <= 1:
            return begun[0] if begun else None
        if self._realtime:
            name = name_in(raw, "response_id")
            return next((r for r in begun if r.id == name), None)
        name = name_in(raw, "stream_id")
        return next((r for r in begun if r.lane == name), None)

    def _owner_of(self, event: dict[str, Any], strict: bool = False) -> _Response | None:
        """The response that a parsed event belongs to. A single response under way needs no id, unless ``strict``."""
        begun = [response for response in self._responses() if response.begun]
        if self._realtime:
            name = text(event.get("response_id")) or text(get(event.get("response"), "id"))
            found = next((r for r in begun if r.id == name), None)
        else:
            name = text(event.get("stream_id"))
            found = next((r for r in begun if r.lane == name), None)
        return begun[0] if found is None and name is None and len(begun) == 1 and not strict else found

    def _pending(self, event: dict[str, Any]) -> _Response | None:
        """The oldest request that this event can be the answer to."""
        pending = [response for response in self._responses() if not response.begun]
        lane = None if self._realtime else text(event.get("stream_id"))
        found = next((r for r in pending if r.lane == lane), None)
        return pending[0] if found is None and lane is None and len(pending) == 1 else found

    def _arrived(self, response: _Response, item: Any, size: int) -> None:
        observation = response.observation
        response.received += size
        if observation.in_band_verdict is not None:
            observation.in_band(None)
        if response.looked_at and not response.kept:
            response.looked_at = not observation.reader.has_token(item)
        observation.arrived(item)
        observation.pace.wait_from(self._rests_since)

    # -- the ends

    @_guarded
    def broken(self, error: BaseException) -> None:
        """Note that the socket is closed: a read or a send has raised ``error``."""
        for observation in self._all_end():
            if type(error).__name__ == "ConnectionClosedOK" and not self._closed:
                observation.exhausted()
            else:
                if self._closed:
                    observation.app_closes()
                observation.failed(error)

    @_guarded
    def unreadable(self, error: BaseException) -> None:
        """Note that the SDK could not parse a message and has raised ``error``."""
        for observation in self._all_end():
            observation.failed(error)

    @_guarded
    def closed(self, because: BaseException | None) -> None:
        """Note that the app closes the socket; ``because`` is the exception that it is handling."""
        self._closed = True
        for observation in self._all_end():
            observation.closed(because)

    def dropped(self, reference: object = None) -> None:
        """Note that the app has dropped the socket, so nothing can be read any more. For finalizers: only defers."""
        for response in self._responses():
            response.observation.dropped()

    def _all_end(self) -> list[Observation]:
        now = self._clock()
        ending = [response.observation for response in self._responses()]
        self._past.extend(response.id for response in self._responses())
        self._under_way.clear()
        self._only = None
        if self._reading is None:
            for observation in ending:
                observation.pace.wait_from(observation.pace.waiting_since + now - self._rests_since)
        self._reading = None
        self._rests_since = now
        return [observation for observation in ending if not observation.ended]

    def _end(self, response: _Response) -> None:
        self._forget(response)
        response.observation.pace.wait_from(self._clock())
        response.observation.exhausted()

    def _responses(self) -> list[_Response]:
        return list(self._under_way.values())

    def _forget(self, gone: _Response | None = None) -> None:
        """Remove this response, and those that have ended elsewhere: no events of them are expected any more."""
        for number, response in list(self._under_way.items()):
            if response is gone or response.observation.ended:
                self._under_way.pop(number, None)
                self._past.append(response.id)
        left = self._responses()
        self._only = left[0] if len(left) == 1 and left[0].begun else None

    def _mute_all(self) -> None:
        under_way = self._responses()
        for response in under_way:
            response.observation.broken()
        if not under_way:
            self._fault("observe")


_SESSION = frozenset({"session.created", "session.updated"})
_PARSED = frozenset({CREATED, "error", "rate_limits.updated", *_SESSION})
