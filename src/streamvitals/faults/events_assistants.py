"""The events of threads and runs: an event's name stands on a line of its own beside its object."""

from __future__ import annotations

from collections.abc import Iterator

from .ask import Ask
from .payloads import CREATED, PROMPT_TOKENS, Json, dumps, piece

ENDS = (
    "completed", "requires_action", "length", "content_filter", "failed", "failed_rate_limit", "expired", "cancelled",
)
THREAD, RUN, MESSAGE = "thread_streamvitals", "run_streamvitals", "msg_streamvitals"
_REASONS = {"length": "max_completion_tokens", "content_filter": "content_filter"}
_ERRORS = {"failed": "server_error", "failed_rate_limit": "rate_limit_exceeded"}


def encode(event: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["event"].encode(), dumps(event["data"]))


def _run(ask: Ask, status: str, **more: object) -> Json:
    return {
        "id": RUN,
        "object": "thread.run",
        "created_at": CREATED,
        "thread_id": THREAD,
        "assistant_id": "asst_streamvitals",
        "status": status,
        "model": ask.model,
        "instructions": "",
        "tools": [],
        "metadata": {},
        "parallel_tool_calls": True,
        "last_error": None,
        "incomplete_details": None,
        "usage": None,
        **more,
    }


def _message(status: str) -> Json:
    return {
        "id": MESSAGE,
        "object": "thread.message",
        "created_at": CREATED,
        "thread_id": THREAD,
        "run_id": RUN,
        "assistant_id": "asst_streamvitals",
        "role": "assistant",
        "content": [],
        "attachments": [],
        "metadata": {},
        "status": status,
    }


def opening(ask: Ask) -> Iterator[Json]:
    yield {"event": "thread.run.created", "data": _run(ask, "queued")}
    yield {"event": "thread.run.in_progress", "data": _run(ask, "in_progress")}
    yield {"event": "thread.message.created", "data": _message("in_progress")}


def token(ask: Ask, number: int) -> Json:
    text = {"index": 0, "type": "text", "text": {"value": piece(ask.params, number), "annotations": []}}
    data = {"id": MESSAGE, "object": "thread.message.delta", "delta": {"content": [text]}}
    return {"event": "thread.message.delta", "data": data}


def ending(ask: Ask, how: str) -> Iterator[Json]:
    tokens = ask.params.chunks
    used = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}
    status, more = how, dict[str, object]()
    if how == "completed":
        more = {"usage": used}
    elif how in _REASONS:
        status, more = "incomplete", {"incomplete_details": {"reason": _REASONS[how]}, "usage": used}
    elif how in _ERRORS:
        status, more = "failed", {"last_error": {"code": _ERRORS[how], "message": "injected failure"}}
    elif how == "requires_action":
        call = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
        more = {"required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}}
    yield {"event": f"thread.run.{status}", "data": _run(ask, status, **more)}


def error(type_: str, code: str | None) -> Json:
    """Make the error event.

    https://platform.openai.com/docs/api-reference/assistants-streaming/events (error)
    """
    return {"event": "error", "data": {"type": type_, "code": code, "message": "injected error event", "param": None}}


def whole(ask: Ask) -> Json:
    return _run(ask, "completed")
