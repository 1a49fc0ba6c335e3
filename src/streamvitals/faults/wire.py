"""HTTP/1.1 over asyncio streams, exact about what happens on the TCP connection."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from .steps import End, Head, Send

MAX_HEAD = 65_536
MAX_BODY = 64 * 1024 * 1024
TLS_HANDSHAKE = b"\x16"


class ClientGone(Exception):
    """The client closed the connection."""


class BadRequest(Exception):
    """What arrived is not HTTP that we understand; the connection cannot be used any further."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]  # lower-case names
    body: bytes
    keep_alive: bool


Connected = Callable[["Protocol", asyncio.StreamReader, asyncio.StreamWriter], None]


class Protocol(asyncio.StreamReaderProtocol):
    """A stream protocol that notices when the client leaves, without anyone reading."""

    def __init__(self, connected: Connected) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(asyncio.StreamReader(limit=MAX_HEAD, loop=loop), self._opened, loop=loop)
        self._connected = connected
        self._sleeper: asyncio.Future[None] | None = None
        self.gone = False

    def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connected(self, reader, writer)

    def eof_received(self) -> bool | None:
        self._leave()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def pause(self, seconds: float) -> None:
        """Sleep, but no longer than the client stays."""
        if seconds > 0 and not self.gone:
            loop = asyncio.get_running_loop()
            self._sleeper = loop.create_future()
            alarm = loop.call_later(seconds, self._wake)
            try:
                await self._sleeper
            finally:
                alarm.cancel()
                self._sleeper = None
        else:
            await asyncio.sleep(0)  # a stream without gaps must not keep the others waiting
        if self.gone:
            raise ClientGone


class Connection:
    def __init__(
        self, protocol: Protocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._head = Head()
        self.reusable = True
        self.bytes_sent = 0
        self.pause = protocol.pause
        # drain() then returns only when the kernel has everything, so that no RST overtakes it.
        writer.transport.set_write_buffer_limits(high=0)

    async def read_request(self) -> Request | None:
        """The next request, whole; None when the client is done with the connection."""
        try:
            first = await self._reader.read(1)
            if not first:
                return None
            if first == TLS_HANDSHAKE:
                raise BadRequest("this server speaks plain HTTP")
            head = first + await self._reader.readuntil(b"\r\n\r\n")
            return await self._read_body(*_parse_head(head))
        except asyncio.LimitOverrunError:
            raise BadRequest("the head of the request is too long") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ClientGone from None
        except ValueError:
            raise BadRequest("malformed request") from None

    async def _read_body(self, method: str, path: str, version: str, headers: dict[str, str]) -> Request:
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= MAX_BODY:
            raise BadRequest("the body of the request is too long")
        if headers.get("expect", "").lower() == "100-continue":
            await self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Nothing unread may stay in the socket: closing it would then send a RST where a FIN was meant.
        body = await self._read_chunks() if chunked else await self._reader.readexactly(length)
        keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Request(method, path, headers, body, keep_alive)

    async def _read_chunks(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        while True:
            line = await self._reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            total += size
            if size < 0 or total > MAX_BODY:
                raise BadRequest("the body of the request is too long")
            if size == 0:
                break
            parts.append(await self._reader.readexactly(size))
            await self._reader.readuntil(b"\r\n")
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers
        return b"".join(parts)

    async def send_head(self, head: Head, headers: tuple[tuple[str, str], ...], keep_alive: bool) -> None:
        self._head = head
        self.reusable = keep_alive and head.framing != "close"
        lines = [f"HTTP/1.1 {head.status} {_phrase(head.status)}", f"content-type: {head.content_type}"]
        lines += [f"{name}: {value}" for name, value in (*headers, *head.headers)]
        if head.framing == "chunked":
            lines.append("transfer-encoding: chunked")
        elif head.framing == "length":
            lines.append(f"content-length: {head.length}")
        lines.append("connection: " + ("keep-alive" if self.reusable else "close"))
        await self._write("\r\n".join((*lines, "", "")).encode("latin-1"))

    async def send(self, step: Send) -> None:
        if step.framed and self._head.framing == "chunked":
            if step.data:  # an empty chunk would end the body
                await self._write(b"%x\r\n%b\r\n" % (len(step.data), step.data))
        else:
            await self._write(step.data)

    async def read(self, count: int) -> bytes:
        """Read exactly so many bytes of what is no longer HTTP."""
        try:
            return await self._reader.readexactly(count)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ClientGone from None

    async def write(self, data: bytes) -> None:
        """Write these bytes, whatever was agreed on."""
        await self._write(data)

    async def end(self, step: End) -> None:
        if step.how == "complete":
            if self._head.framing == "chunked":
                await self._write(b"0\r\n\r\n")
            return
        self.reusable = False
        if step.how == "reset":
            self.reset()

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        self.bytes_sent += len(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            raise ClientGone from None

    def reset(self) -> None:
        """Send RST at once; whatever is still under way is lost."""
        linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    async def close(self) -> None:
        """Send FIN after everything that was written."""
        self._writer.close()
        with suppress(OSError):  # the client was faster
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Close without waiting for a client that does not read."""
        self._writer.transport.abort()


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    request_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, path, version = request_line.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return method, path, version, headers


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
