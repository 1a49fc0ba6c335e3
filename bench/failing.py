"""Streams that fail, in memory, below the pool and the parser of the HTTP client: errors have their real causes.

    refused   no connection
    limited   the answer is a 429
    cut       the connection is reset after some chunks
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from .canned import CHAT, http

CHUNKS = 4  # before a stream is cut
_core: Any = importlib.import_module("httpcore2" if http.__name__ == "httpx2" else "httpcore")
_mapped: Any = importlib.import_module(f"{_core.__name__}._exceptions").map_exceptions
_LIMITED = b'{"error": {"message": "busy", "type": "requests", "code": "rate_limit_exceeded", "param": null}}'
_STATUS = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
    b"retry-after: 1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(_LIMITED)
)
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-request-id: req_bench\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_PIECE = b"%x\r\n%s\r\n" % (len(CHAT), CHAT)


def _answer(kind: str) -> Iterator[bytes]:
    """What comes over the connection; raises what a socket does."""
    if kind == "limited":
        yield _STATUS + _LIMITED
        return
    yield _HEAD
    for _ in range(CHUNKS):
        yield _PIECE
    raise ConnectionResetError(104, "Connection reset by peer")


class _Stream(_core.NetworkStream):  # type: ignore[misc]
    def __init__(self, kind: str) -> None:
        self._pieces = _answer(kind)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _mapped({OSError: _core.ReadError}):
            return next(self._pieces, b"")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        pass

    def close(self) -> None:
        pass

    def get_extra_info(self, info: str) -> Any:
        return False if info == "is_readable" else None


class _AsyncStream(_core.AsyncNetworkStream):  # type: ignore[misc]
    """The async twin."""

    def __init__(self, kind: str) -> None:
        self._pieces = _answer(kind)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _mapped({OSError: _core.ReadError}):
            return next(self._pieces, b"")

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def get_extra_info(self, info: str) -> Any:
        return False if info == "is_readable" else None


def _refuse() -> None:
    with _mapped({OSError: _core.ConnectError}):
        raise ConnectionRefusedError(111, "Connection refused")


class _Network(_core.NetworkBackend):  # type: ignore[misc]
    kind = "cut"

    def connect_tcp(self, *args: Any, **kwargs: Any) -> Any:
        if self.kind == "refused":
            _refuse()
        return _Stream(self.kind)


class _AsyncNetwork(_core.AsyncNetworkBackend):  # type: ignore[misc]
    """The async twin."""

    kind = "cut"

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> Any:
        if self.kind == "refused":
            _refuse()
        return _AsyncStream(self.kind)


class Failing:
    """Clients of the SDK whose streams fail as ``kind`` says; the SDK itself makes one attempt."""

    def __init__(self) -> None:
        import openai

        self._networks = sync, async_ = _Network(), _AsyncNetwork()
        transport, async_transport = http.HTTPTransport(), http.AsyncHTTPTransport()
        # One connection and no TLS: what a pool of many costs is not of interest.
        transport._pool = _core.ConnectionPool(network_backend=sync)
        async_transport._pool = _core.AsyncConnectionPool(network_backend=async_)
        same: dict[str, Any] = {"api_key": "k", "base_url": "http://bench.invalid/v1", "max_retries": 0}
        self.client = openai.OpenAI(http_client=http.Client(transport=transport), **same)
        self.async_client = openai.AsyncOpenAI(http_client=http.AsyncClient(transport=async_transport), **same)

    def fail(self, kind: str) -> None:
        """Let all streams fail in this way from now on."""
        for network in self._networks:
            network.kind = kind


# In tracebacks these functions stand for the library's, which read from sockets, and not for ones of the app.
__name__ = f"{_core.__name__}._backends.failing"
