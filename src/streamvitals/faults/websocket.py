"""WebSockets as far as this server needs them, exact about frames and about what happens on the TCP connection.

https://www.rfc-editor.org/rfc/rfc6455 (the handshake in section 4, frames in section 5). No extensions.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator

from .wire import ClientGone, Connection, Request

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FIN, _MASKED = 0x80, 0x80
# How long the client may take to answer a frame that closes.
_ANSWERS_WITHIN = 5.0
MAX_MESSAGE = 64 * 1024 * 1024


def wanted(request: Request) -> bool:
    """Whether the request asks to go on as a WebSocket."""
    return request.headers.get("upgrade", "").lower() == "websocket" and "sec-websocket-key" in request.headers


def text_frame(data: bytes) -> bytes:
    """One message."""
    return _frame(_TEXT, data)


def _frame(opcode: int, data: bytes) -> bytes:
    head = bytes([_FIN | opcode])
    if len(data) < 126:
        head += bytes([len(data)])
    elif len(data) < 1 << 16:
        head += b"\x7e" + len(data).to_bytes(2, "big")
    else:
        head += b"\x7f" + len(data).to_bytes(8, "big")
    return head + data


class WebSocket:
    """The server's end of one connection. While it is ``deaf`` it answers nothing, not even a ping."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._closing = False
        self._closed = asyncio.Event()
        self.deaf = False

    async def accept(self, request: Request, headers: tuple[tuple[str, str], ...]) -> None:
        """Switch protocols."""
        key = request.headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()  # noqa: S324  the protocol's choice
        lines = [
            "HTTP/1.1 101 Switching Protocols", "upgrade: websocket", "connection: Upgrade",
            f"sec-websocket-accept: {accept}", *(f"{name}: {value}" for name, value in headers), "", "",
        ]
        await self._connection.write("\r\n".join(lines).encode("latin-1"))

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield the client's messages until it closes or is gone."""
        message = b""
        while True:
            opcode, last, data = await self._read_frame()
            if self.deaf:
                continue
            if opcode == _PING:
                await self._connection.write(_frame(_PONG, data))
            elif opcode == _CLOSE:
                self._closed.set()
                if not self._closing:
                    self._closing = True
                    await self._connection.write(_frame(_CLOSE, data))
                return
            elif opcode in (_CONTINUATION, _TEXT, _BINARY):
                message += data
                if last:
                    yield message
                    message = b""

    async def _read_frame(self) -> tuple[int, bool, bytes]:
        first, second = await self._connection.read(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await self._connection.read(2 if size == 126 else 8), "big")
        if size > MAX_MESSAGE:
            raise ClientGone
        mask = await self._connection.read(4) if second & _MASKED else b"\0\0\0\0"
        data = await self._connection.read(size)
        if size:
            pad = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
            data = (int.from_bytes(data, "big") ^ pad).to_bytes(size, "big")
        return first & 0x0F, bool(first & _FIN), data

    async def send(self, data: bytes, framed: bool = True) -> None:
        """Send one message, or exactly these bytes."""
        await self._connection.write(text_frame(data) if framed else data)

    async def close(self, code: int) -> None:
        """Send a closing frame and wait for the client's; ``messages`` must be read meanwhile."""
        self._closing = True
        await self._connection.write(_frame(_CLOSE, code.to_bytes(2, "big")))
        try:
            await asyncio.wait_for(self._closed.wait(), _ANSWERS_WITHIN)
        except asyncio.TimeoutError:
            raise ClientGone from None

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self._connection.reset()

    async def hang_up(self) -> None:
        """Close the connection (FIN) without a closing frame."""
        await self._connection.close()
