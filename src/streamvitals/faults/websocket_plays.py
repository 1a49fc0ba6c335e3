"""The WebSocket surfaces: Responses and Realtime, one answer after another or several at once on one connection.

Scenarios are chosen per response by ``sv_scenario`` or the model of a ``response.create``, on Realtime also by its
metadata or by the model in the connection's URL. What needs HTTP (statuses, content types) cannot be had here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from . import events_responses
from .ask import Ask
from .payloads import Json, dumps
from .script import Script, played_on
from .steps import End, Ending, Pause, Play, Send, Steps
from .surfaces import Surface

RESPONSES = Surface(
    "responses-ws", events_responses.token, events_responses.ending, events_responses.socket_error,
    events_responses.whole, events_responses.opening, dumps, ends=events_responses.ENDS,
)
REALTIME = Surface(
    "realtime", events_responses.realtime_token, events_responses.realtime_ending, events_responses.socket_error,
    events_responses.whole, events_responses.realtime_opening, dumps, ends=events_responses.ENDS,
)
WEBSOCKETS = (RESPONSES, REALTIME)
INTERNAL_ERROR = 1011  # https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
_HALF_A_FRAME = b"\x81\x7e\x10\x00" + b'{"type":"response.output_text.del'


def surface_of(path: str) -> Surface | None:
    """The surface that is served at a path."""
    last = path.partition("?")[0].rsplit("/", 1)[-1]
    return {"responses": RESPONSES, "realtime": REALTIME}.get(last)


def _play(body: Play, end: Ending = "complete", code: int | None = None) -> Play:
    """The body with the pauses that were asked for, and what then becomes of the connection."""

    def play(ask: Ask) -> Steps:
        yield Pause(ask.params.delay)
        gap = ask.params.first
        for step in body(ask):
            if isinstance(step, Send) and step.what != "other":
                yield Pause(gap)
                gap = ask.params.gap
            yield step
        if end == "reset":
            yield Pause(ask.params.grace)
        yield End(end, ask.params.code if code is None else code)

    return play


def _nothing(ask: Ask) -> Steps:
    return iter(())


def _silent_first(body: Play) -> Play:
    def play(ask: Ask) -> Steps:
        yield Pause(ask.params.stall)
        yield from body(ask)

    return play


def _then(body: Play, last: Send) -> Play:
    def play(ask: Ask) -> Steps:
        yield from body(ask)
        yield last

    return play


def plays_of(surface: Surface) -> Mapping[str, Play]:
    """Every scenario that one response can play."""
    fine, cut = surface.ending_in("completed"), surface.cut()
    failure = Send(surface.fail("server_error", "server_error"), "chunk")
    limit = Send(surface.fail("tokens", "rate_limit_exceeded"), "chunk")
    return {
        "ok": _play(fine),
        **{how.replace("_", "-"): _play(surface.ending_in(how)) for how in surface.ends if how != "completed"},
        "stall-then-fine": _play(surface.stalling),
        "stall": _play(surface.stalling),
        "stall-before-first": _play(_silent_first(fine)),
        "silent-cut": _play(cut, "close"),
        "closed-1011": _play(cut, "close", INTERNAL_ERROR),
        "empty-stream": _play(_nothing, "close"),
        "fin-in-chunk": _play(_then(cut, Send(_HALF_A_FRAME, framed=False)), "fin"),
        "fin-at-boundary": _play(cut, "fin"),
        "reset-after-n": _play(cut, "reset"),
        "reset-before-first-chunk": _play(_nothing, "reset"),
        "broken-json": _play(surface.cut(b'{"type": }')),
        "error-event": _play(_then(cut, failure)),
        "error-event-first": _play(_then(_nothing, failure)),
        "error-event-rate-limit": _play(_then(_nothing, limit)),
    }


_PLAYS = {surface.name: plays_of(surface) for surface in WEBSOCKETS}


def ask_of(surface: Surface, message: Json, url: str, script: Script) -> Ask:
    """What a message asks for; raises BadAsk."""
    response = message.get("response")
    fields = response if isinstance(response, dict) else {}
    metadata = fields.get("metadata")
    query = dict(parse_qsl(url.partition("?")[2]))
    model = str(message.get("model") or query.get("model") or "")
    named = metadata.get("sv_scenario") if isinstance(metadata, dict) else None
    scenario, params, chosen = script.choose(str(message.get("sv_scenario") or named or ""), model, "ok")
    ask = Ask(scenario, params, (model or "streamvitals-model")[:200], chosen=chosen)
    return played_on(ask, _PLAYS[surface.name], surface.name)


def answer(surface: Surface, ask: Ask) -> Steps:
    """Return the steps of the answer."""
    return _PLAYS[surface.name][ask.scenario](ask)


def parse(data: bytes) -> Json:
    """A client's message; {} for what is none."""
    try:
        message: Any = json.loads(data)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def named(step: Send, number: int, stream_id: str | None) -> Send:
    """The same event as the ``number``-th response of a connection sends it, with its own id and lane."""
    data = step.data.replace(events_responses.ID.encode(), b"%b_%d" % (events_responses.ID.encode(), number))
    if stream_id is not None and step.framed and data.endswith(b"}"):
        data = b'%b,"stream_id":%b}' % (data[:-1], json.dumps(stream_id).encode())
    return replace(step, data=data)
