"""An OpenAI-compatible server that fails on demand, and logs exactly what it did.

The model name chooses the scenario, with parameters if wanted: `sv-ok`, `reset-after-n?after=5&gap=0.02`; so do a
header `sv-scenario`, which outranks it, and a field `sv_scenario` of the body, which outranks both. Scenarios that
fail and then work count by the request body: requests that run at the same time and must not share a count need
different bodies (a `user` field will do).
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import json
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import unquote

from . import beside, payloads, routes, websocket
from .ask import Ask, BadAsk
from .plays import COUNTED, PLAYS, page, play
from .request_log import RequestLog
from .script import Choice, Script, played_on
from .steps import End, Head, Pause, Send, Steps
from .websocket_talk import Talk
from .wire import BadRequest, ClientGone, Connection, Protocol, Request

BAD_KEY = "bad-key"
LIMIT_REQUESTS = 10_000
LIMIT_TOKENS = 2_000_000
MAX_COUNTED = 4096


class FaultServer(Script):
    """The fault server, in an event loop."""

    def __init__(self, log_size: int = 2048, log_file: TextIO | None = None, default: Choice = "") -> None:
        super().__init__(default)
        self.log: deque[RequestLog] = deque(maxlen=log_size)
        self.port = 0
        self.host = ""
        self._log_file = log_file
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = itertools.count(1)
        self._connections = itertools.count(1)
        self._failed: OrderedDict[bytes, int] = OrderedDict()
        self._busy = 0
        self._idle: asyncio.Event | None = None

    @property
    def base_url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/v1"

    def reset(self) -> None:
        """Forget the log, the choices and which requests have failed; by default answer with `ok` again."""
        self.log.clear()
        self._failed.clear()
        self.by_model.clear()
        self.default = "ok"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._idle = asyncio.Event()
        self._idle.set()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Protocol(self._connected), host, port, backlog=1024)
        self.host = host
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection, at once."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        # A connection that was accepted a moment ago has its task only after another turn of the loop.
        await asyncio.sleep(0)
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_idle(self) -> None:
        """Wait until no request is under way, so that every entry of the log is final."""
        if self._idle is not None:
            await self._idle.wait()

    async def __aenter__(self) -> FaultServer:
        if self._server is None:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _connected(
        self, protocol: Protocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = Connection(protocol, reader, writer)
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: Connection) -> None:
        number = next(self._connections)
        try:
            while connection.reusable:
                request = await connection.read_request()
                if request is None:
                    break
                if websocket.wanted(request) and "sv-scenario" not in request.headers:
                    entered = functools.partial(self._entered, number, request)
                    await Talk(connection, request, entered, self).go_on()
                    return
                await self._logged(number, connection, request)
            await connection.close()
        except BadRequest as problem:
            await self._refuse(connection, str(problem))
        except ClientGone:
            pass
        finally:
            connection.abort()  # after close() this does nothing

    async def _refuse(self, connection: Connection, problem: str) -> None:
        data = payloads.dumps(payloads.status_error(400, f"streamvitals fault server: {problem}"))
        try:
            head = Head(400, "application/json", "length", len(data))
            await connection.send_head(head, (), keep_alive=False)
            await connection.send(Send(data))
            await connection.close()
        except ClientGone:
            pass

    @contextmanager
    def _entered(self, number: int, request: Request) -> Iterator[RequestLog]:
        """Keep an entry of the log open while a request, or a response of a WebSocket, is under way."""
        headers = request.headers
        entry = RequestLog(
            number=next(self._requests),
            connection=number,
            path=request.path.partition("?")[0],
            t_request=time.monotonic(),
            headers=RequestLog.of_interest(headers),
            authorization="authorization" in headers or "api-key" in headers,
        )
        retries = headers.get("x-stainless-retry-count", "")
        entry.attempt = int(retries) if retries.isdecimal() else 0
        self.log.append(entry)
        self._enter()
        try:
            yield entry
        except ClientGone:
            entry.ended = entry.ended or "client_gone"
            raise
        except asyncio.CancelledError:
            entry.ended = entry.ended or "stopped"
            raise
        except BaseException:
            entry.ended = entry.ended or "failed"
            raise
        finally:
            entry.t_end = time.monotonic()
            self._leave(entry)

    async def _logged(self, number: int, connection: Connection, request: Request) -> None:
        with self._entered(number, request) as entry:
            before = connection.bytes_sent
            try:
                await self._perform(connection, request, entry, self._answer(request, entry))
            finally:
                entry.bytes_sent = connection.bytes_sent - before

    def _enter(self) -> None:
        self._busy += 1
        if self._idle is not None:
            self._idle.clear()

    def _leave(self, entry: RequestLog) -> None:
        self._write(entry)
        self._busy -= 1
        if self._busy == 0 and self._idle is not None:
            self._idle.set()

    def _write(self, entry: RequestLog) -> None:
        if self._log_file is None:
            return
        try:
            self._log_file.write(json.dumps(entry.as_dict()) + "\n")
            self._log_file.flush()
        except OSError as error:  # a full disk: requests are answered all the same
            self._log_file = None
            print(f"the log cannot be written any more: {error.strerror}", file=sys.stderr, flush=True)

    async def _perform(
        self, connection: Connection, request: Request, entry: RequestLog, steps: Steps
    ) -> None:
        for step in steps:
            if isinstance(step, Pause):
                await connection.pause(step.seconds)
            elif isinstance(step, Send):
                if step.what != "other":
                    entry.sending(step.chunks, step.what == "token")
                await connection.send(step)
            elif isinstance(step, Head):
                await connection.send_head(step, self._headers(entry), request.keep_alive)
                entry.sent_head(step.status)
            else:
                await self._end(connection, step, entry)

    async def _end(self, connection: Connection, step: End, entry: RequestLog) -> None:
        await connection.end(step)
        entry.ended = step.how

    def _headers(self, entry: RequestLog) -> tuple[tuple[str, str], ...]:
        used = entry.number % LIMIT_REQUESTS
        entry.ratelimit = {
            "limit-requests": LIMIT_REQUESTS,
            "limit-tokens": LIMIT_TOKENS,
            "remaining-requests": LIMIT_REQUESTS - used,
            "remaining-tokens": LIMIT_TOKENS - 100 * used,
        }
        limits = tuple((f"x-ratelimit-{name}", str(value)) for name, value in entry.ratelimit.items())
        return (("x-request-id", f"req_{entry.number}"), ("cache-control", "no-cache"), *limits)

    def _answer(self, request: Request, entry: RequestLog) -> Steps:
        path = entry.path
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if BAD_KEY in (bearer, request.headers.get("api-key")):
            return _problem(401, "incorrect API key provided")
        if models := beside.model_of(request):
            return models
        if request.method == "POST" and path.endswith(("/chat/completions", "/embeddings", "/moderations")):
            try:
                ask = played_on(_ask(request, path, self), PLAYS, "chat")
            except BadAsk as problem:
                return _problem(400, f"streamvitals fault server: {problem}")
            entry.scenario, entry.stream = ask.scenario, ask.stream
            ask = self._count(ask, request.body)
            if path.endswith("/moderations"):
                return beside.moderations(ask)
            return beside.embeddings(ask, request.body) if path.endswith("/embeddings") else play(ask)
        return self._surface(request, entry)

    def _surface(self, request: Request, entry: RequestLog) -> Steps:
        try:
            found = routes.find(request, self)
            if found is None:
                return routes.session_of(request) or _problem(404, "streamvitals fault server: nothing is here")
            route, ask = found
            entry.scenario, entry.stream, entry.surface = ask.scenario, ask.stream, route.surface.name
            return routes.answer(route, self._count(ask, routes.counting_key(request, ask)))
        except BadAsk as problem:
            return _problem(400, f"streamvitals fault server: {problem}")

    def _count(self, ask: Ask, identity: bytes) -> Ask:
        """Count how often this very request has failed, for scenarios that fail and then work."""
        if ask.scenario not in COUNTED:
            return ask
        key = hashlib.sha256(identity).digest()
        failed = self._failed.pop(key, 0)
        if failed < ask.params.fails:  # else it works now, and the next round starts from the beginning
            self._failed[key] = failed + 1
            if len(self._failed) > MAX_COUNTED:
                self._failed.popitem(last=False)
        return replace(ask, failed_before=failed)


def _problem(status: int, message: str) -> Steps:
    return page(status, "application/json", payloads.dumps(payloads.status_error(status, message)))


def _ask(request: Request, path: str, script: Script) -> Ask:
    try:
        asked: Any = json.loads(request.body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise BadAsk("the body of the request is not a JSON object")
    parts = path.split("/")
    deployment = unquote(parts[parts.index("deployments") + 1]) if "deployments" in parts else ""
    model = str(asked.get("model") or deployment)
    named = str(asked.get("sv_scenario") or request.headers.get("sv-scenario", ""))
    scenario, params, chosen = script.choose(named, model)
    options = asked.get("stream_options")
    include_usage = isinstance(options, dict) and options.get("include_usage") is True
    return Ask(scenario, params, model[:200], asked.get("stream") is True, include_usage, chosen=chosen)
