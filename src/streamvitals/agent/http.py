"""The agent's HTTP server: /metrics, /healthz, the live page and its API, for clients that may be slow, many or gone.

One thread, and one request per connection, which stays open after its answer for the events of a viewer alone. h11
parses the requests. Everything is bounded: the number of connections, the size of a request, the time for it and its
answer, and the bytes of answers that are still being sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qs

import h11

from .._version import __version__
from ..config import Config
from ..live.answers import API, Live, refusal
from .access import Access
from .viewers import Frame, Viewers

# A client that has not got its answer after so many seconds is disconnected.
MAX_SECONDS = 10.0
# Connections at one time. For one more, the least valuable of those that have had their minimum time is closed.
MAX_CONNECTIONS = 32
MOMENT = 1.0
# Most bytes of a request: its line and its headers.
MAX_REQUEST = 16 * 1024
# Most bytes of answers that clients have not read yet; the oldest answer is dropped for a new one.
MAX_UNTAKEN = 16 * 1024 * 1024
# How much of an answer is handed to the kernel at once.
_PIECE = 64 * 1024
# Turns of the event loop between a request and its answer: to accept, read and parse another request takes a few.
_TURNS = 8
# The least bytes that are worth packing, but for metrics.
_PACKED = 1024
TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """The answer that a client is sent."""

    status: int
    content_type: str
    body: bytes
    encoding: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class _Query(NamedTuple):
    """The parts of a request for /metrics that decide what the answer is."""

    names: tuple[str, ...]
    accept: str
    gzip: bool


# The value of a client, lowest first: it was answered but has not hung up; it looks at the page, and would ask again;
# it is sending its request; it has sent it.
ANSWERED, LOOKING, ASKING, ASKED = range(4)
# The answer that goes on.
EVENTS = API + "events"
_EVENT_STREAM = (
    ("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"),
    ("X-Content-Type-Options", "nosniff"),
)
FULL = refusal(503, "as many look already as may at a time; ask for /api/v1/streams instead", Retry_After="30")


class _Client:
    """One connection.

    No frame holds the body of its answer, since tracebacks keep frames alive.
    """

    task: asyncio.Task[None]

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.since = time.monotonic()
        self.body = b""
        self.worth = ASKING


# Takes names of metrics (all metrics if there are none) and an Accept header; returns the text and its Content-Type.
Metrics = Callable[[tuple[str, ...], str], tuple[bytes, str]]


class AgentServer:
    """Serves on a socket that is listening already, and calls ``tick`` every ``every`` seconds."""

    def __init__(
        self,
        listener: socket.socket,
        metrics: Metrics,
        health: Callable[[], Mapping[str, object]],
        tick: Callable[[], None],
        on_fault: Callable[[BaseException], None],
        every: float,
        live: Live,
        access: Access | None = None,
    ) -> None:
        self._listener = listener
        self._access = access or Access(Config(), listener)
        self._metrics = metrics
        self._health = health
        self._tick = tick
        self._on_fault = on_fault
        self._every = every
        self._live = live
        self._viewers = Viewers(live.streams, live.summary, on_fault)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hurried = asyncio.Event()
        self._clients: dict[_Client, None] = {}  # oldest first
        self._room = asyncio.Event()
        self._answering: dict[_Query, asyncio.Future[Answer]] = {}

    def serve(self, stop: threading.Event) -> None:
        """Serve until ``stop`` is set by a signal handler or another thread, which is noticed at the next tick.

        The port is closed first: it is better to refuse a new client then than to keep it waiting.
        """
        asyncio.run(self._serve(stop))

    def hurry(self, every: float) -> None:
        """Tick now, and this often from now on. For signal handlers too."""
        self._every = every
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hurried.set)

    async def _serve(self, stop: threading.Event) -> None:
        self._room, self._hurried = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        accepting = asyncio.create_task(self._accept())
        while not stop.is_set():
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001  what fails now may work again
                self._on_fault(error)
            if not stop.is_set():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._hurried.wait(), self._every)
                self._hurried.clear()
        accepting.cancel()
        await asyncio.wait([accepting])
        self._listener.close()
        self._loop = None
        for client in list(self._clients):
            client.task.cancel()

    # -- connections

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # no descriptor left, or a client that is gone already
                self._on_fault(error)
                await asyncio.sleep(self._every)
                continue
            try:
                await self._make_room()
            except BaseException:
                connection.close()
                raise
            client = _Client(connection)
            client.task = loop.create_task(self._attend(client))
            self._clients[client] = None
            client.task.add_done_callback(functools.partial(self._gone, client))

    async def _make_room(self) -> None:
        while len(self._clients) >= MAX_CONNECTIONS:
            self._room.clear()
            least = min(self._clients, key=lambda client: (client.worth, client.since))
            left = MOMENT - (time.monotonic() - least.since)
            if left <= 0 or least.worth == ANSWERED:
                least.task.cancel()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._room.wait(), max(left, 0.01))

    def _gone(self, client: _Client, task: asyncio.Task[None]) -> None:
        self._clients.pop(client, None)
        client.body = b""
        self._room.set()

    async def _attend(self, client: _Client) -> None:
        """Read one request and answer it. A client that hangs up, or is dropped, is not counted as a fault."""
        connection, writer = client.connection, None
        try:
            connection.setblocking(False)
            try:
                reader, writer = await self._access.connect(connection, MAX_REQUEST)
            except OSError:  # no TLS, where it is asked for, or not with a certificate that is let in
                return
            look: Frame | None = None
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                look = await asyncio.wait_for(self._exchange(client, reader, writer), MAX_SECONDS)
            if look is not None:
                client.worth = LOOKING
                await self._viewers.show(reader, writer, look)
        except Exception as error:  # noqa: BLE001  the agent goes on serving
            self._on_fault(error)
        finally:
            if writer is None:
                connection.close()
            elif writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.close()

    async def _exchange(
        self, client: _Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Frame | None:
        """Answer one request; return how to send events, if they are to follow."""
        look = await self._respond(client, reader, writer)
        if look is not None:
            return look
        client.worth = ANSWERED
        # Closing with unread bytes would reset the connection, and the client would lose the answer.
        if writer.can_write_eof():
            writer.write_eof()
        while await reader.read(_PIECE):
            pass
        return None

    async def _respond(
        self, client: _Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Frame | None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
        try:
            request = await _read_request(http, reader)
            if request is None:
                return None
            host, _ = _target(request)
            refused = await self._access.refusal({**dict(request.headers), b"host": host})
            if refused is not None:
                answer = Answer(refused.status, TEXT, f"{refused.why}\n".encode(), headers=refused.headers)
            else:
                client.worth = ASKED
                answer = await self._answer(request)
        except h11.RemoteProtocolError as error:
            request, answer = None, Answer(error.error_status_hint, TEXT, b"not a request that is answered here\n")
        follow = answer.headers is _EVENT_STREAM
        client.body = answer.body
        head = h11.Response(status_code=answer.status, headers=[
            ("Server", f"streamvitals/{__version__}"),
            *([("Content-Type", answer.content_type)] if answer.content_type else []),
            *([("Content-Encoding", answer.encoding)] if answer.encoding else []),
            *([] if follow else [("Content-Length", str(len(client.body)))]),
            *answer.headers,
            *(header for header in self._access.headers() if header[0] not in dict(answer.headers)),
            ("Connection", "close"),
        ])
        del answer
        writer.write(http.send(head) or b"")
        if request is not None and request.method == b"HEAD":
            return None
        if follow:
            return lambda data: http.send(h11.Data(data=data)) or b""
        await self._send(client, writer)
        return None

    async def _send(self, client: _Client, writer: asyncio.StreamWriter) -> None:
        self._bound_untaken()
        for at in range(0, len(client.body), _PIECE):
            writer.write(client.body[at : at + _PIECE])
            await writer.drain()
        client.body = b""

    def _bound_untaken(self) -> None:
        """Drop the oldest answers while too many bytes wait; an answer for several clients is held once."""
        bodies = {id(client.body): len(client.body) for client in self._clients}
        for client in list(self._clients)[:-1]:
            if sum(bodies.values()) <= MAX_UNTAKEN:
                break
            if client.body:
                client.task.cancel()
                bodies.pop(id(client.body), None)

    # -- answers

    async def _answer(self, request: h11.Request) -> Answer:
        if request.method not in (b"GET", b"HEAD"):
            return Answer(405, TEXT, b"GET and HEAD are answered here\n", headers=(("Allow", "GET, HEAD"),))
        path, _, query = _target(request)[1].partition("?")
        try:
            if path == "/metrics":
                return await self._together(request, tuple(parse_qs(query).get("name[]", ())))
            if path == "/healthz":
                body = json.dumps(self._health(), indent=2).encode() + b"\n"
                return Answer(200, "application/json; charset=utf-8", body)
            if path == EVENTS:
                reply = self._live.refuse(query) or (FULL if self._viewers.full else None)
                if reply is None:
                    return Answer(200, "", b"", headers=_EVENT_STREAM)
            else:
                reply = self._live.answer(path, query, _header(request, b"if-none-match"))
        except Exception as error:  # noqa: BLE001  the agent goes on serving
            self._on_fault(error)
            return Answer(500, TEXT, b"a fault of the agent; see its log\n")
        if reply is None:
            return Answer(404, TEXT, b"/metrics, /healthz and the live page, at /, are here\n")
        packs = len(reply.body) >= _PACKED and _takes_gzip(_header(request, b"accept-encoding"))
        body = gzip.compress(reply.body, compresslevel=1) if packs else reply.body
        return Answer(reply.status, "", body, "gzip" if packs else "", (*reply.headers, ("Vary", "Accept-Encoding")))

    async def _together(self, request: h11.Request, names: tuple[str, ...]) -> Answer:
        """Answer all clients that ask for the same at the same time from one reading of the numbers.

        The numbers are read after the last of these requests has come.
        """
        query = _Query(names, _header(request, b"accept"), _takes_gzip(_header(request, b"accept-encoding")))
        answering = self._answering.get(query)
        if answering is None:
            self._answering[query] = answering = asyncio.ensure_future(self._look(query))
        return await asyncio.shield(answering)

    async def _look(self, query: _Query) -> Answer:
        try:
            for _ in range(_TURNS):  # in these turns clients that are already connected send their requests
                await asyncio.sleep(0)
        finally:
            del self._answering[query]
        body, content_type = self._metrics(query.names, query.accept)
        if query.gzip:
            return Answer(200, content_type, gzip.compress(body, compresslevel=1), "gzip")
        return Answer(200, content_type, body)


async def _read_request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Read a request; None if the client hung up before it was complete. Raises h11.RemoteProtocolError."""
    request: h11.Request | None = None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(MAX_REQUEST))
        elif isinstance(event, h11.Request):
            request = event
            if request.method not in (b"GET", b"HEAD"):
                return request  # its body is not read
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed):
            return None


# A whole URL, as a client sends it to what it takes for a proxy: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
_WHOLE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def _target(request: h11.Request) -> tuple[bytes, str]:
    """The host that is asked, which a whole URL names itself, and the path with its query."""
    whole = _WHOLE.fullmatch(request.target)
    if whole is None:
        return _header(request, b"host").encode("latin-1"), request.target.decode("latin-1")
    path = whole[2].decode("latin-1")
    return whole[1].rpartition(b"@")[2], path if path.startswith("/") else f"/{path}"


def _header(request: h11.Request, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in request.headers if key == name)


def _takes_gzip(accepted: str) -> bool:
    """Whether Accept-Encoding allows gzip; a weight of 0 means "not acceptable".

    https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
    """
    return any(
        coding.strip().lower() in ("gzip", "x-gzip") and not _is_zero(weights)
        for coding, *weights in (each.split(";") for each in accepted.split(","))
    )


def _is_zero(weights: Iterable[str]) -> bool:
    return any(w.replace(" ", "").lower().rstrip("0") in ("q=", "q=0.", "q=.") for w in weights)
