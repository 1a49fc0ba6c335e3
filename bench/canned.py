"""An HTTP transport in memory that streams what is asked for, and the SDK without its building of objects.

No socket: what the kernel and a server's timing add is the same with and without an observer, and drowns
what the observer costs. Everything of the client's own is there: httpx, the SSE decoder, the SDK's loop.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any

import openai
from openai import _base_client
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseCompletedEvent, ResponseTextDeltaEvent

http: Any = importlib.import_module("httpx2" if int(openai.__version__.split(".")[0]) >= 3 else "httpx")

_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "x-request-id": "req_bench"}


def _chunk(content: str, finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini",
        "system_fingerprint": "fp_bench",
        "choices": [choice],
    }


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def _named(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\n".encode() + _event(data)


_DELTA: dict[str, Any] = {
    "type": "response.output_text.delta", "sequence_number": 4, "item_id": "msg_bench", "output_index": 0,
    "content_index": 0, "delta": "token ", "logprobs": [], "obfuscation": "Vn8Kd2mQxw",
}
_COMPLETED: dict[str, Any] = {
    "type": "response.completed",
    "sequence_number": 5,
    "response": {
        "id": "resp_bench", "object": "response", "created_at": 1_700_000_000, "status": "completed", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": "gpt-4o-mini", "output": [],
        "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "usage": {
            "input_tokens": 8, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 28,
        },
    },
}
_MIDDLE, _LAST = _chunk("token ", None), _chunk("", "stop")
_THOUGHT = _chunk("", None)
_THOUGHT["choices"][0]["delta"] = {"reasoning_content": "token "}
CHAT = _event(_MIDDLE)
_CHAT_END = _event(_LAST) + b"data: [DONE]\n\n"
_CHAT = CHAT, _CHAT_END
_THOUGHTS = _event(_THOUGHT), _CHAT_END
THINKING = "deepseek-reasoner"  # the model whose chunks are thoughts
_RESPONSES = _named(_DELTA), _named(_COMPLETED)


# The answer to a request without a stream.
_WHOLE = json.dumps({
    **_MIDDLE, "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "token " * 20}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 20, "total_tokens": 28},
}).encode()


def _is_plain(request: Any) -> bool:
    return b'"stream"' not in request.content


def _whole() -> Any:
    return http.Response(200, headers={**_HEADERS, "content-type": "application/json"}, content=_WHOLE)


def _pieces(request: Any) -> tuple[bytes, bytes]:
    if request.url.path.endswith("/responses"):
        return _RESPONSES
    return _THOUGHTS if THINKING.encode() in request.content else _CHAT


class _Body(http.SyncByteStream):  # type: ignore[misc]
    """Once read it is empty, as one from a socket: the SDK reads on after ``[DONE]`` until nothing comes."""

    def __init__(self, chunks: int, pieces: tuple[bytes, bytes]) -> None:
        self._left = chain(repeat(pieces[0], chunks - 1), pieces[1:])

    def __iter__(self) -> Iterator[bytes]:
        return self._left


class _AsyncBody(http.AsyncByteStream):  # type: ignore[misc]
    """The async twin."""

    def __init__(self, chunks: int, pieces: tuple[bytes, bytes]) -> None:
        self._left = chain(repeat(pieces[0], chunks - 1), pieces[1:])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._left:
            yield piece


class Canned(http.BaseTransport):  # type: ignore[misc]
    """Answers every request with a stream of ``chunks`` chunks or events, each in a piece of its own."""

    def __init__(self) -> None:
        self.chunks = 20

    def handle_request(self, request: Any) -> Any:
        if _is_plain(request):
            return _whole()
        return http.Response(200, headers=_HEADERS, stream=_Body(self.chunks, _pieces(request)))


class AsyncCanned(http.AsyncBaseTransport):  # type: ignore[misc]
    """The async twin."""

    def __init__(self) -> None:
        self.chunks = 20

    async def handle_async_request(self, request: Any) -> Any:
        if _is_plain(request):
            return _whole()
        return http.Response(200, headers=_HEADERS, stream=_AsyncBody(self.chunks, _pieces(request)))


@contextmanager
def prebuilt() -> Iterator[None]:
    """Let the SDK hand out chunks that are built already: most of what it spends on a chunk is building it."""
    middle, last, thought = (ChatCompletionChunk.model_validate(data) for data in (_MIDDLE, _LAST, _THOUGHT))
    delta, completed = ResponseTextDeltaEvent.construct(**_DELTA), ResponseCompletedEvent.construct(**_COMPLETED)

    def hand_out(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        if "choices" not in data:
            return delta if "delta" in data else completed
        choice = data["choices"][0]
        if choice["finish_reason"] is not None:
            return last
        return middle if "content" in choice["delta"] else thought

    owner: Any = _base_client.BaseClient
    original = owner._process_response_data
    owner._process_response_data = hand_out
    try:
        yield
    finally:
        owner._process_response_data = original
