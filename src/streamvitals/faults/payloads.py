"""The JSON bodies and SSE events of an OpenAI-compatible chat API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .ask import Params

PROMPT_TOKENS = 11
CREATED = 1_700_000_000
ID = "chatcmpl-streamvitals"
DONE = b"data: [DONE]\n\n"
HTML_PAGE = b"<!DOCTYPE html>\n<html><head><title>Proxy</title></head><body><h1>Sign in</h1></body></html>\n"

Json = dict[str, Any]


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def sse(value: Any) -> bytes:
    return b"data: " + dumps(value) + b"\n\n"


def named_sse(event: Json) -> bytes:
    """One event with its type also on a line of its own, as typed events come."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), dumps(event))


def piece(params: Params, number: int) -> str:
    """The text of a token; the tokens of an answer that is to be JSON make up an object."""
    if params.json and number == 0:
        return '{"text":"'
    return '"}' if params.json and number == params.chunks - 1 else f"token{number} "


def choice(delta: Json, finish_reason: str | None = None, index: int = 0, **extra: Any) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason, **extra}


def chunk(model: str, choices: Sequence[Json], **extra: Any) -> Json:
    return {
        "id": ID,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "system_fingerprint": "fp_streamvitals",
        "choices": list(choices),
        **extra,
    }


def usage(completion_tokens: int) -> Json:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": completion_tokens,
        "total_tokens": PROMPT_TOKENS + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def completion(model: str, tokens: int, finish: str = "stop") -> Json:
    """A whole answer, as given to a request that did not ask for a stream."""
    message = {"role": "assistant", "content": "token " * tokens, "refusal": None}
    return {
        "id": ID,
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage(tokens),
    }


_ERRORS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def error(message: str, type_: str, code: str | None = None) -> Json:
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}


def status_error(status: int, message: str = "") -> Json:
    type_, code = _ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return error(message or f"injected status {status}", type_, code)


def models(names: Sequence[str]) -> Json:
    common = {"object": "model", "created": CREATED, "owned_by": "streamvitals"}
    return {"object": "list", "data": [{"id": name, **common} for name in names]}
