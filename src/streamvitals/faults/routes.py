"""Finds which surface a request is for, and which scenario it asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from . import events_agents, events_assistants, events_media, events_responses
from .ask import Ask, BadAsk, parse_spec
from .payloads import CREATED, DONE, ID, Json, dumps, piece, sse, usage
from .plays import answers_whole, page
from .script import Script, played_on
from .steps import Play, Steps
from .surfaces import Surface, plays_of, speech_plays
from .wire import Request


def _completion(ask: Ask, text: str, finish: str | None, **more: object) -> Json:
    one = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    head = {"id": ID, "object": "text_completion", "created": CREATED, "model": ask.model}
    return {**head, "choices": [one], **more}


def _completion_end(ask: Ask, how: str) -> Any:
    yield _completion(ask, "", "stop" if how == "completed" else how)
    if ask.include_usage:
        yield {**_completion(ask, "", None), "choices": [], "usage": usage(ask.params.chunks)}


RESPONSES = Surface(
    "responses", events_responses.token, events_responses.ending, events_responses.error, events_responses.whole,
    events_responses.opening, ends=events_responses.ENDS,
)
COMPLETIONS = Surface(
    "completions",
    token=lambda ask, number: _completion(ask, piece(ask.params, number), None),
    ending=_completion_end,
    error=lambda type_, code: {"error": {"message": "injected error event", "type": type_, "code": code}},
    non_streaming_body=lambda ask: _completion(ask, "token ", "stop", usage=usage(ask.params.chunks)),
    encode=sse,
    done=DONE,
    ends=("completed", "length", "content_filter"),
)
RUNS = Surface(
    "runs", events_assistants.token, events_assistants.ending, events_assistants.error, events_assistants.whole,
    events_assistants.opening, events_assistants.encode, b"event: done\ndata: [DONE]\n\n", events_assistants.ENDS,
)
IMAGES = Surface(
    "images", events_media.partial_image, events_media.image_done, events_media.error, events_media.image_whole
)
TRANSCRIPTIONS = Surface(
    "transcriptions", events_media.transcript_delta, events_media.transcript_done, events_media.error,
    events_media.transcript_whole, encode=sse, done=DONE,
)
SPEECH_EVENTS = Surface(
    "speech-events", events_media.speech_delta, events_media.speech_done, events_media.error,
    events_media.transcript_whole, encode=sse,
)
AGENTS = Surface(
    "agents", events_agents.token, events_agents.ending, events_agents.error, events_agents.whole,
    events_agents.opening, ends=events_agents.ENDS,
)
SURFACES = (RESPONSES, COMPLETIONS, RUNS, IMAGES, TRANSCRIPTIONS, SPEECH_EVENTS, AGENTS)


class Route(NamedTuple):
    surface: Surface
    plays: Mapping[str, Play]
    method: str
    path: re.Pattern[str]
    kind: str = ""
    streams: bool = False  # always, without being asked


def _route(surface: Surface, method: str, path: str, kind: str = "", streams: bool = False) -> Route:
    return Route(surface, plays_of(surface), method, re.compile(path), kind, streams)


_SPEECH = Route(SPEECH_EVENTS, speech_plays(), "POST", re.compile(".*/audio/speech"), "speech", True)
_ROUTES = (
    _route(RESPONSES, "POST", ".*/responses"),
    _route(RESPONSES, "GET", ".*/responses/([^/]+)"),
    _route(COMPLETIONS, "POST", ".*(?<!/chat)/completions"),
    _route(RUNS, "POST", ".*/threads/runs"),
    _route(RUNS, "POST", ".*/threads/([^/]+)/runs"),
    _route(RUNS, "POST", ".*/threads/([^/]+)/runs/[^/]+/submit_tool_outputs"),
    _route(IMAGES, "POST", ".*/images/generations", "image_generation"),
    _route(IMAGES, "POST", ".*/images/(?:edits|variations)", "image_edit"),
    _route(TRANSCRIPTIONS, "POST", ".*/audio/(?:transcriptions|translations)"),
    _route(SPEECH_EVENTS, "POST", ".*/audio/speech", "events", True),
    _route(AGENTS, "GET", ".*/agents/sessions/([^/]+)/events", streams=True),
    _route(AGENTS, "POST", ".*/agents/sessions"),
)


def find(request: Request, script: Script) -> tuple[Route, Ask] | None:
    """Return the route and the ask of a request to one of these surfaces; raise BadAsk."""
    path = request.path.partition("?")[0]
    for route in _ROUTES:
        matched = route.path.fullmatch(path) if request.method == route.method else None
        if matched is not None:
            asked = _fields(request)
            if route.kind == "events" and asked.get("stream_format") != "sse":
                route = _SPEECH
            ask = _ask(asked, route, matched.group(1) if matched.groups() else "", script)
            return route, played_on(ask, route.plays, route.surface.name)
    return None


def answer(route: Route, ask: Ask) -> Steps:
    """Return the steps of the answer."""
    if answers_whole(ask):
        return page(200, "application/json", dumps(route.surface.non_streaming_body(ask)))
    return route.plays[ask.scenario](ask)


def session_of(request: Request) -> Steps | None:
    """Answer what an agent session's helper asks beside its events: the session, and taking its input."""
    path = request.path.partition("?")[0]
    if request.method == "GET" and re.fullmatch(".*/agents/sessions/[^/]+", path):
        ask = Ask(*parse_spec("ok"), model="ok")
        return page(200, "application/json", dumps(events_agents.session(ask, "idle")))
    if request.method == "POST" and re.fullmatch(".*/agents/sessions/[^/]+/events", path):
        return page(202, "application/json", b"")
    return None


def _ask(asked: Mapping[str, Any], route: Route, name: str, script: Script) -> Ask:
    agent = asked.get("agent")
    model = str(asked.get("model") or (agent.get("model") if isinstance(agent, dict) else "") or "")
    scenario, params, chosen = script.choose(str(asked.get("sv_scenario") or ""), model, unquote(name) or "ok")
    options = asked.get("stream_options")
    return Ask(
        scenario,
        params,
        (model or "streamvitals-model")[:200],
        stream=route.streams or asked.get("stream") in (True, "true", "True"),
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        background=asked.get("background") in (True, "true"),
        kind=route.kind,
        chosen=chosen,
    )


def _fields(request: Request) -> dict[str, Any]:
    """The request's fields: from the body (JSON or a form), the query or the header `sv-scenario`."""
    found: dict[str, Any] = dict(parse_qsl(request.path.partition("?")[2], keep_blank_values=True))
    if "sv-scenario" in request.headers:
        found["sv_scenario"] = request.headers["sv-scenario"]
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        found.update(_form(request.body))
    elif request.body:
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise BadAsk("the body of the request is not a JSON object")
        found.update(body)
    return found


_FIELD = re.compile(rb'name="(\w+)"(?:\r\n[^\r\n]+)*\r\n\r\n([^\r\n]*)\r\n')


def _form(body: bytes) -> dict[str, str]:
    """The short fields of a form; files are passed over."""
    return {name.decode(): value.decode("utf-8", "replace") for name, value in _FIELD.findall(body) if len(value) < 500}


def counting_key(request: Request, ask: Ask) -> bytes:
    """A key that is equal for the attempts of one request: a form's body differs by its boundary."""
    path = request.path.encode()
    if request.headers.get("content-type", "").startswith("multipart/"):
        return path + json.dumps(sorted(_form(request.body).items())).encode()
    return path + request.body
