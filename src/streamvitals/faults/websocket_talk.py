"""Serves one WebSocket from handshake to end: every ``response.create`` gets a play of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager

from . import events_responses
from .ask import BadAsk
from .payloads import Json, dumps
from .request_log import RequestLog
from .script import Script
from .steps import End, Pause, Send, Step
from .surfaces import Surface
from .websocket import WebSocket
from .websocket_plays import REALTIME, answer, ask_of, named, parse, surface_of
from .wire import ClientGone, Connection, Request

Entered = Callable[[], AbstractContextManager[RequestLog]]


class Talk:
    """One WebSocket; ``entered`` opens an entry of the server's log."""

    def __init__(self, connection: Connection, request: Request, entered: Entered, script: Script) -> None:
        self._connection = connection
        self._request = request
        self._entered = entered
        self._script = script
        self._socket = WebSocket(connection)
        self._numbers = itertools.count(1)
        self._answers: set[asyncio.Task[None]] = set()
        self._over = False

    async def go_on(self) -> None:
        """Answer until one side ends it. Raises ClientGone."""
        surface = surface_of(self._request.path)
        if surface is None:
            raise ClientGone
        await self._socket.accept(self._request, (("x-request-id", "req_socket"),))
        try:
            if surface is REALTIME:
                await self._socket.send(dumps(events_responses.realtime_session("streamvitals-realtime")))
            async for data in self._socket.messages():
                await self._heard(surface, parse(data))
        finally:
            self._over = True
            await asyncio.sleep(0)  # what was asked for last is in the log at least
            for task in self._answers:
                task.cancel()
            await asyncio.gather(*self._answers, return_exceptions=True)

    async def _heard(self, surface: Surface, message: Json) -> None:
        kind = message.get("type")
        if kind == "input_audio_buffer.commit":
            # As a server that detects the ends of turns by itself does: it answers without being asked.
            await self._socket.send(dumps({"type": "input_audio_buffer.committed", "item_id": "item_1"}))
        elif kind != "response.create":
            return
        task = asyncio.get_running_loop().create_task(self._answer(surface, message))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, surface: Surface, message: Json) -> None:
        number, lane = next(self._numbers), message.get("stream_id")
        with contextlib.suppress(ClientGone), self._entered() as entry:
            before = self._connection.bytes_sent
            entry.surface, entry.stream = surface.name, True
            try:
                ask = ask_of(surface, message, self._request.path, self._script)
            except BadAsk as problem:
                error = events_responses.socket_error("invalid_request_error", None)
                error["error"] |= {"message": str(problem), "event_id": message.get("event_id")}
                await self._socket.send(dumps(error))
                return
            entry.scenario = ask.scenario
            entry.sent_head(101)
            self._socket.deaf = ask.scenario == "stall"
            try:
                for step in answer(surface, ask):
                    await self._perform(named(step, number, lane) if isinstance(step, Send) else step, entry)
            except asyncio.CancelledError:
                if self._over:
                    raise ClientGone from None
                raise
            finally:
                entry.bytes_sent = self._connection.bytes_sent - before

    async def _perform(self, step: Step, entry: RequestLog) -> None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Send):
            if step.what != "other":
                entry.sending(step.chunks, step.what == "token")
            await self._socket.send(step.data, step.framed)
        elif isinstance(step, End):
            entry.ended = step.how
            await self._end(step)

    async def _end(self, step: End) -> None:
        if step.how == "close":
            await self._socket.close(step.code)
        elif step.how == "fin":
            await self._socket.hang_up()
        elif step.how == "reset":
            self._socket.reset()
