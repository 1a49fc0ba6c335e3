"""The events of images and audio, and the body of speech, which is its own content."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from .ask import Ask
from .payloads import CREATED, PROMPT_TOKENS, Json, piece

_PIXELS = base64.b64encode(b"not really a picture").decode()
_PICTURE: Json = {
    "b64_json": _PIXELS, "created_at": CREATED, "background": "opaque", "output_format": "png", "quality": "low",
    "size": "1024x1024",
}


def _usage(tokens: int, key: str) -> Json:
    return {
        "total_tokens": PROMPT_TOKENS + tokens,
        "input_tokens": PROMPT_TOKENS,
        "output_tokens": tokens,
        key: {"text_tokens": PROMPT_TOKENS, "image_tokens": 0, "audio_tokens": 0},
    }


def partial_image(ask: Ask, number: int) -> Json:
    return {"type": f"{ask.kind}.partial_image", "partial_image_index": number, **_PICTURE}


def image_done(ask: Ask, how: str) -> Iterator[Json]:
    yield {"type": f"{ask.kind}.completed", **_PICTURE, "usage": _usage(ask.params.chunks, "input_tokens_details")}


def image_whole(ask: Ask) -> Json:
    return {"created": CREATED, "data": [{"b64_json": _PIXELS}]}


def transcript_delta(ask: Ask, number: int) -> Json:
    return {"type": "transcript.text.delta", "delta": piece(ask.params, number)}


def transcript_done(ask: Ask, how: str) -> Iterator[Json]:
    used = {"type": "tokens", **_usage(ask.params.chunks, "input_token_details")}
    yield {"type": "transcript.text.done", "text": transcript(ask), "usage": used}


def transcript(ask: Ask) -> str:
    return "".join(piece(ask.params, number) for number in range(ask.params.chunks))


def transcript_whole(ask: Ask) -> Json:
    return {"text": transcript(ask)}


def speech_delta(ask: Ask, number: int) -> Json:
    return {"type": "speech.audio.delta", "audio": _PIXELS}


def speech_done(ask: Ask, how: str) -> Iterator[Json]:
    used = {"input_tokens": PROMPT_TOKENS, "output_tokens": ask.params.chunks}
    yield {"type": "speech.audio.done", "usage": {**used, "total_tokens": PROMPT_TOKENS + ask.params.chunks}}


def error(type_: str, code: str | None) -> Json:
    return {"type": "error", "error": {"type": type_, "code": code, "message": "injected error event", "param": None}}
