"""The events of the Responses API and of the Realtime API."""

from __future__ import annotations

from collections.abc import Iterator

from .ask import Ask
from .payloads import CREATED, PROMPT_TOKENS, Json, piece

ID = "resp_streamvitals"
ITEM = "msg_streamvitals"
CACHED, REASONING = 3, 2
ENDS = ("completed", "length", "content_filter", "failed", "failed_rate_limit", "cancelled")
_OPENING = 4  # events before the first token
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ERRORS = {"failed": "server_error", "failed_rate_limit": "rate_limit_exceeded"}
_PLACE: Json = {"item_id": ITEM, "output_index": 0, "content_index": 0}


def usage(tokens: int) -> Json:
    return {
        "input_tokens": PROMPT_TOKENS,
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": REASONING},
        "total_tokens": PROMPT_TOKENS + tokens,
    }


def text_of(ask: Ask, tokens: int) -> str:
    return "".join(piece(ask.params, number) for number in range(tokens))


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(ask: Ask, status: str, text: str | None) -> Json:
    content = [] if text is None else [_part(text)]
    return {"id": ITEM, "type": "message", "status": status, "role": "assistant", "content": content}


def _response(ask: Ask, status: str, **more: object) -> Json:
    return {
        "id": ID,
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": ask.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {},
        **more,
    }


def opening(ask: Ask) -> Iterator[Json]:
    begun = "queued" if ask.background else "in_progress"
    yield {"type": "response.created", "sequence_number": 0, "response": _response(ask, begun)}
    kind = "response.queued" if ask.background else "response.in_progress"
    yield {"type": kind, "sequence_number": 1, "response": _response(ask, begun)}
    item = _item(ask, "in_progress", None)
    yield {"type": "response.output_item.added", "sequence_number": 2, "output_index": 0, "item": item}
    yield {"type": "response.content_part.added", "sequence_number": 3, **_PLACE, "part": _part("")}


def token(ask: Ask, number: int) -> Json:
    delta = {"delta": piece(ask.params, number), "logprobs": []}
    return {"type": "response.output_text.delta", "sequence_number": _OPENING + number, **_PLACE, **delta}


def ending(ask: Ask, how: str) -> Iterator[Json]:
    tokens = ask.params.chunks
    number = _OPENING + tokens
    text = text_of(ask, tokens)
    item = _item(ask, "completed", text)
    if how == "completed":
        yield {"type": "response.output_text.done", "sequence_number": number, **_PLACE, "text": text, "logprobs": []}
        done = {"type": "response.content_part.done", "sequence_number": number + 1, **_PLACE, "part": _part(text)}
        yield done
        done = {"type": "response.output_item.done", "sequence_number": number + 2, "output_index": 0, "item": item}
        yield done
        response = _response(ask, "completed", output=[item], usage=usage(tokens))
        yield {"type": "response.completed", "sequence_number": number + 3, "response": response}
    elif how in _REASONS:
        details: Json = {"incomplete_details": {"reason": _REASONS[how]}, "usage": usage(tokens)}
        response = _response(ask, "incomplete", output=[item], **details)
        yield {"type": "response.incomplete", "sequence_number": number, "response": response}
    elif how in _ERRORS:
        error = {"code": _ERRORS[how], "message": "injected failure"}
        yield {"type": "response.failed", "sequence_number": number, "response": _response(ask, "failed", error=error)}
    else:
        yield {"type": "response.cancelled", "sequence_number": number, "response": _response(ask, "cancelled")}


def error(type_: str, code: str | None) -> Json:
    """Make the error event, flat as documented.

    https://platform.openai.com/docs/api-reference/responses-streaming/error
    """
    return {"type": "error", "sequence_number": 9, "code": code, "message": "injected error event", "param": None}


def socket_error(type_: str, code: str | None) -> Json:
    """Make the error event of a WebSocket, nested on both APIs."""
    body = {"type": type_, "code": code, "message": "injected error event", "param": None}
    return {"type": "error", "event_id": "event_error", "error": body}


def whole(ask: Ask) -> Json:
    if ask.background:
        return _response(ask, "queued")
    tokens = ask.params.chunks
    if ask.scenario in ("length", "content-filter", "failed", "failed-rate-limit"):
        last: Json = list(ending(ask, ask.scenario.replace("-", "_")))[-1]["response"]
        return last
    return _response(ask, "completed", output=[_item(ask, "completed", text_of(ask, tokens))], usage=usage(tokens))


# Realtime: no sequence numbers, every event names its response, and one terminal event tells all ends by status.


def _realtime_response(status: str, details: Json | None = None, used: Json | None = None) -> Json:
    return {
        "id": ID,
        "object": "realtime.response",
        "status": status,
        "status_details": details,
        "output": [],
        "conversation_id": "conv_streamvitals",
        "output_modalities": ["text"],
        "usage": used,
        "metadata": None,
    }


def realtime_session(model: str) -> Json:
    session = {"id": "sess_streamvitals", "object": "realtime.session", "type": "realtime", "model": model}
    return {"type": "session.created", "event_id": "event_session", "session": session}


def realtime_opening(ask: Ask) -> Iterator[Json]:
    yield {"type": "response.created", "event_id": "event_0", "response": _realtime_response("in_progress")}
    item = {"id": ITEM, "object": "realtime.item", "type": "message", "status": "in_progress", "role": "assistant"}
    added = {"response_id": ID, "output_index": 0, "item": {**item, "content": []}}
    yield {"type": "response.output_item.added", "event_id": "event_1", **added}


def realtime_token(ask: Ask, number: int) -> Json:
    place = {"response_id": ID, **_PLACE}
    kind, event = "response.output_text.delta", f"event_{2 + number}"
    return {"type": kind, "event_id": event, **place, "delta": piece(ask.params, number)}


def realtime_usage(tokens: int) -> Json:
    return {
        "total_tokens": PROMPT_TOKENS + tokens,
        "input_tokens": PROMPT_TOKENS,
        "output_tokens": tokens,
        "input_token_details": {"text_tokens": PROMPT_TOKENS, "audio_tokens": 0, "cached_tokens": CACHED},
        "output_token_details": {"text_tokens": tokens, "audio_tokens": 0},
    }


def realtime_ending(ask: Ask, how: str) -> Iterator[Json]:
    used = realtime_usage(ask.params.chunks)
    if how in _REASONS:
        response = _realtime_response("incomplete", {"type": "incomplete", "reason": _REASONS[how]}, used)
    elif how in _ERRORS:
        error = {"type": "server_error", "code": _ERRORS[how], "message": "injected failure"}
        response = _realtime_response("failed", {"type": "failed", "error": error})
    elif how == "cancelled":
        response = _realtime_response("cancelled", {"type": "cancelled", "reason": "client_cancelled"})
    else:
        response = _realtime_response("completed", None, used)
    yield {"type": "response.done", "event_id": "event_done", "response": response}
