"""An HTTP transport in memory that streams a chat completion, and the SDK without its building of objects.

No socket: what the kernel and a server's timing add is the same with and without an observer, and drowns
what the observer costs. Everything of the client's own is there: httpx, the SSE decoder, the SDK's loop.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import openai
from openai import _base_client
from openai.types.chat import ChatCompletionChunk

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


_MIDDLE, _LAST = _chunk("token ", None), _chunk("", "stop")
_PIECE, _END = _event(_MIDDLE), _event(_LAST) + b"data: [DONE]\n\n"


class _Body(http.SyncByteStream):  # type: ignore[misc]
    def __init__(self, chunks: int) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self._chunks - 1):
            yield _PIECE
        yield _END


class _AsyncBody(http.AsyncByteStream):  # type: ignore[misc]
    def __init__(self, chunks: int) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._chunks - 1):
            yield _PIECE
        yield _END


class Canned(http.BaseTransport):  # type: ignore[misc]
    """Answers every request with a stream of ``chunks`` chunks, each in a piece of its own."""

    def __init__(self) -> None:
        self.chunks = 20

    def handle_request(self, request: Any) -> Any:
        return http.Response(200, headers=_HEADERS, stream=_Body(self.chunks))


class AsyncCanned(http.AsyncBaseTransport):  # type: ignore[misc]
    """The async twin."""

    def __init__(self) -> None:
        self.chunks = 20

    async def handle_async_request(self, request: Any) -> Any:
        return http.Response(200, headers=_HEADERS, stream=_AsyncBody(self.chunks))


@contextmanager
def prebuilt() -> Iterator[None]:
    """Let the SDK hand out chunks that are built already: most of what it spends on a chunk is building it."""
    middle, last = (ChatCompletionChunk.model_validate(data) for data in (_MIDDLE, _LAST))

    def hand_out(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        return middle if data["choices"][0]["finish_reason"] is None else last

    owner: Any = _base_client.BaseClient
    original = owner._process_response_data
    owner._process_response_data = hand_out
    try:
        yield
    finally:
        owner._process_response_data = original
