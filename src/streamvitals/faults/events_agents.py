"""The events of an agent session while it works through a turn (beta)."""

from __future__ import annotations

from collections.abc import Iterator

from .ask import Ask
from .events_responses import usage
from .payloads import CREATED, Json, piece

ENDS = ("completed", "requires_action", "failed", "failed_rate_limit", "session_failed", "cancelled", "recovered",
        "subagent_failed")
SESSION, TURN = "sess_streamvitals", "turn_streamvitals"
_ERRORS = {"failed": "server_error", "failed_rate_limit": "rate_limit_exceeded"}


def session(ask: Ask, status: str, error: str | None = None) -> Json:
    agent: Json = {"id": "agent_streamvitals", "model": ask.model, "reasoning": {}, "tools": [], "instructions": None}
    return {
        "id": SESSION,
        "object": "agent.session",
        "agent": agent,
        "created_at": CREATED,
        "last_active_at": CREATED,
        "environment": {"type": "none"},
        "metadata": {},
        "required_actions": [],
        "vault_ids": [],
        "status": status,
        "error": error,
        "usage": None,
    }


def _event(kind: str, number: int, **more: object) -> Json:
    return {"type": kind, "event_id": f"event_{number}", "session_id": SESSION, **more}


def _turn(status: str, subagent: str | None = None, error: Json | None = None, used: Json | None = None) -> Json:
    return {
        "id": TURN if subagent is None else "turn_sub",
        "object": "agent.session.turn",
        "agent_id": "agent_streamvitals",
        "session_id": SESSION,
        "created_at": CREATED,
        "subagent_id": subagent,
        "status": status,
        "error": error,
        "usage": used,
    }


def opening(ask: Ask) -> Iterator[Json]:
    yield _event("agent.session.idle", 0, session=session(ask, "idle"))
    yield _event("agent.session.turn.created", 1, turn=_turn("queued"), turn_id=TURN)
    yield _event("agent.session.in_progress", 2, session=session(ask, "in_progress"))


def token(ask: Ask, number: int) -> Json:
    place = {"content_index": 0, "item_id": "msg_1", "output_index": 0, "turn_id": TURN}
    return _event("agent.session.turn.output_text.delta", 3 + number, **place, delta=piece(ask.params, number))


def ending(ask: Ask, how: str) -> Iterator[Json]:
    number, used = 3 + ask.params.chunks, usage(ask.params.chunks)
    turn = {"turn_id": TURN}
    if how in _ERRORS:
        failure = {"code": _ERRORS[how], "message": "injected failure"}
        yield _event("agent.session.turn.failed", number, turn=_turn("failed", error=failure), **turn)
    elif how == "session_failed":
        yield _event("agent.session.failed", number, session=session(ask, "failed", "injected failure"))
        return
    elif how == "requires_action":
        yield _event("agent.session.requires_action", number, session=session(ask, "requires_action"))
        return
    elif how == "cancelled":
        yield _event("agent.session.turn.cancelled", number, turn=_turn("cancelled"), **turn)
    else:
        if how == "recovered":
            yield {**error("server_error", "server_error"), "event_id": "event_recovered"}
        if how == "subagent_failed":
            failed = _turn("failed", "sub_1", {"code": "server_error", "message": "injected failure"})
            yield _event("agent.session.turn.failed", number, turn=failed, turn_id="turn_sub")
        yield _event("agent.session.turn.completed", number + 1, turn=_turn("completed", used=used), usage=used, **turn)
    yield _event("agent.session.idle", number + 2, session=session(ask, "idle"))


def error(type_: str, code: str | None) -> Json:
    body = {"type": type_, "code": code, "message": "injected error event", "param": None}
    return {"type": "error", "event_id": "event_error", "session_id": SESSION, "error": body}


def whole(ask: Ask) -> Json:
    return session(ask, "idle")
